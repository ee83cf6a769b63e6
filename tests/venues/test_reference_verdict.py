"""Verdicts of the reference venue: known or unknown with a reason, blockers, and the price of it."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.account import Gone, Refusal, Seen, Undecodable
from liqctl.core.fixed import U64_MAX
from liqctl.core.health import Kind
from liqctl.core.position import Position
from liqctl.oracle.price_update import decode_price
from liqctl.venues.reference import ReferenceVenue
from tests.venues import planted as at
from tests.venues.program_cases import NOW, Case

VENUE = ReferenceVenue(str(at.PROGRAM))
MARKET, FUND, PRICE = str(at.MARKET), str(at.FUND), str(at.PRICE)

# Ten base long from 100 at 100: notional 1000, margin 5 % = 50, equity 40.
CASE = Case(
    label="by hand",
    size=10_000_000_000,
    entry_price=100_000_000,
    collateral=40_000_000,
    leverage=10,
    tiers=((10, 500),),
    mantissa=10_000_000_000,
    exponent=-8,
    confidence=10_000_000,
    publish_time=NOW - 3,
    fee_bps=100,
    share_bps=5_000,
    target_bps=12_500,
    min_reward=0,
    min_notional=0,
    pool=0,
    fund=0,
)


def position_of(case):
    found = VENUE.decode(at.seen_account(at.POSITION, at.PROGRAM, at.position_bytes(case)))
    assert isinstance(found, Position)
    return found


def view_of(case):
    market = VENUE.decode(at.seen_account(at.MARKET, at.PROGRAM, at.market_bytes(case)))
    fund = VENUE.decode(at.seen_account(at.FUND, at.PROGRAM, at.fund_bytes(case)))
    price = decode_price(at.seen_account(at.PRICE, at.RECEIVER, case.price_account()))
    values = {MARKET: market, FUND: fund, PRICE: price}
    return {key: Seen(address=key, slot=at.SLOT, value=one) for key, one in values.items()}


def assess(case, **changed):
    """Assess with some accounts replaced by other values, or taken away with None."""
    view = view_of(case)
    for key, value in changed.items():
        address = {"market": MARKET, "fund": FUND, "price": PRICE}[key]
        view.pop(address)
        if value is not None:
            view[address] = Seen(address=address, slot=at.SLOT, value=value)
    return VENUE.assess(position_of(case), view, case.now)


def test_a_liquidatable_position_comes_with_every_figure():
    found = assess(CASE)

    assert (found.liquidatable, found.unknown_reason, found.blockers) == (True, None, ())
    assert (found.position, found.symbol, found.slot) == (str(at.POSITION), "SOL-PERP", at.SLOT)
    assert (found.price_e6, found.price_age_s, found.confidence_bps) == (100_000_000, 3, 10)
    assert (found.notional, found.equity) == (1_000_000_000, 40_000_000)
    assert (found.maintenance_margin, found.health) == (50_000_000, 0.8)
    assert (found.kind, found.close_size, found.fee) == (Kind.PARTIAL, 4_285_714_391, 4_285_715)
    assert (found.reward, found.fund_delta, found.owner_payout) == (2_142_857, 2_142_858, 0)


@pytest.mark.parametrize("collateral, expected", [(49_999_999, True), (50_000_000, False)])
def test_equity_equal_to_the_margin_is_healthy(collateral, expected):
    found = assess(replace(CASE, collateral=collateral))

    assert found.liquidatable is expected
    assert (found.kind is None) is not expected


def test_bad_debt_is_split_by_what_the_fund_has():
    found = assess(replace(CASE, mantissa=9_000_000_000, fund=1_000_000))

    assert (found.kind, found.equity) == (Kind.FULL, -60_000_000)
    assert (found.bad_debt_covered, found.bad_debt_uncovered) == (1_000_000, 59_000_000)
    assert found.bad_debt == 60_000_000


@pytest.mark.parametrize(
    "changed, reason",
    [
        ({"market": None}, "market_missing"),
        ({"market": Gone()}, "market_missing"),
        ({"market": Undecodable(reason=Refusal.ABSURD_VALUE, detail="")}, "market_unreadable"),
        ({"price": None}, "price_missing"),
        ({"price": Gone()}, "price_missing"),
        ({"price": Undecodable(reason=Refusal.WRONG_OWNER, detail="")}, "price_wrong_owner"),
        ({"price": Undecodable(reason=Refusal.WRONG_LENGTH, detail="")}, "price_wrong_type"),
        (
            {"price": Undecodable(reason=Refusal.ABSURD_VALUE, detail="")},
            "price_not_fully_verified",
        ),
    ],
)
def test_what_is_missing_or_unreadable_leaves_the_verdict_unknown(changed, reason):
    found = assess(CASE, **changed)

    assert (found.liquidatable, found.unknown_reason) == (None, reason)


@pytest.mark.parametrize(
    "case, reason",
    [
        (replace(CASE, publish_time=NOW - 61), "price_stale"),
        (replace(CASE, leverage=11), "leverage_too_high"),
        (replace(CASE, collateral=U64_MAX), "overflow"),
        (replace(CASE, exponent=0), "price_too_large"),
    ],
)
def test_what_the_program_refuses_is_unknown(case, reason):
    case = replace(case, mantissa=2**63 - 1) if reason == "price_too_large" else case

    found = assess(case)

    assert (found.liquidatable, found.unknown_reason) == (None, reason)
    assert found.price_age_s == NOW - case.publish_time


@pytest.mark.parametrize(
    "case, blocker",
    [
        (replace(CASE, paused=True), "market_paused"),
        (replace(CASE, publish_time=NOW + 6), "price_from_future"),
        (replace(CASE, entry_price=98_000_000, collateral=20_000_000), "profit_pool_empty"),
        (replace(CASE, fund=U64_MAX), "overflow"),
    ],
)
def test_what_only_hinders_sending_is_a_blocker_and_no_doubt(case, blocker):
    found = assess(case)

    assert (found.liquidatable, found.blockers) == (True, (blocker,))


def test_without_the_fund_the_verdict_stands_and_sending_is_blocked():
    found = assess(CASE, fund=None)

    assert (found.liquidatable, found.blockers) == (True, ("fund_missing",))
    assert (found.kind, found.reward) == (None, 0)


def test_the_slot_of_a_verdict_is_the_newest_that_went_into_it():
    view = view_of(CASE)
    view[PRICE] = replace(view[PRICE], slot=at.SLOT + 5)

    assert VENUE.assess(position_of(CASE), view, NOW).slot == at.SLOT + 5


def test_the_mark_price_is_that_of_the_verdict_or_the_word_against_it():
    view = view_of(CASE)

    assert VENUE.mark_price(view[MARKET].value, view, NOW) == 100_000_000
    assert VENUE.mark_price(view[MARKET].value, view, NOW + 100) == "price_stale"
    assert VENUE.mark_price(view[MARKET].value, {}, NOW) == "price_missing"


def test_dependencies_and_symbol_grow_with_what_is_known():
    position, view = position_of(CASE), view_of(CASE)

    assert VENUE.dependencies(position, {}) == (MARKET, FUND)
    assert VENUE.dependencies(position, view) == (MARKET, PRICE, FUND)
    assert VENUE.symbol(position, {}) == MARKET
    assert VENUE.symbol(position, view) == "SOL-PERP"


def test_the_liquidation_price_by_hand():
    # 40 + 10 x - 1000 = 5 % of 10 x at x = 101.0526..., below which the long is liquidatable.
    long, view = position_of(CASE), view_of(CASE)
    assert VENUE.liquidation_price_e6(long, view) == 101_052_631
    # 40 + 1000 - 10 x = 5 % of 10 x at x = 99.0476..., above which the short is.
    short = position_of(replace(CASE, size=-CASE.size))
    assert VENUE.liquidation_price_e6(short, view) == 99_047_620
    assert VENUE.bound_price_e6(short, view) == 99_047_620


@pytest.mark.parametrize("collateral", [999_999_999, 1_000_000_000, 2_000_000_000])
def test_without_a_liquidation_price_a_long_is_bound_to_zero(collateral):
    position, view = position_of(replace(CASE, collateral=collateral)), view_of(CASE)

    assert VENUE.liquidation_price_e6(position, view) is None
    assert VENUE.bound_price_e6(position, view) == 0
    assert VENUE.bound_price_e6(position, {}) is None


@given(
    size=st.integers(1, 2**63 - 1),
    short=st.booleans(),
    entry=st.integers(1, 10**13),
    collateral=st.integers(0, 10**18),
    bps=st.integers(100, 1_000),
)
def test_the_verdict_flips_exactly_at_the_liquidation_price(size, short, entry, collateral, bps):
    case = replace(
        CASE,
        size=-size if short else size,
        entry_price=entry,
        collateral=collateral,
        tiers=((10, bps),),
        fee_bps=0,
        max_confidence_bps=10_000,
        confidence=0,
    )
    position, view = position_of(case), view_of(case)

    def verdict(price_e6):
        price = replace(view[PRICE].value, mantissa=price_e6, exponent=-6)
        return VENUE.assess(position, view | {PRICE: replace(view[PRICE], value=price)}, NOW)

    price, bound = VENUE.liquidation_price_e6(position, view), VENUE.bound_price_e6(position, view)
    healthier = -1 if short else 1
    assert bound is not None
    if bound < 2**63 - 1:
        # On the healthier side never; at the price itself always, unless the program overflows.
        assert verdict(bound + healthier).liquidatable is not True
        assert bound == 0 or verdict(bound).liquidatable is not False
    if price is not None:
        assert price == bound
        assert bound >= 2**63 or verdict(price).liquidatable is True
    elif 0 < bound < 2**63:
        assert verdict(bound).unknown_reason == "overflow"
