"""The Adrena venue: bytes, the estimate, the program's own view, the plan, and every refusal."""

import json
import random
from dataclasses import replace

import pytest

from liqctl.core.account import Gone, Refusal, Undecodable, VenueState
from liqctl.core.health import Kind
from liqctl.core.instruction import Failure, Outcome
from liqctl.core.position import Market, Position, Side
from liqctl.errors import LayoutError
from liqctl.keeper.program_version import check_version
from liqctl.keeper.supposing import Flip, flip
from liqctl.ports import Venue
from liqctl.venues.adrena_layout import ADRENA_IDL, CustodyRecord
from liqctl.venues.confirming import confirmed, facts_for
from liqctl.venues.idl import Idl
from liqctl.venues.registry import open_venue
from liqctl.venues.tokens import SYSTEM_PROGRAM, TOKEN_PROGRAM, associated_token_account
from tests.venues.adrena_cases import (
    CORTEX_AT,
    DOLLAR,
    LIQUIDATOR,
    LONG_AT,
    ORACLE_AT,
    OWNER,
    POOL_AT,
    PROFILE_AT,
    REFERRER,
    SHORT_AT,
    SOL_AT,
    SOL_MINT,
    SOL_VAULT,
    USDC_AT,
    VENUE,
    cortex,
    custody,
    oracle,
    pool,
    position,
    profile,
    view_of,
    world,
)
from tests.venues.forged import ADRENA, FIXTURES, NOW, address, foreign_accounts

IDLS = FIXTURES / "idl"


def held(accounts, where=LONG_AT):
    view = view_of(accounts)
    value = view[where].value
    assert isinstance(value, Position)
    return value, view


def judged(*changed, where=LONG_AT, now=NOW):
    value, view = held(world(*changed), where)
    return VENUE.assess(value, view, now)


def steps(*changed, where=LONG_AT):
    value, view = held(world(*changed), where)
    return dict(VENUE.steps(value, view, NOW))


def test_the_venue_implements_the_port_and_its_addresses_are_the_known_ones():
    assert isinstance(VENUE, Venue)
    opened = open_venue("adrena", None)
    assert (opened.id, opened.program_id) == ("adrena", ADRENA)
    assert VENUE.demanded() == (
        "Dhz8Ta79hgyUbaRcu7qHMnqMfY47kQHfHt2s42D9dC4e",
        "GEm9TZP7BL8rTz1JDy6X74PL595zr1putA9BXC8ehDmU",
    )
    assert facts_for(VENUE).idl_sha256 == ADRENA_IDL.sha256
    assert dict(facts_for(VENUE).account_bytes) == {
        "Position": 464, "Custody": 1_168, "Pool": 2_528, "Oracle": 3_224, "Cortex": 488, "UserProfile": 408
    }  # fmt: skip


def test_accounts_are_read_at_their_known_offsets():
    value, view = held(world(position(1, snapshot=2**64 + 5, s2l=7, l2s=2**70)))

    assert (value.owner, value.market, value.side) == (OWNER, SOL_AT, Side.LONG)
    assert (value.size, value.entry_price_e6, value.collateral) == (
        1_500_000_000,
        150_000_000,
        50_000_000,
    )
    assert (value.generation, value.leverage) == (NOW - 3_600, 30)
    assert value.record.cumulative_interest_snapshot == 2**64 + 5
    assert value.record.funding_snapshot == (2**70, 7)
    market = view[SOL_AT].value
    assert isinstance(market, Market)
    assert isinstance(market.record, CustodyRecord)
    assert (market.symbol, market.price_account) == ("SOL", ORACLE_AT)
    assert (market.record.leverage_max_bps, market.record.trade_feed) == (5_000_000, 30)
    assert view[POOL_AT].value.record.staleness_s == 7
    assert [one.feed for one in view[ORACLE_AT].value.record.slots] == [30, 31, 35]


