from hypothesis import given
from hypothesis import strategies as st

from liqctl.chain.fees import max_cost_lamports, priority_fee_lamports
from liqctl.core.bid import (
    UNIT_LIMIT_MIN,
    bid,
    highest_price,
    percentile,
    raised,
    unit_limit,
    worth_lamports,
)
from liqctl.core.guards import Limits, unprofitable

limits = st.integers(1_000, 1_400_000)
prices = st.integers(0, 2**64 - 1)
lamports = st.integers(0, 10**18)


def test_the_percentile_is_the_smallest_price_that_so_many_do_not_exceed():
    found = [percentile(list(range(1, 101)), percent) for percent in (1, 50, 75, 100)]

    assert found == [1, 50, 75, 100]
    assert percentile([9], 1) == percentile([9], 100) == 9


@given(st.lists(prices, min_size=1, max_size=200), st.integers(1, 100))
def test_the_percentile_is_one_of_the_prices_and_covers_its_share(found, percent):
    price = percentile(found, percent)

    assert price in found
    assert 100 * sum(each <= price for each in found) >= percent * len(found)
    assert 100 * sum(each < price for each in found) < percent * len(found)


@given(st.integers(0, 10**12), st.integers(1, 30))
def test_each_further_attempt_offers_half_more_and_never_less(price, attempt):
    now, then = raised(price, attempt), raised(price, attempt + 1)

    assert raised(price, 1) == price
    assert now <= then <= now * 3 // 2 + 1


@given(st.integers(), st.integers(1, 10**9))
def test_any_number_of_attempts_can_be_raised_for(attempt, price):
    assert raised(price, attempt) >= price


@given(prices, st.integers(1, 10**6), lamports, limits)
def test_whatever_the_estimate_says_the_fee_stays_below_the_ceiling(base, attempt, ceiling, limit):
    offered = bid(base, attempt, ceiling, limit)

    assert priority_fee_lamports(limit, offered.price_micro_lamports) <= ceiling
    assert offered.capped == (raised(base, attempt) > offered.price_micro_lamports)


@given(lamports, limits)
def test_the_highest_price_is_the_highest(ceiling, limit):
    price = highest_price(ceiling, limit)

    assert priority_fee_lamports(limit, price) <= ceiling
    assert (price + 1) * limit > ceiling * 10**6


@given(
    st.integers(0, 10**15),
    st.integers(1, 10**12),
    st.integers(1, 20_000),
    limits,
    prices,
)
def test_a_fee_that_the_reward_is_worth_is_profitable(reward, sol_price, floor, limit, base):
    worth = worth_lamports(reward, sol_price, floor)
    price = bid(base, 1, worth, limit).price_micro_lamports
    cost = max_cost_lamports(1, limit, price)

    reason = unprofitable(reward, cost, sol_price, Limits(profit_floor_permille=floor))

    assert reason is None or worth == 0


@given(st.integers(0, 10**15), st.integers(1, 10**12))
def test_without_a_floor_the_fee_is_still_not_above_the_reward(reward, sol_price):
    worth = worth_lamports(reward, sol_price, 0)

    assert worth * sol_price <= reward * 10**9


@given(st.none() | st.integers(0, 2**64 - 1), st.integers(0, 1_000), limits)
def test_a_unit_limit_covers_what_was_consumed_and_never_exceeds_the_ceiling(
    consumed, margin, ceiling
):
    limit = unit_limit(consumed, margin, ceiling)

    assert 0 < limit <= ceiling
    if consumed is not None and limit < ceiling:
        assert limit * 100 >= consumed * (100 + margin)
        assert limit >= UNIT_LIMIT_MIN
