"""What every part of the keeper works with."""

from dataclasses import dataclass

from liqctl.chain.client import Chain
from liqctl.chain.transaction import BUDGET_INSTRUCTIONS
from liqctl.core.instruction import Failure, Outcome
from liqctl.errors import LiqctlError, invariant
from liqctl.keeper.storage import StoreThread
from liqctl.ports import Clock, Rng, Venue


def failure_text(failure: Failure) -> str:
    """Return a failure in one word, with its code where it has one."""
    return failure.name if failure.code is None else f"{failure.name}({failure.code})"


def first_error(errors: BaseExceptionGroup[LiqctlError]) -> LiqctlError:
    """Return the first error of a group, however deep; all of them must be ours."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    invariant(isinstance(error, LiqctlError), "a group of foreign errors")
    return error if isinstance(error, LiqctlError) else LiqctlError()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One venue on one chain, one store, and the name under which leases are held."""

    venue: Venue
    chain: Chain
    store: StoreThread
    clock: Clock
    rng: Rng
    owner: str

    def outcome_of(self, failure: Failure, liquidate_index: int) -> Outcome:
        """Return what a failed transaction means; set-up instructions fail with foreign codes."""
        of_venue = liquidate_index + BUDGET_INSTRUCTIONS
        if failure.instruction is not None and failure.instruction != of_venue:
            return Outcome.SETUP
        return self.venue.classify(failure)