@pytest.mark.parametrize(
    "account, reason, detail",
    [
        (replace(position(1), data=position(1).data[:-1]), Refusal.WRONG_LENGTH, "463 bytes, expected 464"),
        (replace(position(1), data=position(1).data + b"\0"), Refusal.WRONG_LENGTH, "465"),
        (replace(position(1), data=position(1).data[:9] + b"\3" + position(1).data[10:]), Refusal.ABSURD_VALUE, "side 3"),
        (replace(position(1), owner=SYSTEM_PROGRAM), Refusal.WRONG_OWNER, "owned by"),
        (replace(position(1), data=bytes(464)), Refusal.WRONG_DISCRIMINATOR, "00000000"),
        (replace(custody(), data=custody().data[:1_100]), Refusal.WRONG_LENGTH, "Custody of 1100"),
        (oracle(version=2), Refusal.ABSURD_VALUE, "version 2, expected 3"),
        (replace(oracle(), data=oracle().data[:10] + b"\xff" + oracle().data[11:]), Refusal.ABSURD_VALUE, "255 prices"),
        (replace(oracle(), data=oracle().data[:1_304]), Refusal.WRONG_LENGTH, "Oracle of 1304"),
    ],
)  # fmt: skip
def test_what_is_of_another_version_is_refused_by_name(account, reason, detail):
    value = VENUE.decode(account)

    assert isinstance(value, Undecodable)
    assert value.reason is reason
    assert detail in value.detail


def test_a_position_without_size_is_gone():
    assert VENUE.decode(position(1, size_usd=0)) == Gone()


