"""The Jupiter venue: bytes, the estimate that is never a verdict, and that nothing is ever sent."""

import json
import random
import struct
from dataclasses import replace

import pytest

from liqctl.core.account import Account, Gone, Refusal, Undecodable
from liqctl.core.health import ESTIMATE_ONLY
from liqctl.core.instruction import Failure, Outcome
from liqctl.core.position import Market, Position, Side
from liqctl.core.price import PriceReading, PriceSource
from liqctl.errors import LayoutError
from liqctl.keeper.decode import decode
from liqctl.keeper.supposing import Flip, falls, flip
from liqctl.ports import Venue
from liqctl.venues.confirming import facts_for
from liqctl.venues.idl import Idl
from liqctl.venues.jupiter import JUPITER_IDL, JupiterVenue
from liqctl.venues.jupiter_estimate import CustodyRecord
from liqctl.venues.registry import open_venue
from liqctl.venues.tokens import SYSTEM_PROGRAM
from tests.venues.forged import (
    CUSTODY,
    FIXTURES,
    JUPITER,
    NOW,
    POSITION,
    address,
    foreign_accounts,
    forged,
)

VENUE = JupiterVenue(JUPITER)
SOL = "So11111111111111111111111111111111111111112"
USDC = "EPjFWdd5AufqSSqeM2qN1xzybapC8G4wEGGkZwyTDt1v"
DOVES = "DoVEsk76QybCEHQGzkvYPWLQu9gzNoZZZt3TPiL597e"
OWNER, POOL, SOL_AT, USDC_AT, PRICE_AT = (address(n) for n in range(1, 6))
LONG_AT, SHORT_AT = address(6), address(7)


def position(side=1, **more):
    """A position over 1,000 USD at 100, with 100 USD of collateral."""
    values = {
        "size": 1_000_000_000,
        "price": 100_000_000,
        "collateral": 100_000_000,
        "snapshot": 0,
        **more,
    }
    fields = [
        (8, "key", OWNER), (40, "key", POOL), (72, "key", SOL_AT),
        (104, "key", SOL_AT if side == 1 else USDC_AT), (136, "q", NOW - 60), (152, "B", side),
        (153, "Q", values["price"]), (161, "Q", values["size"]), (169, "Q", values["collateral"]),
        (177, "q", -5), (185, "u128", values["snapshot"]), (201, "Q", 10**10),
    ]  # fmt: skip
    return forged(JUPITER, LONG_AT if side == 1 else SHORT_AT, POSITION, 216, fields)


def custody(where=SOL_AT, **more):
    values = {
        "pool": POOL, "age": 60, "scalar": 1_250_000_000_000_000, "leverage": 5_000_000, "allow": 1,
        "owned": 1_000, "locked": 0, "cumulative": 0, "update": NOW - 3_600, "dbps": 0, "fee": 6,
        "curve": (0, 10_000, 5_000, 800_000_000), "debt": 0, **more,
    }  # fmt: skip
    sol = where == SOL_AT
    fields = [
        (8, "key", values["pool"]), (40, "key", SOL if sol else USDC), (104, "B", 9 if sol else 6),
        (105, "B", 0 if sol else 1), (147, "I", values["age"]), (151, "Q", values["scalar"]),
        (175, "Q", values["leverage"]), (205, "B", values["allow"]), (222, "Q", values["owned"]),
        (230, "Q", values["locked"]), (262, "u128", values["cumulative"]), (278, "q", values["update"]),
        (286, "Q", values["dbps"]), (304, "Q", values["fee"]),
        *((352 + 8 * n, "Q", one) for n, one in enumerate(values["curve"])),
        (384, "key", PRICE_AT), (1_004, "u128", values["debt"]),
    ]  # fmt: skip
    return forged(JUPITER, where, CUSTODY, 1_100, fields)


def price(value=100_000_000_000, *, age_s=1, exponent=-9, owner=DOVES, single=False):
    head = bytes.fromhex("bd67fc179823f39c" if single else "70f98bd9d7d0f936")
    at = 73 if single else 168
    fields = [(at, "Q", value), (at + 8, "b", exponent), (at + 9, "q", NOW - age_s)]
    return forged(owner, PRICE_AT, head, 200, fields)


def world(*changed):
    usual = [position(1), position(2), custody(), custody(USDC_AT), price()]
    return {one.address: one for one in (*usual, *changed)}


def seen(*changed, where=LONG_AT):
    view = view_of(world(*changed))
    value = view[where].value
    assert isinstance(value, Position)
    return value, view


def view_of(accounts):
    return {at: decode(VENUE, at, one, 9) for at, one in accounts.items()}


def judged(*changed, where=LONG_AT):
    value, view = seen(*changed, where=where)
    return VENUE.assess(value, view, NOW)


def steps(*changed, where=LONG_AT):
    value, view = seen(*changed, where=where)
    return dict(VENUE.steps(value, view, NOW))


