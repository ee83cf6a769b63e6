"""Checkers of progress: after the faults everything is attempted, settled and still running."""

from collections.abc import Iterator
from typing import ClassVar

from liqctl.sim.checkers import Checker, Found
from liqctl.sim.checks_decision import STATUS
from liqctl.sim.evidence import Books, Evidence, Row
from liqctl.sim.journal import LIVE, NEVER_LANDED

END_S_MAX = 10.5
STATUS_AGE_MS_MAX = 5_000
CHECKS_MISSED_MAX = 3
KILLED, ENDED, BROKEN = "killed", "ended", "broken"


class NotLive:
    """I16: what stays liquidatable is attempted in time, and each attempt ends in time."""

    code: ClassVar[str] = "NOT_LIVE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield attempts without an end and positions without an attempt."""
        for books in evidence.books:
            yield from _unended(books, evidence)
            # What is not worth its fee is rightly left alone.
            if not _spent_up(books) and not books.limits.profit_floor_permille:
                yield from _neglected(books, evidence)


def _unended(books: Books, evidence: Evidence) -> Iterator[Found]:
    signed_s = _signed_s(books)
    latest_s = evidence.end_s - evidence.terminal_within_s
    for row in books.attempts:
        at_s = signed_s.get(row["sig"], 0.0)
        if row["state"] in LIVE and at_s <= latest_s:
            yield Found(
                text=f"still {row['state']} after {evidence.end_s - at_s:.0f} s",
                at_s=evidence.end_s,
                intent=str(row["intent_id"]),
                attempt=row["sig"],
            )


def _neglected(books: Books, evidence: Evidence) -> Iterator[Found]:
    signed_s = _signed_s(books)
    for duty in evidence.duties:
        since_s = max(duty.since_s, evidence.heal_s)
        if evidence.end_s - since_s <= evidence.live_within_s:
            continue
        mine = [row for row in books.attempts if row["position"] == duty.position]
        if not any(_serves(row, signed_s, since_s) for row in mine):
            yield Found(
                text=f"position {duty.position} was liquidatable for"
                f" {evidence.end_s - since_s:.0f} s and not attempted",
                at_s=evidence.end_s,
            )


def _serves(row: Row, signed_s: dict[str, float], since_s: float) -> bool:
    return row["state"] in LIVE or signed_s.get(row["sig"], 0.0) >= since_s


def _signed_s(books: Books) -> dict[str, float]:
    return {
        move.key: move.at_s
        for move in books.journal.moves
        if move.table == "attempt" and not move.before
    }


def _spent_up(books: Books) -> bool:
    """Return whether another attempt would break the cap of the hour, so that none is due."""
    costs = [row["max_cost_lamports"] for row in books.attempts]
    spent = sum(
        row["max_cost_lamports"] if row["cost_lamports"] is None else row["cost_lamports"]
        for row in books.attempts
        if row["state"] not in NEVER_LANDED
    )
    return bool(costs) and spent + max(costs) > books.limits.hour_lamports


class Stall:
    """I17, I29: a keeper that runs goes on looking, and one that is asked to end does, in time."""

    code: ClassVar[str] = "STALL"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield keepers that stand still or do not end."""
        for ending in evidence.endings:
            if ending.asked_at_s is None or ending.how == KILLED:
                continue
            took_s = ending.at_s - ending.asked_at_s - ending.frozen_s
            if took_s > END_S_MAX:
                yield Found(text=f"{ending.keeper} took {took_s:.1f} s to end", at_s=ending.at_s)
        for books in evidence.books:
            why = standing(books, evidence.end_unix_ms, evidence.check_interval_ms)
            if why is not None:
                yield Found(text=why, at_s=evidence.end_s)


def standing(books: Books, now_ms: int, check_interval_ms: int) -> str | None:
    """Return how a database shows that none of its keepers looks any more, or None."""
    if STATUS not in books.states:
        return f"{books.path} has no status of a keeper" if books.keepers else None
    status, written_ms = books.states[STATUS]
    if now_ms - written_ms > STATUS_AGE_MS_MAX:
        return f"no status for {now_ms - written_ms} ms"
    age_ms = status["check_age_ms"]
    if age_ms is None or age_ms > CHECKS_MISSED_MAX * check_interval_ms + STATUS_AGE_MS_MAX:
        return f"no check for {age_ms} ms"
    return None


class Broken:
    """A keeper ends with an error of its own kind or not at all; a bug or an invariant is neither."""

    code: ClassVar[str] = "BROKEN"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield lives that ended with a bug."""
        for ending in evidence.endings:
            if ending.how == BROKEN:
                yield Found(text=f"{ending.keeper} broke: {ending.error}", at_s=ending.at_s)


PROGRESS: tuple[Checker, ...] = (NotLive(), Stall(), Broken())
