"""What codes of the Anchor framework mean, by the account that its log names."""

import re
from collections.abc import Collection

from liqctl.core.instruction import Failure, Outcome
from liqctl.venues.outcomes import RUNTIME_OUTCOMES, TOKEN_OUTCOMES

_CAUSED = re.compile(r"AnchorError caused by account: (\w+)\.")
_NOT_INITIALIZED, _WRONG_OWNER = 3012, 3007
_LAYOUT = {3001, 3002, 3003}
_CONSTRAINTS = range(2000, 3000)


def account_blamed(failure: Failure) -> str | None:
    """Return the account that Anchor names as the cause, by its name in the instruction."""
    for line in failure.logs:
        if (found := _CAUSED.search(line)) is not None:
            return found[1]
    return None


def framework_outcome(
    failure: Failure, *, positions: Collection[str], tokens: Collection[str]
) -> Outcome | None:
    """Return what a code below the program's own means, or None where it is not known.

    `positions` and `tokens` are the names that the instruction has for the position and for token
    accounts: the same code means a lost race on the one and missing set-up on the other.
    """
    if failure.code is None:
        return RUNTIME_OUTCOMES.get(failure.name)
    blamed = account_blamed(failure)
    if failure.code == _NOT_INITIALIZED and blamed in tokens:
        return Outcome.SETUP
    if failure.code in {_NOT_INITIALIZED, _WRONG_OWNER} and blamed in positions:
        return Outcome.GONE
    if failure.code == _WRONG_OWNER:
        return Outcome.ORACLE
    if failure.code in {*_LAYOUT, _NOT_INITIALIZED}:
        return Outcome.LAYOUT
    return Outcome.BUG if failure.code in _CONSTRAINTS else TOKEN_OUTCOMES.get(failure.code)
