from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.guards import (
    Limits,
    Spending,
    blocker,
    landed_at_loss,
    refusal,
    sol_price_of,
    unprofitable,
)
from liqctl.core.health import Assessment
from liqctl.core.price_terms import PriceTerms

LIMITS = Limits(
    transaction_lamports=100,
    hour_lamports=1_000,
    day_lamports=5_000,
    balance_lamports_min=50,
    reward_min=7,
    prices=PriceTerms(age_s_max=60, confidence_bps_max=100),
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


FLOOR = Limits(profit_floor_permille=1_500)


@pytest.mark.parametrize(
    ("reward", "cost", "sol_price", "limits", "reason"),
    [
        # 0.0002 SOL at 150 are 0.03; one and a half times as much must come back.
        (45_000, 200_000, 150_000_000, FLOOR, None),
        (44_999, 200_000, 150_000_000, FLOOR, "reward_below_cost"),
        (0, 0, 150_000_000, FLOOR, None),
        (10**15, 5_000, None, FLOOR, "sol_price_unknown"),
        (0, 10**18, None, Limits(profit_floor_permille=0), None),
        (0, 10**18, 150_000_000, Limits(profit_floor_permille=0), None),
    ],
)
def test_a_reward_must_be_so_many_times_its_cost(reward, cost, sol_price, limits, reason):
    assert unprofitable(reward, cost, sol_price, limits) == reason


@given(
    st.integers(0, 2**63),
    st.integers(0, 2**63),
    st.integers(1, 2**63),
    st.integers(1, 10**6),
)
def test_the_floor_is_exact_and_monotone(reward, cost, sol_price, floor):
    limits = Limits(profit_floor_permille=floor)
    passes = unprofitable(reward, cost, sol_price, limits) is None

    assert passes == (Fraction(reward, 10**6) >= Fraction(cost * sol_price * floor, 10**18))
    if passes:
        assert unprofitable(reward + 1, cost, sol_price, limits) is None
        assert unprofitable(reward, max(cost - 1, 0), sol_price, limits) is None


@pytest.mark.parametrize(
    ("reward", "fee", "sol_price", "lost"),
    [
        (30_000, 200_000, 150_000_000, False),
        (29_999, 200_000, 150_000_000, True),
        (0, 5_000, None, False),
    ],
)
def test_a_landing_is_a_loss_when_its_fee_was_worth_more_than_the_reward(
    reward, fee, sol_price, lost
):
    assert landed_at_loss(reward, fee, sol_price) is lost


@pytest.mark.parametrize(
    ("prices", "found"),
    [
        ({"SOL": 150}, 150),
        ({"BTC": 60_000, "SOL-PERP": 151}, 151),
        ({"sol/usd": 152}, 152),
        ({"SOLV-PERP": 3, "WSOL": 4, "BTC-SOL": 5}, 99),
        ({"SOL": 0}, 99),
        ({}, 99),
    ],
)
def test_a_market_of_sol_tells_its_price_before_the_settings_do(prices, found):
    assert sol_price_of(prices, Limits(sol_price_e6=99)) == found


def test_without_a_market_and_a_setting_the_price_of_sol_is_unknown():
    assert sol_price_of({"BTC": 60_000}, Limits()) is None