def test_the_venue_implements_the_port_and_only_watches():
    assert isinstance(VENUE, Venue)
    opened = open_venue("jupiter", None)
    assert (opened.id, opened.program_id) == ("jupiter", JUPITER)
    facts = facts_for(VENUE)
    assert (facts.can_liquidate, facts.verdict, facts.verified_on) == (False, "estimate", None)
    assert facts.why_not is not None
    assert facts.why_not.startswith("keeper-only")
    assert facts.idl_sha256 == JUPITER_IDL.sha256
    assert dict(facts.account_bytes) == {"Position": 210, "Custody": 1_060}


def test_accounts_are_read_at_their_known_offsets():
    value, view = seen(position(2, snapshot=2**70), where=SHORT_AT)

    assert (value.owner, value.market, value.side) == (OWNER, SOL_AT, Side.SHORT)
    assert (value.size, value.entry_price_e6, value.collateral) == (
        1_000_000_000,
        100_000_000,
        100_000_000,
    )
    assert (value.leverage, value.generation) == (10, NOW - 60)
    assert (value.record.collateral_custody, value.record.cumulative_interest_snapshot) == (
        USDC_AT,
        2**70,
    )
    market = view[SOL_AT].value
    assert isinstance(market, Market)
    assert isinstance(market.record, CustodyRecord)
    assert (market.symbol, market.price_account, market.paused) == ("SOL", PRICE_AT, False)
    assert (market.max_price_age_s, market.record.leverage_max_bps) == (60, 5_000_000)
    reading = view[PRICE_AT].value
    assert isinstance(reading, PriceReading)
    assert (reading.mantissa, reading.exponent, reading.publish_time) == (
        100_000_000_000,
        -9,
        NOW - 1,
    )
    assert reading.source is PriceSource.DOVES
    assert VENUE.dependencies(value, view) == (SOL_AT, USDC_AT, PRICE_AT)


@pytest.mark.parametrize(
    "account, reason",
    [
        (replace(position(), data=position().data[:209]), Refusal.WRONG_LENGTH),
        (replace(position(), data=position().data + b"\1"), Refusal.ABSURD_VALUE),
        (replace(position(), data=position().data.ljust(9_999, b"\0")), Refusal.WRONG_LENGTH),
        (replace(position(), data=position().data[:152] + b"\0" + position().data[153:]), Refusal.ABSURD_VALUE),
        (replace(position(), data=position().data[:152] + b"\3" + position().data[153:]), Refusal.ABSURD_VALUE),
        (replace(position(), owner=SYSTEM_PROGRAM), Refusal.WRONG_OWNER),
        (replace(position(), data=bytes(216)), Refusal.WRONG_DISCRIMINATOR),
        (replace(custody(), data=custody().data[:1_059]), Refusal.WRONG_LENGTH),
        (replace(custody(), data=custody().data[:105] + b"\2" + custody().data[106:]), Refusal.ABSURD_VALUE),
    ],
)  # fmt: skip
def test_what_is_not_as_it_should_be_says_why(account, reason):
    value = VENUE.decode(account)

    assert isinstance(value, Undecodable)
    assert value.reason is reason


def test_closed_positions_stay_on_the_chain_and_count_as_gone():
    assert VENUE.decode(position(size=0)) == Gone()