def test_every_bit_flipped_gives_a_value_or_a_typed_refusal():
    chance = random.Random(4)
    for account in [*world().values(), profile(REFERRER)]:
        for _ in range(150):
            blob = bytearray(account.data)
            blob[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
            changed = replace(account, data=bytes(blob))
            value = VENUE.decode(changed)
            assert isinstance(value, Position | Market | VenueState | Undecodable | Gone)
            view = view_of(world(changed))
            for one in view.values():
                if isinstance(one.value, Position):
                    verdict = VENUE.assess(one.value, view, NOW)
                    assert (verdict.liquidatable is None) == (verdict.unknown_reason is not None)


def test_an_untouched_long_owes_the_higher_of_its_two_fees():
    verdict = judged()

    assert (verdict.liquidatable, verdict.exact, verdict.unknown_reason) == (False, False, None)
    assert (verdict.equity, verdict.maintenance_margin) == (48_000_000, 3_000_000)
    assert (verdict.price_e6, verdict.confidence_bps, verdict.price_age_s) == (150_000_000, 25, 1)
    assert steps()["leverage_bps"] == 312_500


@pytest.mark.parametrize("where, last, first", [
    (LONG_AT, 145_499_999, 145_500_000),
    (SHORT_AT, 154_500_001, 154_500_000),
])  # fmt: skip
def test_it_falls_one_unit_beyond_the_greatest_leverage(where, last, first):
    value, view = held(world(), where)

    assert flip(VENUE, value, view, NOW) == Flip(liquidatable_e6=last, healthy_e6=first)
    fallen = judged(oracle(last * 10_000), where=where)
    assert (fallen.liquidatable, fallen.kind, fallen.close_size) == (True, Kind.FULL, 1_500_000_000)
    assert (fallen.reward, fallen.fee) == (0, 2_000_000)
    assert judged(oracle(first * 10_000), where=where).liquidatable is False


def test_interest_is_that_of_the_collateral_custody():
    assert steps(custody(rate=1_000_000))["interest_e6"] == 1_500_000
    assert steps(custody(rate=1_000_000), where=SHORT_AT)["interest_e6"] == 0
    assert steps(custody(USDC_AT, rate=1_000_000), where=SHORT_AT)["interest_e6"] == 1_500_000
    # A snapshot above the sum owes nothing, what was carried over stays.
    owing = position(1, snapshot=2**100, unrealized_interest_usd=7, paid_interest_usd=9)
    assert steps(owing, custody(rate=1_000_000))["interest_e6"] == 7
    assert steps(owing)["charges_e6"] == 2_000_000 + 7 + 9


@pytest.mark.parametrize("rate, long, short", [
    (2_000_000, (3_000_000, 0), (0, 3_000_000)),
    (-2_000_000, (0, 3_000_000), (3_000_000, 0)),
    (0, (0, 0), (0, 0)),
])  # fmt: skip
def test_funding_is_settled_for_the_time_that_has_passed(rate, long, short):
    for where, (paid, received) in ((LONG_AT, long), (SHORT_AT, short)):
        found = steps(custody(funding_rate=rate), where=where)
        assert (found["funding_paid_e6"], found["funding_received_e6"]) == (paid, received)
        assert found["loss_e6"] == max(0, 2_000_000 + paid - received)
        assert found["profit_e6"] == max(0, received - paid - 2_000_000)


def test_a_profit_is_capped_by_the_locked_collateral_at_its_low_price():
    up = oracle(300 * DOLLAR)

    assert steps(up)["profit_e6"] == 1_498_000_000
    # One jitoSOL at 360.
    assert steps(up, position(1, locked_amount=10**9))["profit_e6"] == 360_000_000
    assert steps(up, position(1, open_time=NOW))["profit_e6"] == 0


def test_a_synthetic_custody_is_judged_like_any_other():
    assert judged(custody(synthetic=1, mint="1" * 32)) == judged()


@pytest.mark.parametrize(
    "changed, reason",
    [
        ((oracle(age_s=8),), "price_stale"),
        ((oracle(age_s=8), pool(staleness_s=8)), None),
        ((oracle(0),), "price_not_positive"),
        ((oracle(exponent=-9),), "price_bad_exponent"),
        ((custody(trade_feed=99),), "price_missing"),
        ((custody(feed=99),), "price_missing"),
        ((oracle(version=4),), "price_wrong_type"),
        ((custody(pool=address(77)),), "other_pool"),
        ((replace(custody(), owner=SYSTEM_PROGRAM),), "market_missing"),
        ((replace(custody(), data=b""),), "market_unreadable"),
        ((replace(pool(), data=b"x"),), "pool_unreadable"),
        ((replace(pool(), owner=SYSTEM_PROGRAM),), "pool_missing"),
        ((position(1, paid_interest_usd=2**64 - 1),), "overflow"),
    ],
)
def test_what_cannot_be_judged_is_unknown_with_its_reason(changed, reason):
    verdict = judged(*changed)

    assert verdict.unknown_reason == reason
    assert (verdict.liquidatable is None) == (reason is not None)


def test_a_mark_price_needs_the_oracle_alone_and_a_verdict_the_pool_as_well():
    value, view = held(world())
    market = view[SOL_AT].value
    assert isinstance(market, Market)
    del view[POOL_AT]

    assert VENUE.mark_price(market, view, NOW) == 150_000_000
    assert VENUE.mark_price(market, view, NOW + 7) == "price_stale"
    assert VENUE.assess(value, view, NOW).unknown_reason == "pool_missing"


def test_the_instruction_has_fifteen_accounts_in_the_order_of_the_program():
    value, view = held(world(profile(REFERRER)))

    plan = VENUE.plan(value, view, LIQUIDATOR)

    token = associated_token_account(OWNER, SOL_MINT)
    call = plan.instructions[plan.liquidate_index]
    assert [(one.address, one.signer, one.writable) for one in call.accounts] == [
        (LIQUIDATOR, True, True),
        (token, False, True),
        ("4o3qAErcapJ6gRLh1m1x4saoLLieWDu7Rx3wpwLc7Zk9", False, False),
        (CORTEX_AT, False, True),
        (POOL_AT, False, True),
        (LONG_AT, False, True),
        (SOL_AT, False, True),
        (ORACLE_AT, False, True),
        (SOL_AT, False, True),
        (SOL_VAULT, False, True),
        (PROFILE_AT, False, True),
        (REFERRER, False, True),
        (TOKEN_PROGRAM, False, False),
        (ADRENA, False, False),
        (SYSTEM_PROGRAM, False, False),
    ]
    assert call.data == bytes.fromhex("8476e689f1c1885d") + b"\0\0"
    assert (plan.compute_units, plan.returns_lamports) == (355_000, 4_120_320)
    assert (plan.creates, plan.keeps) == ((token,), ())


def test_a_short_has_an_instruction_of_its_own_and_absent_profiles_lock_nothing():
    value, view = held(world(), SHORT_AT)

    plan = VENUE.plan(value, view, LIQUIDATOR)

    call = plan.instructions[plan.liquidate_index]
    assert call.data == bytes.fromhex("c53efcc6195db183") + b"\0\0"
    assert [(one.address, one.writable) for one in call.accounts[10:12]] == [(ADRENA, False)] * 2
    assert plan.compute_units == 256_000
    own_profile = VENUE.plan(value, view_of(world(profile())), LIQUIDATOR)
    [user, referrer] = own_profile.instructions[1].accounts[10:12]
    assert (user.address, user.writable) == (PROFILE_AT, True)
    assert (referrer.address, referrer.writable) == (ADRENA, False)
    with pytest.raises(LayoutError, match="whole positions only"):
        VENUE.plan(value, view, LIQUIDATOR, max_size=1)
    with pytest.raises(LayoutError, match="not known yet"):
        VENUE.plan(value, {}, LIQUIDATOR)


def test_the_programs_own_view_is_asked_for_and_read():
    value, view = held(world())

    call = VENUE.confirmation(value, view)

    assert call is not None
    assert [one.address for one in call.accounts] == [
        CORTEX_AT,
        POOL_AT,
        LONG_AT,
        SOL_AT,
        ORACLE_AT,
        SOL_AT,
    ]
    assert call.data == bytes.fromhex("7f7ec7755a591d32") + b"\0\0"
    assert not any(one.writable or one.signer for one in call.accounts)
    assert VENUE.confirmation(value, {}) is None
    assert [confirmed(VENUE, one) for one in (b"\1", b"\0", b"")] == [True, False, False]
    with pytest.raises(LayoutError):
        confirmed(VENUE, b"\2")


@pytest.mark.parametrize(
    "code, outcome",
    [
        (6021, Outcome.HEALTHY), (6074, Outcome.GONE), (6004, Outcome.ORACLE), (6088, Outcome.ORACLE),
        (6030, Outcome.NO_FUNDS), (6034, Outcome.PAUSED), (6096, Outcome.PAUSED), (6097, Outcome.PAUSED),
        (6107, Outcome.PAUSED), (6108, Outcome.PAUSED), (6079, Outcome.SETUP), (6020, Outcome.BUG),
        (6000, Outcome.BUG), (3002, Outcome.LAYOUT), (2003, Outcome.BUG), (1, Outcome.NO_FUNDS), (9_999, Outcome.BUG),
    ],
)  # fmt: skip
def test_error_codes_mean_what_the_idl_names(code, outcome):
    assert VENUE.classify(Failure(instruction=3, code=code, name="Custom")) is outcome


@pytest.mark.parametrize("account, outcome", [
    ("position", Outcome.GONE), ("receiving_account", Outcome.SETUP), ("cortex", Outcome.LAYOUT),
])  # fmt: skip
def test_a_missing_account_means_what_it_is(account, outcome):
    log = (
        f"Program log: AnchorError caused by account: {account}. Error Code: AccountNotInitialized."
    )
    assert VENUE.classify(Failure(instruction=3, code=3012, name="Custom", logs=(log,))) is outcome


class Node:
    """A node that has accounts and nothing else."""

    def __init__(self, accounts):
        self.accounts = accounts

    async def call(self, method, params):
        assert method == "getMultipleAccounts"
        from tests.keeper.test_perpetuals_scan import form

        found = [self.accounts.get(one) for one in params[0]]
        return {
            "context": {"slot": 9},
            "value": [None if one is None else form(one) for one in found],
        }


@pytest.mark.parametrize("changed, words", [
    (oracle(version=2), "Oracle of version 2, expected 3"),
    (cortex(size=480), "Cortex of 480 bytes, expected 488"),
    (replace(cortex(), owner=SYSTEM_PROGRAM), "there is none"),
])  # fmt: skip
async def test_another_version_is_refused_at_the_start(changed, words):
    from liqctl.chain.client import Chain

    await check_version(Chain(Node(world())), VENUE)

    with pytest.raises(LayoutError, match=words):
        await check_version(Chain(Node(world(changed))), VENUE)


@pytest.mark.skipif(not IDLS.is_dir(), reason="the fixtures are not at hand")
def test_the_layouts_are_those_of_the_published_idl_and_the_older_one_differs():
    published = Idl(json.loads((IDLS / "adrena_2026-05.json").read_text()))
    older = Idl(json.loads((IDLS / "adrena.json").read_text()))

    for name in ADRENA_IDL.account_names:
        ours, theirs = ADRENA_IDL.account_layout(name), published.account_layout(name)
        assert (ours.names, ours.code) == (theirs.names, theirs.code)
    for name in ADRENA_IDL.instruction_names:
        pairs = zip(ADRENA_IDL.roles(name), published.roles(name), strict=True)
        assert all(
            (a.name, a.signer, a.writable) == (b.name, b.signer, b.writable) for a, b in pairs
        )
    assert ADRENA_IDL.errors == published.errors
    size = older.account_size("Oracle")
    assert size is not None
    refused = VENUE.decode(replace(oracle(), data=oracle().data[:size]))
    assert isinstance(refused, Undecodable)
    assert refused.detail == f"Oracle of {size} bytes, expected 3224"


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the fixtures are not at hand")
def test_real_accounts_of_other_programs_are_refused_whatever_bit_is_flipped():
    found = [VENUE.decode(one) for one in foreign_accounts(ADRENA)]

    assert len(found) > 100
    assert all(isinstance(one, Undecodable) for one in found)
