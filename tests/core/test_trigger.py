from hypothesis import assume, given
from hypothesis import strategies as st

from liqctl.core.fixed import Overflow
from liqctl.core.position import Side
from liqctl.core.sizing import Holding, margin
from liqctl.core.trigger import crossing_price_e6

HOLDINGS = st.builds(
    Holding,
    side=st.sampled_from(Side),
    size_e9=st.integers(1, 10**15),
    entry_price_e6=st.integers(1, 10**12),
    collateral=st.integers(0, 10**16),
)


def liquidatable(holding: Holding, bps: int, price: int) -> bool:
    return margin(holding, bps, price).liquidatable


def test_a_ten_times_long_at_5_percent_falls_at_about_94_74():
    # 1 base at 100 with 10 collateral: 10 + p - 100 < 0.05 p  <=>  p < 94.7368421; the margin is
    # rounded up, so one unit more is liquidatable too.
    holding = Holding(
        side=Side.LONG, size_e9=10**9, entry_price_e6=100_000_000, collateral=10_000_000
    )

    assert crossing_price_e6(holding, 500) == 94_736_842


def test_a_ten_times_short_at_5_percent_falls_at_about_104_76():
    # equity 10 + 100 - p < 0.05 p  <=>  p > 104.7619...
    holding = Holding(
        side=Side.SHORT, size_e9=10**9, entry_price_e6=100_000_000, collateral=10_000_000
    )

    assert crossing_price_e6(holding, 500) == 104_761_905


def test_a_long_that_is_fully_backed_has_no_liquidation_price():
    holding = Holding(side=Side.LONG, size_e9=10**9, entry_price_e6=10**8, collateral=10**9)

    assert crossing_price_e6(holding, 500) == 0


@given(HOLDINGS, st.integers(1, 9_999))
def test_the_verdict_flips_exactly_at_the_liquidation_price(holding, bps):
    try:
        price = crossing_price_e6(holding, bps)
        assert price is not None
        if holding.side is Side.LONG:
            assert price == 0 or liquidatable(holding, bps, price)
            assert not liquidatable(holding, bps, price + 1)
        else:
            assert liquidatable(holding, bps, price)
            assert price == 0 or not liquidatable(holding, bps, price - 1)
    except Overflow:
        assume(False)


@given(HOLDINGS, st.integers(10_000, 20_000))
def test_a_margin_of_everything_has_no_single_flip(holding, bps):
    assert crossing_price_e6(holding, bps) is None