def test_every_bit_flipped_gives_a_value_or_a_typed_refusal():
    chance = random.Random(5)
    for account in world().values():
        for _ in range(200):
            blob = bytearray(account.data)
            blob[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
            changed = replace(account, data=bytes(blob))
            view = view_of(world(changed))
            for one in view.values():
                if isinstance(one.value, Position):
                    assert VENUE.assess(one.value, view, NOW).liquidatable is None


def test_the_estimate_stands_beside_a_verdict_that_is_never_given():
    verdict = judged()

    assert (verdict.liquidatable, verdict.unknown_reason, verdict.exact) == (
        None,
        ESTIMATE_ONLY,
        False,
    )
    # 1,000 USD pay 6 bps and one bp of impact, rounded up, to close.
    assert (verdict.equity, verdict.maintenance_margin) == (99_300_000, 2_000_000)
    assert (verdict.price_e6, verdict.price_age_s, verdict.blockers) == (
        100_000_000,
        1,
        ("keeper_only",),
    )
    assert falls(verdict) is False
    assert verdict.health == pytest.approx(49.65)


@pytest.mark.parametrize("where, fallen, healthy", [
    # Of 100 USD 0.7 go for closing and 2 are the margin: 97.3 may be lost, or 9.73 %.
    (LONG_AT, 90_269_999, 90_270_000),
    (SHORT_AT, 109_730_001, 109_730_000),
])  # fmt: skip
def test_the_estimate_flips_where_equity_meets_the_margin(where, fallen, healthy):
    value, view = seen(where=where)

    assert flip(VENUE, value, view, NOW) == Flip(liquidatable_e6=fallen, healthy_e6=healthy)
    shown = steps(where=where)["estimated_liquidation_price_e6"]
    assert shown == healthy
    there = judged(price(fallen * 1_000), where=where)
    assert (there.liquidatable, falls(there), there.kind) == (None, True, None)


@pytest.mark.parametrize(
    "changed, rate, fee",
    [
        ({"locked": 500}, 0, 0),
        # A tenth of a percent an hour, half of it used: an hour costs 0.05 % of 1,000 USD.
        ({"locked": 500, "dbps": 100}, 500_000, 500_000),
        ({"locked": 500, "dbps": 100, "update": NOW + 9}, 500_000, 0),
        # The curve: half of 80 % used gives a yearly rate of 31.25 %.
        ({"locked": 500, "curve": (0, 10_000, 5_000, 800_000_000)}, 35_673, 35_673),
        ({"locked": 900, "curve": (0, 10_000, 5_000, 800_000_000)}, 85_616, 85_616),
        ({"owned": 0, "locked": 0, "dbps": 100}, 0, 0),
        ({"cumulative": 10**9}, 0, 1_000_000_000),
    ],
)
def test_borrowing_costs_by_the_linear_or_the_jump_curve(changed, rate, fee):
    if changed == {"locked": 500}:
        changed = {**changed, "curve": (0, 0, 0, 800_000_000)}

    found = steps(custody(**changed))

    assert (found["hourly_borrow_rate_e9"], found["borrow_fee_e6"]) == (rate, fee)


@pytest.mark.parametrize(
    "changed, reason",
    [
        ((price(age_s=61),), "price_stale"),
        ((price(0),), "price_not_positive"),
        ((price(exponent=1),), "price_bad_exponent"),
        ((price(owner=JUPITER),), "price_wrong_type"),
        ((price(owner=address(99)),), "price_wrong_owner"),
        ((price(single=True),), ESTIMATE_ONLY),
        ((replace(price(), data=price().data[:170]),), "price_wrong_type"),
        ((replace(price(), lamports=0),), "price_missing"),
        ((replace(custody(), lamports=0),), "market_missing"),
        ((replace(custody(), data=b"x"),), "market_unreadable"),
        ((custody(pool=address(99)),), "other_pool"),
        ((custody(scalar=0),), "overflow"),
        ((custody(leverage=0),), "overflow"),
        ((position(price=0),), "overflow"),
    ],
)
def test_what_cannot_be_estimated_is_unknown_with_its_reason(changed, reason):
    verdict = judged(*changed)

    assert (verdict.liquidatable, verdict.unknown_reason) == (None, reason)
    assert (falls(verdict) is None) == (reason != ESTIMATE_ONLY)


def test_a_custody_of_the_collateral_that_is_missing_is_named():
    assert (
        judged(replace(custody(USDC_AT), lamports=0), where=SHORT_AT).unknown_reason
        == "collateral_missing"
    )
    assert (
        judged(replace(custody(USDC_AT), data=b"x"), where=SHORT_AT).unknown_reason
        == "collateral_unreadable"
    )


def test_nothing_can_be_planned_asked_or_read_from_logs():
    value, view = seen()

    with pytest.raises(LayoutError, match="jupiter can only be watched: keeper-only"):
        VENUE.plan(value, view, address(9))
    assert VENUE.confirmation(value, view) is None
    assert VENUE.effects(["Program data: AAAA"]) is None
    assert VENUE.insurance_address() is None
    assert VENUE.bound_price_e6(value, view) is None
    assert VENUE.classify(Failure(instruction=2, code=6034, name="Custom")) is Outcome.BUG
    assert (
        VENUE.classify(Failure(instruction=None, code=None, name="AccountInUse")) is Outcome.RETRY
    )


def test_a_price_account_of_either_form_is_cut_off_cleanly():
    for single, size in ((True, 90), (False, 185)):
        whole = price(single=single)
        for length in range(0, 200, 3):
            blob = whole.data[:length]
            account = Account(address=PRICE_AT, owner=DOVES, lamports=1, data=blob, slot=1)
            value = decode(VENUE, PRICE_AT, account, 1).value
            assert isinstance(value, PriceReading) == (length >= size)
    assert struct.calcsize("<Qbq") == 17


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the fixtures are not at hand")
def test_the_layouts_are_those_of_the_published_idl():
    published = Idl(json.loads((FIXTURES / "idl/jupiter_perpetuals.json").read_text()))

    for name in ("Position", "Custody"):
        assert JUPITER_IDL.account_layout(name).code == published.account_layout(name).code
        assert JUPITER_IDL.account_discriminator(name) == published.account_discriminator(name)


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the fixtures are not at hand")
def test_real_accounts_of_other_programs_are_refused_whatever_bit_is_flipped():
    found = [VENUE.decode(one) for one in foreign_accounts(JUPITER)]

    assert len(found) > 100
    assert all(isinstance(one, Undecodable) for one in found)
