"""One alert for one thing, told once, repeated seldom, over only when it stays over."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqctl.alerts.policy import (
    Change,
    Condition,
    Findings,
    Key,
    Pacing,
    Turn,
    Watched,
    step,
    taken_up,
)
from liqctl.core.alert import AlertState, Severity

PACING = Pacing(resolve_ms=60_000, repeat_ms=3_600_000)
LOW = Condition(
    rule="wallet_low", subject="reference", severity=Severity.CRITICAL, title="low", body="0.01"
)
SILENT = replace(LOW, rule="price_missing", subject="reference/SOL", after_ms=30_000)


class Story:
    """Looks one after another at given seconds."""

    def __init__(self) -> None:
        self.watched: dict[Key, Watched] = {}

    def at(
        self, second: int, *conditions: Condition, blind: frozenset[Key] = frozenset()
    ) -> list[tuple[Turn, str]]:
        findings = Findings(conditions=conditions, unjudged=blind)
        self.watched, changes = step(self.watched, findings, second * 1_000, PACING)
        return [(each.turn, each.alert.rule) for each in changes]

    def changes(self, second: int, *conditions: Condition) -> list[Change]:
        findings = Findings(conditions=conditions)
        self.watched, changes = step(self.watched, findings, second * 1_000, PACING)
        return changes


RAISED, REMINDED, RESOLVED = (
    (turn, "wallet_low") for turn in (Turn.RAISED, Turn.REMINDED, Turn.RESOLVED)
)


def test_an_alert_is_raised_once_while_its_condition_holds():
    story = Story()

    told = [story.at(second, LOW) for second in (1, 2, 3)]

    assert told == [[RAISED], [], []]


def test_a_condition_has_to_hold_for_its_time_first():
    story = Story()

    assert story.at(0, SILENT) == []
    assert story.at(29, SILENT) == []
    assert story.at(30, SILENT) == [(Turn.RAISED, "price_missing")]


def test_a_condition_that_ends_before_its_time_is_forgotten():
    story = Story()

    story.at(0, SILENT)
    story.at(20)

    assert story.watched == {}
    assert story.at(31, SILENT) == []
    assert story.at(60, SILENT) == []


def test_it_is_repeated_after_the_cool_down_with_what_is_found_by_then():
    story = Story()
    story.at(0, LOW)

    assert story.at(3_599, LOW) == []
    (change,) = story.changes(3_600, replace(LOW, body="0.005"))

    assert (change.turn, change.alert.body) == (Turn.REMINDED, "0.005")
    assert change.alert.raised_ms == 0
    assert story.at(3_601, LOW) == []


def test_it_is_over_only_after_its_condition_was_absent_long_enough():
    story = Story()
    story.at(0, LOW)

    assert story.at(10) == []
    assert story.at(69) == []
    (change,) = story.changes(70)

    assert change.turn is Turn.RESOLVED
    assert (change.alert.state, change.alert.resolved_ms) == (AlertState.RESOLVED, 70_000)
    assert story.watched == {}


def test_a_condition_that_flickers_is_one_alert():
    story = Story()
    told = []

    for second in range(0, 600, 2):
        told += story.at(second, LOW)
        told += story.at(second + 1)

    assert told == [RAISED]


def test_each_rule_and_subject_is_an_alert_of_its_own():
    story = Story()
    other = replace(LOW, subject="adrena")

    assert story.at(0, LOW, other) == [RAISED, RAISED]
    assert story.at(100, other) == []
    assert story.at(200, other) == [RESOLVED]


def test_what_cannot_be_judged_neither_holds_nor_ends():
    story = Story()
    now = replace(SILENT, after_ms=0)
    story.at(0, now)
    blind = frozenset({("price_missing", "reference")})

    assert [story.at(second, blind=blind) for second in (10, 100, 10_000)] == [[], [], []]
    assert story.at(10_001) == []
    assert story.at(10_061) == [(Turn.RESOLVED, "price_missing")]


def test_another_venue_can_still_be_judged():
    story = Story()
    other = replace(SILENT, subject="adrena/SOL", after_ms=0)
    story.at(0, other)
    blind = frozenset({("price_missing", "reference")})

    story.at(10, blind=blind)

    assert story.at(70, blind=blind) == [(Turn.RESOLVED, "price_missing")]


def test_alerts_of_an_earlier_run_are_not_raised_again_and_end_when_they_are_over():
    first, second = Story(), Story()
    (raised,) = first.changes(0, LOW)

    second.watched = taken_up([raised.alert], 5_000)

    assert second.at(6, LOW) == []
    assert second.at(7) == []
    assert second.at(67) == [RESOLVED]


LOOKS = st.lists(
    st.tuples(st.integers(1, 90_000), st.sampled_from([(), (LOW,), (SILENT,), (LOW, SILENT)])),
    max_size=60,
)


@given(LOOKS)
def test_every_alert_is_raised_before_it_is_over_and_never_twice_at_once(looks):
    watched: dict[Key, Watched] = {}
    firing: set[Key] = set()
    now_ms = 0

    for passed_ms, conditions in looks:
        now_ms += passed_ms
        watched, changes = step(watched, Findings(conditions=conditions), now_ms, PACING)
        for change in changes:
            key = change.alert.rule, change.alert.subject
            match change.turn:
                case Turn.RAISED:
                    assert key not in firing
                    firing.add(key)
                case Turn.REMINDED:
                    assert key in firing
                case Turn.RESOLVED:
                    firing.remove(key)
        assert firing == {key for key, each in watched.items() if each.alert is not None}


@pytest.mark.parametrize("holds", [True, False])
def test_a_look_changes_nothing_but_what_it_returns(holds):
    story = Story()
    story.at(0, LOW)
    before = dict(story.watched)

    step(story.watched, Findings(conditions=(LOW,) if holds else ()), 10**9, PACING)

    assert story.watched == before
