"""Account bytes of the reference program: the right value, or a reason, never an error."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.account import Gone, Refusal, Undecodable
from liqctl.core.fixed import I64_MIN
from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Market, Position, Side
from liqctl.core.price import PriceRules
from liqctl.venues.reference import ReferenceVenue
from liqctl.venues.reference_layout import AccountReader, MarketRecord, PositionRecord
from liqctl.venues.tokens import SYSTEM_PROGRAM
from tests.oracle.fixture_files import account_bytes
from tests.venues import planted as at
from tests.venues.program_cases import FEED, NOW, Case

VENUE = ReferenceVenue(str(at.PROGRAM))

CASE = Case(
    label="by hand",
    size=-2_000_000_000,
    entry_price=150_000_000,
    collateral=30_000_000,
    leverage=7,
    tiers=((5, 1_000), (10, 500)),
    mantissa=15_000_000_000,
    exponent=-8,
    fee_bps=100,
    share_bps=5_000,
    target_bps=12_500,
    min_reward=1,
    min_notional=2,
    pool=3,
    fund=4,
)


def decode(address, blob, owner=at.PROGRAM):
    return VENUE.decode(at.seen_account(address, owner, blob))


def with_bytes(blob, offset, new):
    return blob[:offset] + new + blob[offset + len(new) :]


def test_every_field_of_a_position_is_read():
    assert decode(at.POSITION, at.position_bytes(CASE)) == Position(
        address=str(at.POSITION),
        owner=str(at.OWNER),
        market=str(at.MARKET),
        side=Side.SHORT,
        size=2_000_000_000,
        entry_price_e6=150_000_000,
        collateral=30_000_000,
        leverage=7,
        generation=900,
        record=PositionRecord(
            id=at.POSITION_ID, opened_at=NOW - 3_600, updated_slot=900, realized_pnl=0
        ),
    )


def test_every_field_of_a_market_is_read():
    assert decode(at.MARKET, at.market_bytes(replace(CASE, paused=True))) == Market(
        address=str(at.MARKET),
        symbol="SOL-PERP",
        price_account=str(at.PRICE),
        paused=True,
        max_price_age_s=60,
        bound_terms=((5, 1_000), (10, 500)),
        record=MarketRecord(
            rules=PriceRules(
                owner=str(at.RECEIVER),
                feed_id=FEED.hex(),
                age_s_max=60,
                confidence_bps_max=100,
            ),
            profit_pool=3,
            open_interest_long=at.OTHER_SIZE,
            open_interest_short=at.OTHER_SIZE + 2_000_000_000,
            position_count=3,
            min_reward=1,
            min_position_notional=2,
            liquidation_fee_bps=100,
            liquidator_share_bps=5_000,
            target_health_bps=12_500,
            tiers=((5, 1_000), (10, 500)),
        ),
    )


def test_every_field_of_the_fund_is_read():
    assert decode(at.FUND, at.fund_bytes(CASE)) == InsuranceState(
        address=str(at.FUND),
        balance=4,
        bad_debt_covered=0,
        bad_debt_uncovered=0,
        liquidation_count=41,
        mint=str(at.MINT),
        vault=str(at.VAULT),
    )


def test_the_fund_is_at_the_address_that_the_seeds_give():
    assert VENUE.insurance_address() == str(at.FUND)


def test_an_empty_account_of_the_system_program_is_gone():
    assert decode(at.POSITION, b"", SYSTEM_PROGRAM) == Gone()


POSITION = at.position_bytes(CASE)
MARKET = at.market_bytes(CASE)


@pytest.mark.parametrize(
    "blob, owner, reason",
    [
        (POSITION, at.RECEIVER, Refusal.WRONG_OWNER),
        (b"", at.PROGRAM, Refusal.WRONG_DISCRIMINATOR),
        (bytes(144), at.PROGRAM, Refusal.WRONG_DISCRIMINATOR),
        (POSITION[:8], at.PROGRAM, Refusal.WRONG_LENGTH),
        (POSITION[:-1], at.PROGRAM, Refusal.WRONG_LENGTH),
        (POSITION + b"\0", at.PROGRAM, Refusal.WRONG_LENGTH),
        (with_bytes(POSITION, 80, bytes(8)), at.PROGRAM, Refusal.ABSURD_VALUE),
        (
            with_bytes(POSITION, 80, I64_MIN.to_bytes(8, "little", signed=True)),
            at.PROGRAM,
            Refusal.ABSURD_VALUE,
        ),
        (with_bytes(POSITION, 136, bytes(2)), at.PROGRAM, Refusal.ABSURD_VALUE),
        (with_bytes(POSITION, 143, b"\1"), at.PROGRAM, Refusal.ABSURD_VALUE),
        (with_bytes(MARKET, 204, b"\2"), at.PROGRAM, Refusal.ABSURD_VALUE),
        (with_bytes(MARKET, 207, b"\1"), at.PROGRAM, Refusal.ABSURD_VALUE),
        (with_bytes(MARKET, 184, bytes(20)), at.PROGRAM, Refusal.ABSURD_VALUE),
        (with_bytes(MARKET, 184, bytes(4)), at.PROGRAM, Refusal.ABSURD_VALUE),
        (with_bytes(MARKET, 186, b"\xff\xff"), at.PROGRAM, Refusal.ABSURD_VALUE),
        (with_bytes(MARKET, 192, b"\5\0"), at.PROGRAM, Refusal.ABSURD_VALUE),
        (with_bytes(MARKET, 178, b"\xff\xff"), at.PROGRAM, Refusal.ABSURD_VALUE),
        (with_bytes(MARKET, 180, b"\xff\xff"), at.PROGRAM, Refusal.ABSURD_VALUE),
        (with_bytes(MARKET, 182, b"\x10\x27"), at.PROGRAM, Refusal.ABSURD_VALUE),
    ],
)
def test_what_is_not_as_it_should_be_says_why(blob, owner, reason):
    found = decode(at.POSITION, blob, str(owner))

    assert isinstance(found, Undecodable)
    assert found.reason is reason


def test_a_symbol_of_odd_bytes_does_not_hide_the_market():
    found = decode(at.MARKET, with_bytes(MARKET, 8, b"A\xff\nB".ljust(16, b"\0")))

    assert isinstance(found, Market)
    assert found.symbol == r"A\\xff\nB"


@pytest.mark.parametrize("name", ["mango/mangoaccount-v0.21.3.bin", "pyth/swb_pull_sol_price.bin"])
def test_a_real_account_of_another_program_is_undecodable(name):
    assert isinstance(decode(at.POSITION, account_bytes(name)), Undecodable)


@given(
    st.sampled_from([POSITION, MARKET, at.fund_bytes(CASE)]),
    st.integers(0, 208),
    st.lists(st.tuples(st.integers(0, 143), st.integers(0, 255)), max_size=4),
)
def test_cut_or_changed_bytes_never_raise(blob, length, changes):
    changed = bytearray(blob)
    for offset, value in changes:
        changed[offset] = value

    for one in (bytes(changed), bytes(changed)[:length]):
        found = decode(at.POSITION, one)
        assert isinstance(found, Position | Market | InsuranceState | Undecodable)


@given(
    st.lists(
        st.one_of(
            st.builds(
                lambda size, collateral, leverage: at.position_bytes(
                    replace(CASE, size=size, collateral=collateral, leverage=leverage)
                ),
                st.integers(-(2**63), 2**63 - 1),
                st.integers(0, 2**64 - 1),
                st.integers(0, 3),
            ),
            st.just(with_bytes(POSITION, 140, b"\1")),
            st.just(MARKET),
            st.binary(max_size=150),
        ),
        max_size=8,
    )
)
def test_reading_many_positions_at_once_finds_what_reading_one_by_one_finds(blobs):
    accounts = [at.seen_account(at.POSITION, at.PROGRAM, blob) for blob in blobs]
    accounts.append(at.seen_account(at.POSITION, at.RECEIVER, POSITION))

    rows, indices = AccountReader(str(at.PROGRAM)).positions(accounts)

    singly = [(n, VENUE.decode(one)) for n, one in enumerate(accounts)]
    expected = [(n, one) for n, one in singly if isinstance(one, Position)]
    assert indices == [n for n, _ in expected]
    assert [abs(int(size)) for size in rows["size"]] == [one.size for _, one in expected]
    assert rows["collateral"].tolist() == [one.collateral for _, one in expected]
    assert [bytes(owner) for owner in rows["owner"]] == [bytes(at.OWNER)] * len(expected)
