"""The price of a market from what recent blocks took, and what happens when nobody tells it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqctl.chain.answers import PriorityFee
from liqctl.chain.client import Chain
from liqctl.errors import RpcMalformed, RpcRefused, RpcUnreachable
from liqctl.keeper.context import Context
from liqctl.keeper.priority import (
    ACCOUNTS_MAX,
    MARKETS_MAX,
    PLAUSIBLE_MAX,
    PriorityPrices,
    estimate,
)
from liqctl.keeper.storage import StoreThread
from liqctl.testing import FakeRpc, ManualClock, MemoryStore, SeededRng
from liqctl.venues.registry import open_venue

METHOD = "getRecentPrioritizationFees"


@pytest.fixture
def rpc():
    return FakeRpc()


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
async def prices(rpc, clock):
    context = Context(
        venue=open_venue("reference", None),
        chain=Chain(rpc),
        store=StoreThread(MemoryStore()),
        clock=clock,
        rng=SeededRng(1),
        owner="me",
    )
    yield PriorityPrices(context, 75)
    await context.store.close()


def blocks(*fees: int) -> list[dict[str, int]]:
    return [{"slot": slot, "prioritizationFee": fee} for slot, fee in enumerate(fees)]


def told(*fees: int) -> list[PriorityFee]:
    return [PriorityFee(slot=n, price_micro_lamports=fee) for n, fee in enumerate(fees)]


async def test_the_first_question_has_no_answer_and_the_next_has_one(prices, rpc):
    rpc.answer(METHOD, blocks(0, 10, 20, 30))
    assert prices.price("m", ["a", "b"]) is None

    await prices.refresh()

    assert prices.price("m", ["a", "b"]) == 20
    assert rpc.calls == [(METHOD, [["a", "b"]])]
    assert prices.counts["fee_estimate_missing"] == 1


async def test_nobody_is_asked_about_a_market_that_nobody_wants(prices, rpc, clock):
    rpc.answer(METHOD, blocks(7))
    await prices.refresh()
    assert rpc.calls == []

    prices.price("m", ["a"])
    await clock.advance(601)
    await prices.refresh()

    assert rpc.calls == []


async def test_a_price_is_used_for_ten_seconds_from_when_it_was_asked_for(prices, rpc, clock):
    rpc.answer(METHOD, blocks(7))
    prices.price("m", ["a"])
    await prices.refresh()

    await clock.advance(10)
    assert prices.price("m", ["a"]) == 7
    await clock.advance(0.001)
    assert prices.price("m", ["a"]) is None


@pytest.mark.parametrize(
    "answer",
    [
        RpcUnreachable("no route"),
        RpcRefused("slow down", code=429),
        [],
        blocks(*[1] * 1_001),
        blocks(PLAUSIBLE_MAX + 1),
        blocks(2**64 - 1),
        [{"slot": 1, "prioritizationFee": 1}, {"slot": 1, "prioritizationFee": 2}],
        [{"slot": 1, "prioritizationFee": -1}],
        [{"slot": 1, "prioritizationFee": 1.5}],
        {"slot": 1},
        None,
    ],
)
async def test_an_answer_that_fails_or_cannot_be_true_gives_no_price_and_is_counted(
    prices, rpc, clock, answer
):
    rpc.answer(METHOD, blocks(7), answer)
    prices.price("m", ["a"])
    await prices.refresh()

    await prices.refresh()
    assert prices.price("m", ["a"]) == 7
    await clock.advance(11)

    assert prices.price("m", ["a"]) is None
    assert prices.counts["fee_estimate_failed"] == 1


async def test_one_market_that_fails_holds_up_no_other(prices, rpc):
    rpc.answer(METHOD, RpcUnreachable("no route"), blocks(9))
    prices.price("m", ["a"])
    prices.price("n", ["b"])

    await prices.refresh()

    assert (prices.price("m", ["a"]), prices.price("n", ["b"])) == (None, 9)


async def test_markets_and_accounts_are_bounded(prices, rpc):
    rpc.answer(METHOD, blocks(9))
    for number in range(MARKETS_MAX + 5):
        prices.price(f"m{number}", [f"a{n}" for n in range(ACCOUNTS_MAX + 5)])

    await prices.refresh()

    assert len(rpc.calls) == MARKETS_MAX
    assert {len(params[0]) for _, params in rpc.calls} == {ACCOUNTS_MAX}
    assert prices.price("m0", ["a"]) is None
    assert prices.price(f"m{MARKETS_MAX}", ["a"]) == 9


def test_blocks_that_asked_for_nothing_count():
    assert estimate(told(0, 0, 0, 0, 0, 0, 5_000), 75) == 0
    assert estimate(told(0, 5_000, 6_000, 7_000), 75) == 6_000


def test_only_the_latest_blocks_count():
    long_ago = [PriorityFee(slot=n, price_micro_lamports=10**6) for n in range(200)]
    lately = [PriorityFee(slot=1_000 + n, price_micro_lamports=3) for n in range(150)]

    assert estimate([*lately, *long_ago], 100) == 3


@given(st.lists(st.integers(0, 2**64), max_size=1_100), st.integers(1, 100))
def test_whatever_a_node_tells_is_a_price_it_told_or_an_error(fees, percent):
    try:
        price = estimate(told(*fees), percent)
    except RpcMalformed:
        return

    assert price in fees
    assert price <= PLAUSIBLE_MAX
