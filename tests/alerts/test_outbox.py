"""Who gets which message, in which order, and when a failed one is tried again."""

import json
from dataclasses import replace

import pytest

from liqctl.alerts.outbox import (
    FAILED_TRIES_MAX,
    REFUSED_TRIES_MAX,
    dedup_key,
    deliveries_of,
    event_json,
    in_order,
    must_wait,
    next_try_ms,
    trial,
    unheard,
)
from liqctl.alerts.policy import Change, Turn
from liqctl.alerts.routes import parse_routes
from liqctl.core.alert import GIVEN_UP_MS, Alert, AlertState, Delivery, Severity

ROUTES = parse_routes(
    ["info=mailto://me:pw@example.org", "warning=slack://A/B/C", "critical=pagerduty://A@B"]
)
ALERT = Alert(
    id=3,
    rule="fund_low",
    subject="reference",
    severity=Severity.WARNING,
    state=AlertState.FIRING,
    title="the fund is low",
    body="Found: 4 %.",
    raised_ms=1_000_000,
    notified_ms=1_000_000,
)
RAISED = Change(turn=Turn.RAISED, alert=ALERT)
OVER = Change(
    turn=Turn.RESOLVED,
    alert=replace(ALERT, state=AlertState.RESOLVED, resolved_ms=1_000_000 + 3_725_000),
)


def channels(change: Change, heard: set[str] | None = None) -> list[str]:
    return [each.channel for each in deliveries_of(change, ROUTES, heard, 5)]


def test_a_channel_hears_of_its_severity_and_of_graver_ones():
    critical = replace(RAISED, alert=replace(ALERT, severity=Severity.CRITICAL))
    info = replace(RAISED, alert=replace(ALERT, severity=Severity.INFO))

    assert channels(RAISED) == ["mailto", "slack"]
    assert channels(critical) == ["mailto", "slack", "pagerduty"]
    assert channels(info) == ["mailto"]


def test_the_end_of_an_alert_goes_to_those_who_heard_of_it():
    assert channels(OVER, {"slack", "a channel that is gone"}) == ["slack"]
    assert channels(OVER, None) == ["mailto", "slack"]


def test_a_channel_is_not_told_that_it_fails():
    alert = replace(ALERT, rule="channel_failing", subject="slack")

    assert channels(replace(RAISED, alert=alert)) == ["mailto"]


def test_an_alert_and_its_end_carry_the_same_key_and_the_next_alert_another():
    again = replace(ALERT, raised_ms=2_000_000)

    (raised, _), (over, _) = (
        deliveries_of(RAISED, ROUTES, None, 5),
        deliveries_of(OVER, ROUTES, None, 9),
    )

    assert raised.dedup_key == over.dedup_key == "liqctl/fund_low/reference/1000000"
    assert (raised.resolves, over.resolves) == (False, True)
    assert dedup_key(again) != raised.dedup_key


def test_the_titles_say_what_happened():
    reminded = Change(turn=Turn.REMINDED, alert=replace(ALERT, notified_ms=1_000_000 + 14_400_000))

    titles = [deliveries_of(each, ROUTES, None, 5)[0].title for each in (RAISED, reminded, OVER)]

    assert titles == [
        "[warning] the fund is low",
        "[warning, for 4 h] the fund is low",
        "[resolved] the fund is low",
    ]
    assert "over after 1 h 2 min" in deliveries_of(OVER, ROUTES, None, 5)[0].body


def test_the_event_is_an_alert_frame():
    frame = json.loads(event_json(OVER))

    assert frame["type"] == "alert"
    assert frame["rule"], frame["subject"] == ("fund_low", "reference")
    assert frame["state"] == "resolved"
    assert "id" not in frame


def queued(number: int, **changes: object) -> Delivery:
    delivery = replace(trial("slack", Severity.WARNING, 0), id=number, dedup_key="k")
    return replace(delivery, **changes)  # type: ignore[arg-type]


def test_the_gravest_goes_first_then_the_oldest():
    rows = [
        queued(1, severity=Severity.INFO),
        queued(4, severity=Severity.CRITICAL),
        queued(2),
        queued(3, severity=Severity.CRITICAL),
    ]

    assert [each.id for each in in_order(rows)] == [3, 4, 2, 1]


@pytest.mark.parametrize(
    "earlier, waits, never_heard",
    [
        (queued(1), True, True),
        (queued(1, delivered_ms=4), False, False),
        (queued(1, next_try_ms=GIVEN_UP_MS), False, True),
        (queued(1, channel="mailto"), False, False),
        (queued(1, dedup_key="another alert"), False, False),
        (queued(9), False, False),
    ],
)
def test_the_end_of_an_alert_waits_for_the_alert_and_is_dropped_with_it(
    earlier, waits, never_heard
):
    over = queued(5, resolves=True)

    assert must_wait(over, [earlier, over]) is waits
    assert unheard(over, [earlier, over]) is never_heard


def test_pauses_double_up_to_ten_minutes():
    pauses = [
        next_try_ms(queued(1, tries=tries), 0, refused=False, jitter_permille=0)
        for tries in range(10)
    ]

    assert pauses[:4] == [5_000, 10_000, 20_000, 40_000]
    assert pauses[7:] == [600_000] * 3


def test_chance_spreads_the_tries_by_a_tenth():
    assert next_try_ms(queued(1), 100, refused=False, jitter_permille=1_000) == 100 + 5_500


@pytest.mark.parametrize(
    "refused, tries_max", [(True, REFUSED_TRIES_MAX), (False, FAILED_TRIES_MAX)]
)
def test_a_message_is_given_up_after_a_counted_number_of_tries(refused, tries_max):
    last, one_before = (
        next_try_ms(queued(1, tries=tries), 0, refused=refused, jitter_permille=0)
        for tries in (tries_max - 1, tries_max - 2)
    )

    assert last == GIVEN_UP_MS
    assert one_before < GIVEN_UP_MS
