"""How much is closed and where the money goes: by hand, by brute force and by conservation."""

from dataclasses import replace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from liqctl.core.fixed import U64_MAX, Overflow
from liqctl.core.health import Kind, equity, maintenance_margin, notional, unrealized_pnl
from liqctl.core.position import Side
from liqctl.core.sizing import CannotSize, Holding, Terms, margin, plan_closing

HUNDRED = 100_000_000
# Ten base at an entry of 100; what equals 1 quote is 1_000_000.
HOLDING = Holding(
    side=Side.LONG, size_e9=10_000_000_000, entry_price_e6=HUNDRED, collateral=40_000_000
)
# 5 % maintenance, 1 % fee, half of it for the liquidator, 125 % health after a partial one.
TERMS = Terms(
    maintenance_bps=500,
    liquidation_fee_bps=100,
    liquidator_share_bps=5_000,
    target_health_bps=12_500,
    min_reward=0,
    min_position_notional=0,
    profit_pool=0,
    fund_balance=0,
)


def with_collateral(collateral):
    return replace(HOLDING, collateral=collateral)


def test_a_partial_liquidation_by_hand():
    # Notional 1000, equity 40, margin 50. Keep x: 40 - (1000 - x) * 1 % = 125 % * 5 % * x
    # gives x = 571.42857, so 4.2857144 base go at a fee of 4.285715.
    closing = plan_closing(HOLDING, TERMS, HUNDRED)

    assert closing.kind is Kind.PARTIAL
    assert closing.size_e9 == 4_285_714_391
    assert closing.remaining_e9 == 5_714_285_609
    assert closing.fee == 4_285_715
    assert closing.remaining_collateral == 35_714_285
    assert (closing.reward, closing.fund_delta) == (2_142_857, 2_142_858)
    assert (closing.owner_payout, closing.pool_delta, closing.realized_pnl) == (0, 0, 0)


def test_a_partial_liquidation_moves_its_share_of_the_loss_into_the_pool():
    # At 98 the loss is 20 of which the closed part is realized; equity 20 + 22 - 20 = 22 of 49.
    closing = plan_closing(with_collateral(42_000_000), TERMS, 98_000_000)

    loss_left = closing.remaining_e9 * 2 // 1_000
    assert closing.kind is Kind.PARTIAL
    assert closing.realized_pnl == pytest.approx(-(20_000_000 - loss_left), abs=1)
    assert closing.pool_delta == -closing.realized_pnl
    assert closing.remaining_collateral == 42_000_000 + closing.realized_pnl - closing.fee


def test_a_tenth_of_the_margin_is_still_partial_and_less_is_full():
    # A fee of 0.1 % leaves room for a partial one at so little equity.
    terms = replace(TERMS, liquidation_fee_bps=10)

    assert plan_closing(with_collateral(5_000_000), terms, HUNDRED).kind is Kind.PARTIAL
    assert plan_closing(with_collateral(4_999_999), terms, HUNDRED).kind is Kind.FULL


def test_a_full_liquidation_pays_the_fee_first_and_the_rest_to_the_owner():
    terms = replace(TERMS, liquidation_fee_bps=20)

    closing = plan_closing(with_collateral(4_000_000), terms, HUNDRED)

    assert closing.kind is Kind.FULL
    assert (closing.fee, closing.reward, closing.fund_delta) == (2_000_000, 1_000_000, 1_000_000)
    assert closing.owner_payout == 2_000_000


def test_the_fee_never_exceeds_the_equity():
    closing = plan_closing(with_collateral(4_000_000), TERMS, HUNDRED)

    assert (closing.fee, closing.reward, closing.owner_payout) == (4_000_000, 2_000_000, 0)


