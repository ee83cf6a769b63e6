"""Checkers of what was seen while keepers ran: each finds its own broken promise, and no other."""

import json
from dataclasses import replace
from typing import Any

import pytest

from liqctl.core.guards import Limits
from liqctl.sim.checkers import judge
from liqctl.sim.evidence import Evidence, Excluded, Glance, Signed
from tests.sim.evidence import COST, books, evidence

RICH = 10**9
SOL_E6 = 150_000_000


def signed(**changes: Any) -> Signed:
    made = Signed(
        at_s=0.5,
        attempt="done",
        path="k.db",
        position="position 1",
        generation=1,
        generations=frozenset({1}),
        balance_lamports=RICH,
    )
    return replace(made, **changes)


def glance(at_s: float, **changes: Any) -> Glance:
    return replace(Glance(at_s=at_s, life="keeper0.1"), **changes)


def knowing(at_s: float, positions: int, closed: int = 0, began_ms: int = 0) -> Glance:
    status = {"uptime_ms": at_s * 1_000, "coverage": {"positions": positions}}
    return glance(
        at_s,
        status_json=json.dumps(status),
        status_ms=int(began_ms + at_s * 1_000),
        closed=closed,
    )


def codes(found: Evidence) -> set[str]:
    return {violation.code for violation in judge(found)}


def test_what_is_in_order_is_left_alone():
    clean = evidence(
        signed=[signed(), signed(attempt="late", position="position 2")],
        exclusions=[Excluded(path="k.db", position="position 1", on_at_s=0.0, off_at_s=9.0)],
        glances=[knowing(5.0, 8), knowing(10.0, 4, closed=3)],
    )
    assert codes(clean) == set()


def test_a_balance_that_could_fall_below_the_minimum_is_found():
    least = books(limits=Limits(balance_lamports_min=RICH - COST))
    assert codes(evidence(least, signed=[signed()])) == set()
    both = [signed(), signed(attempt="late", at_s=0.6)]
    assert codes(evidence(least, signed=both)) == {"CAP"}


@pytest.mark.parametrize(("reward_e6", "expected"), [(28_000, set()), (27_000, {"WIRE"})])
def test_a_reward_below_the_profit_floor_is_found(reward_e6, expected):
    floor = books(limits=Limits(profit_floor_permille=1_000))
    facts = signed(reward_e6=reward_e6, sol_price_e6=SOL_E6)
    assert codes(evidence(floor, signed=[facts])) == expected


def test_an_attempt_for_an_earlier_generation_is_found():
    assert codes(evidence(signed=[signed(generations=frozenset({2}))])) == {"STALE"}
    assert codes(evidence(signed=[signed(generations=frozenset({1, 2}))])) == set()
    assert codes(evidence(signed=[signed(generations=frozenset())])) == set()


@pytest.mark.parametrize(
    ("at_s", "path", "expected"),
    [(1.0, "k.db", set()), (3.0, "k.db", {"KILL"}), (9.5, "k.db", set()), (3.0, "b.db", set())],
)
def test_an_attempt_on_an_excluded_position_is_found(at_s, path, expected):
    excluded = Excluded(path=path, position="position 1", on_at_s=0.0, off_at_s=9.0)
    found = evidence(signed=[signed(at_s=at_s)], exclusions=[excluded])
    assert codes(found) == expected


def test_a_call_within_the_pause_that_a_node_asked_for_is_found():
    early = [(float(second), "keeper0", "node0", 1.5) for second in range(16)]
    assert codes(evidence(impatient=early)) == {"RATE"}
    assert codes(evidence(impatient=early[1:])) == set()


def test_a_stream_that_stays_half_open_is_found():
    deaf = [glance(at_s, half_open=frozenset({1})) for at_s in (5.0, 10.0, 15.0, 20.0, 25.0)]
    assert codes(evidence(glances=deaf)) == {"STALL"}
    assert codes(evidence(glances=deaf[:4])) == set()
    reopened = [replace(one, half_open=frozenset({n})) for n, one in enumerate(deaf)]
    assert codes(evidence(glances=reopened)) == set()
    assert codes(evidence(glances=[deaf[0], *deaf[3:]])) == set()


def test_positions_that_a_keeper_forgot_are_found():
    forgot = [knowing(5.0, 8), knowing(10.0, 4, closed=2)]
    assert codes(evidence(glances=forgot)) == {"COVERAGE"}
    other_life = [forgot[0], knowing(10.0, 4, began_ms=9_000)]
    assert codes(evidence(glances=other_life)) == set()
