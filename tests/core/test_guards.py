from dataclasses import replace

import pytest

from liqctl.core.guards import Limits, Spending, blocker, refusal
from liqctl.core.health import Assessment

LIMITS = Limits(
    transaction_lamports=100,
    hour_lamports=1_000,
    day_lamports=5_000,
    balance_lamports_min=50,
    reward_min=7,
    price_age_s_max=60,
    price_confidence_bps_max=100,
)
RICH = Spending(balance_lamports=10_000, in_flight_lamports=0, hour_lamports=0, day_lamports=0)
VERDICT = Assessment(
    position="p",
    symbol="SOL",
    slot=1,
    liquidatable=True,
    price_age_s=60,
    confidence_bps=100,
    reward=7,
)


@pytest.mark.parametrize(
    ("cost", "spending", "reason"),
    [
        (100, RICH, None),
        (101, RICH, "cost_over_transaction_cap"),
        (100, replace(RICH, hour_lamports=900), None),
        (100, replace(RICH, hour_lamports=901), "cost_over_hour_cap"),
        (100, replace(RICH, day_lamports=4_900), None),
        (100, replace(RICH, day_lamports=4_901), "cost_over_day_cap"),
        (100, replace(RICH, balance_lamports=150), None),
        (100, replace(RICH, balance_lamports=149), "balance_too_low"),
        (100, replace(RICH, balance_lamports=190, in_flight_lamports=41), "balance_too_low"),
    ],
)
def test_a_limit_holds_at_equality_and_refuses_beyond(cost, spending, reason):
    assert refusal(cost, spending, LIMITS) == reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"price_age_s": 61}, "price_older_than_own_limit"),
        ({"confidence_bps": 101}, "price_wider_than_own_limit"),
        ({"reward": 6}, "reward_below_floor"),
        ({"blockers": ("market_paused",), "reward": 0}, "market_paused"),
    ],
)
def test_what_blocks_a_send_does_not_change_the_verdict(change, reason):
    verdict = replace(VERDICT, **change)

    assert blocker(verdict, LIMITS) == reason
    assert verdict.liquidatable is True
