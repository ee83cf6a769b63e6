"""Equity, maintenance margin and health by hand, and how they move with the price."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.fixed import I64_MAX, U64_MAX, Overflow
from liqctl.core.health import equity, health, maintenance_margin, notional, unrealized_pnl
from liqctl.core.position import Side


@pytest.mark.parametrize(
    "size_e9, price_e6, expected",
    [
        (2_000_000_000, 150_000_000, 300_000_000),
        (1, 999_999_999, 0),
        (1, 1_000_000_000, 1),
        (3, 333_333_334, 1),
        (I64_MAX, 2_000_000_000, 2 * I64_MAX),
    ],
)
def test_a_notional_is_rounded_down(size_e9, price_e6, expected):
    assert notional(size_e9, price_e6) == expected


def test_a_notional_beyond_64_bits_is_an_overflow():
    with pytest.raises(Overflow):
        notional(I64_MAX, 3_000_000_000)


@pytest.mark.parametrize("side, expected", [(Side.LONG, -20_000_000), (Side.SHORT, 20_000_000)])
def test_a_fall_of_ten_costs_a_long_of_two_twenty(side, expected):
    assert unrealized_pnl(side, 2_000_000_000, 150_000_000, 140_000_000) == expected


def test_profit_is_the_difference_of_two_rounded_notionals():
    # 3 units: floor(3 * 1.5) - floor(3 * 1.2) = 4 - 3, although the exact difference is 0.9.
    assert unrealized_pnl(Side.LONG, 3, 1_200_000_000, 1_500_000_000) == 1
    assert unrealized_pnl(Side.SHORT, 3, 1_200_000_000, 1_500_000_000) == -1


def test_equity_adds_the_signed_profit():
    assert equity(15_000_000, -20_000_000) == -5_000_000


@pytest.mark.parametrize("collateral, pnl", [(I64_MAX + 1, -1), (I64_MAX, 1)])
def test_equity_beyond_64_bits_is_an_overflow(collateral, pnl):
    with pytest.raises(Overflow):
        equity(collateral, pnl)


@pytest.mark.parametrize(
    "notional_now, bps, expected", [(10_000, 500, 500), (10_001, 500, 501), (1, 1, 1), (0, 500, 0)]
)
def test_a_maintenance_margin_is_rounded_up(notional_now, bps, expected):
    assert maintenance_margin(notional_now, bps) == expected


def test_health_is_one_exactly_on_the_line():
    assert health(50_000_000, 50_000_000) == 1.0
    assert health(-1, 50_000_000) < 0


def test_without_any_margin_the_sign_of_the_equity_decides():
    assert health(-1, 0) == float("-inf")
    assert health(0, 0) == float("inf")


PRICES = st.integers(1, 10**12)


@given(
    size=st.integers(1, 10**12),
    entry=PRICES,
    collateral=st.integers(0, 10**15),
    bps=st.integers(1, 5_000),
    prices=st.tuples(PRICES, PRICES),
)
def test_equity_over_margin_moves_with_the_price(size, entry, collateral, bps, prices):
    low, high = sorted(prices)

    def slack(side, price):
        pnl = unrealized_pnl(side, size, entry, price)
        return equity(collateral, pnl) - maintenance_margin(notional(size, price), bps)

    assert slack(Side.LONG, low) <= slack(Side.LONG, high)
    assert slack(Side.SHORT, low) >= slack(Side.SHORT, high)


@given(st.integers(0, U64_MAX), st.integers(0, 10_000))
def test_a_margin_errs_against_the_trader_by_less_than_one(notional_now, bps):
    exact_times_10_000 = notional_now * bps

    assert 0 <= maintenance_margin(notional_now, bps) * 10_000 - exact_times_10_000 < 10_000
