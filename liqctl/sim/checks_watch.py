"""Checkers of what was seen while keepers ran: balance, profit, generations, ears, knowledge."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar

from liqctl.core.guards import LAMPORTS_PER_SOL, PERMILLE
from liqctl.sim.checkers import Checker, Found
from liqctl.sim.evidence import Books, Evidence, Glance, Signed
from liqctl.sim.journal import LIVE

DEAF_S_MAX = 18.0
FORGOTTEN_S = 45.0
SAME_LIFE_MS = 100
UNHEARD_MAX = 15
EXCLUSION_S_MAX = 2.0
# Prices move between the decision and the block that is asked.
WORTH_TOLERANCE_PERMILLE = 900


class Balance:
    """I8: what is left after everything in flight stays above the minimum."""

    code: ClassVar[str] = "CAP"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield attempts that could bring the balance below it."""
        for books in evidence.books:
            costs = {row["sig"]: row["max_cost_lamports"] for row in books.attempts}
            live: set[str] = set()
            signed = _signed(evidence, books)
            for move in books.journal.moves:
                if move.table != "attempt":
                    continue
                live.discard(move.key)
                if move.after in LIVE:
                    live.add(move.key)
                facts = signed.get(move.key)
                if move.before or facts is None or facts.balance_lamports is None:
                    continue
                left = facts.balance_lamports - sum(costs.get(key, 0) for key in live)
                least = books.limits.balance_lamports_min
                if left < least:
                    yield _found(facts, f"may leave {left} lamports, the minimum is {least}")


class Worth:
    """I10: the reward is worth what it costs."""

    code: ClassVar[str] = "WIRE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield attempts for less than the profit floor."""
        for books in evidence.books:
            fees = {row["sig"]: _fee(row["cu_limit"], row["cu_price"]) for row in books.attempts}
            floor = books.limits.profit_floor_permille * WORTH_TOLERANCE_PERMILLE // PERMILLE
            for signature, facts in _signed(evidence, books).items():
                if facts.reward_e6 is None or signature not in fees:
                    continue
                worth = facts.reward_e6 * LAMPORTS_PER_SOL * PERMILLE
                if worth < fees[signature] * facts.sol_price_e6 * floor:
                    yield _found(
                        facts, f"a reward of {facts.reward_e6} for {fees[signature]} lamports"
                    )


def _fee(limit: int, price: int) -> int:
    return 5_000 - (-limit * price // 1_000_000)


class Generation:
    """I3, I11: an attempt is recorded for the position that is there, not for an earlier one."""

    code: ClassVar[str] = "STALE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield attempts for a generation that no block since the decision shows."""
        for facts in evidence.signed:
            if facts.generations and facts.generation not in facts.generations:
                yield _found(
                    facts,
                    f"recorded for generation {facts.generation},"
                    f" the chain has {sorted(facts.generations)}",
                )


class Exclusions:
    """I9: a position that a person has set aside is left alone."""

    code: ClassVar[str] = "KILL"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield attempts on positions while they were excluded."""
        for excluded in evidence.exclusions:
            for facts in evidence.signed:
                since_s = facts.at_s - excluded.on_at_s
                same = (facts.path, facts.position) == (excluded.path, excluded.position)
                if same and since_s > EXCLUSION_S_MAX and facts.at_s < excluded.off_at_s:
                    yield _found(facts, f"signed {since_s:.1f} s after it was excluded")


class Impatience:
    """I19: an endpoint that asks for a pause gets it.

    Only what this very life has heard counts. Calls that had begun before, and wait for a
    connection, still come.
    """

    code: ClassVar[str] = "RATE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield keepers that went on calling within the pauses."""
        calls = Counter((keeper, node) for _, keeper, node, _ in evidence.impatient)
        for (keeper, node), count in sorted(calls.items()):
            if count > UNHEARD_MAX:
                yield Found(text=f"{keeper} called {node} {count} times while asked not to")


class Deafness:
    """I17: a stream that went silent is noticed and given up."""

    code: ClassVar[str] = "STALL"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield connections that stayed half open for too long."""
        since: dict[tuple[str, int], float] = {}
        last: dict[str, float] = {}
        told: set[tuple[str, int]] = set()
        for glance in evidence.glances:
            frozen = glance.at_s - last.get(glance.life, glance.at_s) > DEAF_S_MAX / 2
            last[glance.life] = glance.at_s
            places = {(glance.life, end) for end in glance.half_open}
            for place in [key for key in since if key[0] == glance.life]:
                if frozen or place not in places:
                    del since[place]
            for place in places:
                deaf_s = glance.at_s - since.setdefault(place, glance.at_s)
                if deaf_s > DEAF_S_MAX and place not in told:
                    told.add(place)
                    yield Found(
                        text=f"{glance.life} kept a silent stream for {deaf_s:.0f} s",
                        at_s=glance.at_s,
                    )


class Forgotten:
    """I18: what a keeper knows it goes on knowing while it is there, whatever a list leaves out."""

    code: ClassVar[str] = "COVERAGE"

    def check(self, evidence: Evidence) -> Iterator[Found]:
        """Yield keepers that know fewer positions than before, more than have closed."""
        lives = sorted({glance.life for glance in evidence.glances})
        for life in lives:
            glances = [glance for glance in evidence.glances if glance.life == life]
            for before, now in pairwise(glances):
                knew, knows = _known(before), _known(now)
                if knew is None or knows is None or abs(knows[0] - knew[0]) > SAME_LIFE_MS:
                    continue
                since_s = now.at_s - FORGOTTEN_S - evidence.decision_age_s_max
                closed = _closed(evidence.glances, since_s, now.at_s)
                if knew[1] - knows[1] > closed + 1:
                    yield Found(
                        text=f"{life} knew {knew[1]} positions, then {knows[1]};"
                        f" {closed} had closed",
                        at_s=now.at_s,
                    )


def _closed(glances: Sequence[Glance], since_s: float, until_s: float) -> int:
    """Return how many positions were closed in the time that a keeper may take to notice it."""
    before = max((one.closed for one in glances if one.at_s < since_s), default=0)
    return max(one.closed for one in glances if one.at_s <= until_s) - before


def _known(glance: Glance) -> tuple[int, int] | None:
    """Return when the life that wrote the status began, and how many positions it knows.

    Keepers of one database write over each other's status.
    """
    if glance.status_json is None:
        return None
    status = json.loads(glance.status_json)
    return glance.status_ms - status["uptime_ms"], status["coverage"]["positions"]


def _signed(evidence: Evidence, books: Books) -> dict[str, Signed]:
    return {facts.attempt: facts for facts in evidence.signed if facts.path == books.path}


def _found(facts: Signed, text: str) -> Found:
    return Found(text=f"position {facts.position}: {text}", at_s=facts.at_s, attempt=facts.attempt)


WATCH: tuple[Checker, ...] = (
    Balance(),
    Worth(),
    Generation(),
    Exclusions(),
    Impatience(),
    Deafness(),
    Forgotten(),
)
