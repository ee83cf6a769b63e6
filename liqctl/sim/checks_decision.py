"""Checkers of decisions: nothing is signed on accounts or prices that do not bear it."""

from collections.abc import Collection, Iterator
from typing import ClassVar

from liqctl.core.status import state_name
from liqctl.sim.checkers import Checker, Found
from liqctl.sim.evidence import Books, Decided, Evidence

STATUS = state_name("reference")


class Healthy:
    """I15: no attempt on a position that no block since the decision shows as liquidatable."""

    code: ClassVar[str] = "HEALTHY"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield attempts on healthy positions."""
        for decided in evidence.decided:
            if decided.healthy:
                yield _found(decided, decided.healthy)


class Oracle:
    """I12: no attempt on a price that fails a check."""

    code: ClassVar[str] = "ORACLE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield attempts on such prices."""
        for decided in evidence.decided:
            if decided.oracle:
                yield _found(decided, decided.oracle)


class Hostile:
    """I14: no attempt on an account that is no position of the program."""

    code: ClassVar[str] = "HOSTILE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield attempts on such accounts."""
        for decided in evidence.decided:
            if decided.hostile:
                yield _found(decided, decided.hostile)


class Stale:
    """I11: a decision is not older than its endpoints can lag."""

    code: ClassVar[str] = "STALE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield attempts on old decisions."""
        for decided in evidence.decided:
            if decided.age_s > evidence.decision_age_s_max:
                yield _found(decided, f"decided on a slot {decided.age_s:.1f} s old")


class Coverage:
    """I14, I18: after healing every position is known; hostile accounts count, none is lost."""

    code: ClassVar[str] = "COVERAGE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield databases whose keeper holds another number of positions than the cluster."""
        for books in evidence.books:
            why = uncovered(books, evidence.positions)
            if why is not None:
                yield Found(text=why, at_s=evidence.end_s)


def uncovered(books: Books, positions: Collection[int]) -> str | None:
    """Return how the positions that a keeper knows differ from those that there are, or None."""
    if not positions or STATUS not in books.states:
        return None
    known = books.states[STATUS][0]["coverage"]["positions"]
    if known in positions:
        return None
    counts = " or ".join(str(count) for count in sorted(positions))
    return f"the keeper knows {known} positions, the cluster has {counts}"


def _found(decided: Decided, text: str) -> Found:
    return Found(
        text=f"position {decided.position}: {text}", at_s=decided.at_s, attempt=decided.attempt
    )


DECISION: tuple[Checker, ...] = (Healthy(), Oracle(), Hostile(), Stale(), Coverage())