def test_the_fund_tops_a_small_reward_up_before_it_covers_bad_debt():
    # At 99 the loss is 10, equity 4 - 10 = -6; the fund has 5: 1 for the liquidator, 4 of the 6.
    terms = replace(TERMS, min_reward=1_000_000, fund_balance=5_000_000)

    closing = plan_closing(with_collateral(4_000_000), terms, 99_000_000)

    assert (closing.fee, closing.reward, closing.fund_delta) == (0, 1_000_000, -5_000_000)
    assert (closing.bad_debt_covered, closing.bad_debt_uncovered) == (4_000_000, 2_000_000)
    assert closing.pool_delta == 8_000_000


def test_a_reward_is_topped_up_only_as_far_as_the_fund_reaches():
    terms = replace(TERMS, min_reward=9_000_000, fund_balance=1_500_000)

    closing = plan_closing(with_collateral(4_000_000), terms, HUNDRED)

    # Of the fee of 4 the liquidator has 2 and the fund 2; then the fund gives all it has.
    assert (closing.reward, closing.fund_delta) == (5_500_000, -1_500_000)


def test_a_profit_is_paid_by_the_pool_then_by_the_fund():
    # Entry 99.9 at 100: a profit of 1 and no collateral, equity 1 of 50.
    held = replace(HOLDING, entry_price_e6=99_900_000, collateral=0)
    terms = replace(TERMS, liquidation_fee_bps=0, profit_pool=600_000, fund_balance=400_000)

    closing = plan_closing(held, terms, HUNDRED)

    assert (closing.pool_delta, closing.fund_delta, closing.owner_payout) == (
        -600_000,
        -400_000,
        1_000_000,
    )
    with pytest.raises(CannotSize, match="ProfitPoolEmpty"):
        plan_closing(held, replace(terms, fund_balance=399_999), HUNDRED)


def test_a_rest_below_the_minimum_is_closed_in_full():
    terms = replace(TERMS, min_position_notional=571_428_560)

    assert plan_closing(HOLDING, terms, HUNDRED).kind is Kind.PARTIAL
    terms = replace(terms, min_position_notional=571_428_561)
    assert plan_closing(HOLDING, terms, HUNDRED).kind is Kind.FULL


def test_a_limit_makes_a_partial_one_smaller_and_refuses_a_full_one():
    closing = plan_closing(HOLDING, TERMS, HUNDRED, max_size_e9=1_000_000_000)

    assert (closing.kind, closing.size_e9) == (Kind.PARTIAL, 1_000_000_000)
    with pytest.raises(CannotSize, match="MaxSizeTooSmall"):
        plan_closing(with_collateral(0), TERMS, HUNDRED, max_size_e9=HOLDING.size_e9 - 1)
    with pytest.raises(CannotSize, match="InvalidAmount"):
        plan_closing(HOLDING, TERMS, HUNDRED, max_size_e9=0)


def test_money_that_leaves_64_bits_is_an_overflow():
    with pytest.raises(Overflow):
        plan_closing(HOLDING, replace(TERMS, fund_balance=U64_MAX), HUNDRED)
    with pytest.raises(Overflow):
        plan_closing(with_collateral(4_000_000), replace(TERMS, profit_pool=U64_MAX), 99_000_000)


