"""The grade of a keeper, condition by condition."""

from dataclasses import replace

import pytest

from liqctl.core.events import Coverage
from liqctl.core.health_grade import GradeLimits, grade
from liqctl.core.status import HermesStatus
from tests.core.statuses import SOL, WALLET, WELL, status

NOW_MS = 1_700_000_000_000
UNHEALTHY, DEGRADED = "unhealthy", "degraded"
BLIND = replace(SOL, price_e6=None, refusal="price_stale", age_s=70)
BTC = replace(SOL, symbol="BTC", market="other")
HERMES = HermesStatus(url="https://hermes", down="no answer", prices_age_ms=None, counts={})
POOR = replace(WALLET, balance_lamports=49_999_999)

CASES = {
    "check missed": (status(check_age_ms=6_001), UNHEALTHY, "check_overdue", "", 6_001),
    "never checked": (
        status(check_age_ms=None, uptime_ms=7_000),
        UNHEALTHY,
        "check_overdue",
        "",
        7_000,
    ),
    "no snapshot": (status(snapshot_age_ms=180_001), UNHEALTHY, "snapshot_overdue", "", 180_001),
    "slot stuck": (status(slot_age_ms=30_001), UNHEALTHY, "slot_stuck", "", 30_001),
    "slot and streams stuck": (
        status(slot_age_ms=30_001, streams={"prices": 40_000}),
        UNHEALTHY,
        "slot_stuck",
        "",
        30_001,
    ),
    "stream silent": (
        status(streams={"prices": 10_001, "accounts": 1}),
        UNHEALTHY,
        "stream_silent",
        "prices",
        10_001,
    ),
    "stream never up": (
        status(streams={"accounts": None}),
        UNHEALTHY,
        "stream_silent",
        "accounts",
        600_000,
    ),
    "database": (status(failing_ms=1), UNHEALTHY, "database_failing", "", 1),
    "one market blind": (status(markets=(BTC, BLIND)), DEGRADED, "price_unusable", "SOL", 10_000),
    "all markets blind": (status(markets=(BLIND,)), UNHEALTHY, "price_unusable", "SOL", 10_000),
    "price refused": (
        status(markets=(BTC, replace(BLIND, refusal="price_too_wide", age_s=1))),
        DEGRADED,
        "price_unusable",
        "SOL",
        None,
    ),
    "no price account": (
        status(markets=(BTC, replace(BLIND, refusal="price_missing", age_s=None))),
        DEGRADED,
        "price_unusable",
        "SOL",
        None,
    ),
    "coverage": (
        status(coverage=Coverage(positions=9, evaluated=8, unknown={"malformed": 1})),
        DEGRADED,
        "coverage_incomplete",
        "",
        None,
    ),
    "doubt": (
        status(markets=(replace(SOL, doubt="price_jumped"),)),
        DEGRADED,
        "price_doubtful",
        "SOL",
        None,
    ),
    "hermes": (status(hermes=HERMES), DEGRADED, "hermes_down", "", None),
    "program": (status(shadow_disagreements=1), DEGRADED, "program_disagrees", "", None),
    "held": (
        status(held="kill_switch_row", held_ms=5_000),
        DEGRADED,
        "held",
        "kill_switch_row",
        5_000,
    ),
    "wallet": (status(wallet=POOR), DEGRADED, "wallet_low", "wallet", None),
}


@pytest.mark.parametrize("case", CASES)
def test_one_thing_that_is_wrong_is_the_one_reason(case):
    shown, state, code, subject, age_ms = CASES[case]
    found = grade(shown, NOW_MS, NOW_MS - 1_000)

    [reason] = found.reasons
    since_ms = None if age_ms is None else NOW_MS - 1_000 - age_ms
    assert (found.state, reason.state) == (state, state)
    assert (reason.code, reason.subject, reason.since_ms) == (code, subject, since_ms)
    assert reason.text


@pytest.mark.parametrize(
    "shown",
    [
        WELL,
        status(check_age_ms=6_000, snapshot_age_ms=180_000, slot_age_ms=30_000),
        status(streams={"prices": 10_000}),
        status(streams={}),
        status(markets=()),
        status(hermes=replace(HERMES, down=None)),
        status(wallet=None),
        status(wallet=replace(WALLET, balance_lamports=None)),
        status(wallet=replace(WALLET, balance_lamports=50_000_000)),
        status(wallet=POOR, dry_run=True),
        status(uptime_ms=100, check_age_ms=None, snapshot_age_ms=None, streams={"prices": None}),
    ],
)
def test_a_keeper_that_is_well_or_has_only_started_is_healthy(shown):
    assert grade(shown, NOW_MS, NOW_MS - 5_000).state == "healthy"
    assert grade(shown, NOW_MS, NOW_MS - 5_000).reasons == ()


def test_a_keeper_that_writes_no_more_has_that_as_its_only_reason():
    found = grade(status(failing_ms=1, held="kill_switch_row"), NOW_MS, NOW_MS - 5_001)

    assert [reason.code for reason in found.reasons] == ["keeper_silent"]
    assert (found.state, found.reasons[0].since_ms) == (UNHEALTHY, NOW_MS - 5_001)


@pytest.mark.parametrize(("shown", "written_ms"), [(None, None), (None, NOW_MS), (WELL, None)])
def test_where_nothing_was_ever_written_there_is_no_keeper(shown, written_ms):
    found = grade(shown, NOW_MS, written_ms)

    assert (found.state, found.reasons[0].code) == (UNHEALTHY, "keeper_missing")


def test_a_price_from_the_future_is_told_as_ahead_of_the_clock_and_not_as_a_negative_age():
    ahead = replace(BLIND, refusal="price_from_future", age_s=-90)
    [reason] = grade(status(markets=(BTC, ahead)), NOW_MS, NOW_MS).reasons
    assert "published 90 s ahead of the cluster's clock" in reason.text


def test_the_worst_reason_comes_first_and_is_the_grade():
    shown = status(wallet=POOR, markets=(BTC, BLIND), slot_age_ms=31_000)
    found = grade(shown, NOW_MS, NOW_MS)

    assert found.state == UNHEALTHY
    codes = [reason.code for reason in found.reasons]
    assert codes == ["slot_stuck", "price_unusable", "wallet_low"]


def test_the_limits_can_be_others():
    limits = GradeLimits(written_ms_max=60_000, slot_age_ms_max=100)

    assert grade(WELL, NOW_MS, NOW_MS - 60_000, limits).reasons[0].code == "slot_stuck"