@st.composite
def terms(draw):
    """Terms that the program accepts: fee * (1 + margin) <= margin."""
    bps = draw(st.integers(1, 5_000))
    return Terms(
        maintenance_bps=bps,
        liquidation_fee_bps=draw(st.integers(0, bps * 10_000 // (10_000 + bps))),
        liquidator_share_bps=draw(st.integers(0, 10_000)),
        target_health_bps=draw(st.integers(10_001, 20_000)),
        min_reward=draw(st.integers(0, 1_000)),
        min_position_notional=draw(st.integers(0, 200)),
        profit_pool=draw(st.integers(0, 10_000)),
        fund_balance=draw(st.integers(0, 10_000)),
    )


@st.composite
def liquidatable(draw, *, size_max, price_max, least_tenths=-30):
    """A holding, terms and price where the holding is liquidatable."""
    rules = draw(terms())
    # A notional of at least 100, so that there is a margin to fall below.
    price = draw(st.integers(max(10**12 // size_max, 2), price_max))
    side = draw(st.sampled_from(Side))
    # A loss of up to everything, or a gain small enough to stay below the margin.
    gain = draw(st.integers(-price, price * rules.maintenance_bps // 20_000))
    entry = price - gain if side is Side.LONG else price + gain
    held = Holding(
        side=side,
        size_e9=draw(st.integers(size_max // 10, size_max)),
        entry_price_e6=max(entry, 1),
        collateral=0,
    )
    at = margin(held, rules.maintenance_bps, price)
    wanted = at.maintenance_margin * draw(st.integers(least_tenths, 10)) // 10 - 1
    held = replace(held, collateral=max(wanted - at.pnl, 0))
    assume(margin(held, rules.maintenance_bps, price).liquidatable)
    return held, rules, price


def restored(held, rules, price, closed):
    """Whether closing so much leaves the target health, written as the definition says it."""
    before, left = notional(held.size_e9, price), notional(held.size_e9 - closed, price)
    fee = -(-(before - left) * rules.liquidation_fee_bps // 10_000)
    pnl = unrealized_pnl(held.side, held.size_e9, held.entry_price_e6, price)
    needed = maintenance_margin(left, rules.maintenance_bps)
    return (equity(held.collateral, pnl) - fee) * 10_000 >= rules.target_health_bps * needed


@given(liquidatable(size_max=2_000, price_max=10**12, least_tenths=1))
def test_a_partial_liquidation_is_the_smallest_that_restores_the_target_health(case):
    held, rules, price = case
    rules = replace(rules, min_position_notional=0, profit_pool=10**12)

    closing = plan_closing(held, rules, price)

    at = margin(held, rules.maintenance_bps, price)
    nursed = 10 * at.equity >= at.maintenance_margin
    sizes = [size for size in range(1, held.size_e9) if restored(held, rules, price, size)]
    if closing.kind is Kind.PARTIAL:
        assert closing.size_e9 == sizes[0]
    elif nursed and sizes:
        # Only a loss that the collateral does not carry turns a possible partial one into full.
        rest = unrealized_pnl(held.side, held.size_e9 - sizes[0], held.entry_price_e6, price)
        assert held.collateral + at.pnl - rest - closing.fee <= 0


@given(liquidatable(size_max=10**13, price_max=10**12))
@example((HOLDING, TERMS, HUNDRED))
def test_no_unit_of_money_appears_or_disappears(case):
    held, rules, price = case
    try:
        closing = plan_closing(held, rules, price)
    except CannotSize:
        return

    before = held.collateral + rules.fund_balance + rules.profit_pool
    fund = rules.fund_balance + closing.fund_delta
    pool = rules.profit_pool + closing.pool_delta
    parts = (fund, pool, closing.remaining_collateral, closing.reward, closing.owner_payout)
    assert sum(parts) == before
    assert min(parts) >= 0


@given(liquidatable(size_max=10**13, price_max=10**12), st.integers(1, 10**13))
def test_a_limit_is_kept_and_a_rest_is_left_only_by_a_partial_one(case, limit):
    held, rules, price = case
    try:
        closing = plan_closing(held, rules, price, max_size_e9=limit)
    except CannotSize:
        return

    assert 1 <= closing.size_e9 <= limit
    assert closing.size_e9 + closing.remaining_e9 == held.size_e9
    assert (closing.kind is Kind.PARTIAL) is (closing.remaining_e9 > 0)


@given(liquidatable(size_max=10**13, price_max=10**12, least_tenths=1))
def test_the_stored_rest_has_the_target_health(case):
    held, rules, price = case
    rules = replace(rules, min_position_notional=0, profit_pool=10**18)

    closing = plan_closing(held, rules, price)

    if closing.kind is Kind.PARTIAL:
        rest = replace(held, size_e9=closing.remaining_e9, collateral=closing.remaining_collateral)
        after = margin(rest, rules.maintenance_bps, price)
        assert after.equity * 10_000 >= rules.target_health_bps * after.maintenance_margin
