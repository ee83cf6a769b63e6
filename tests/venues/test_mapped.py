"""A mapped program: the reference program's verdicts and payments, and other scales and accounts."""

import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from liqctl.core.account import Gone, Refusal, Seen, Undecodable, VenueState
from liqctl.core.fixed import U64_MAX, Overflow
from liqctl.core.instruction import Failure, Outcome
from liqctl.core.position import Market, Position, Side
from liqctl.core.price import PriceReading
from liqctl.core.sizing import Holding
from liqctl.errors import LayoutError
from liqctl.oracle.price_update import decode_price
from liqctl.ports import Venue
from liqctl.venues.idl import Idl
from liqctl.venues.mapped import MappedVenue
from liqctl.venues.mapped_verdict import FundState, bound_e6, falls, margin, scaled
from liqctl.venues.mapping import read_mapping
from liqctl.venues.mapping_rules import Maintenance, Scales
from liqctl.venues.reference import ReferenceVenue
from liqctl.venues.reference_layout import REFERENCE_IDL
from liqctl.venues.tokens import associated_token_account
from tests.oracle.fixture_files import fixture_path
from tests.venues import planted as at
from tests.venues.program_cases import NOW, random_case
from tests.venues.program_vm import ProgramVm
from tests.venues.test_mapping import TEXT
from tests.venues.test_reference_verdict import CASE

CASES = 2_000
BUILT_IN = ReferenceVenue(str(at.PROGRAM))
MAPPED = MappedVenue(read_mapping("reference_mapping.toml", TEXT, REFERENCE_IDL), str(at.PROGRAM))


def seen_by(venue, case):
    """Position and view as a venue reads the planted bytes."""
    raw = {
        at.POSITION: at.position_bytes(case),
        at.MARKET: at.market_bytes(case),
        at.FUND: at.fund_bytes(case),
    }
    owner = at.RECEIVER if case.price_owner_is_right else at.PROGRAM
    values = {
        str(key): venue.decode(at.seen_account(key, at.PROGRAM, blob)) for key, blob in raw.items()
    }
    values[str(at.PRICE)] = decode_price(at.seen_account(at.PRICE, owner, case.price_account()))
    view = {key: Seen(address=key, slot=at.SLOT, value=one) for key, one in values.items()}
    position = values[str(at.POSITION)]
    assert isinstance(position, Position), position
    return position, view


@pytest.mark.timeout(60)
def test_the_mapped_reference_program_has_the_verdicts_of_its_own_venue():
    rng, endings = random.Random(4), set()

    for _ in range(CASES):
        case = random_case(rng)
        mine, built_in = ((*seen_by(venue, case), venue) for venue in (MAPPED, BUILT_IN))
        answers = [
            (
                venue.assess(position, view, case.now),
                venue.bound_price_e6(position, view),
                venue.symbol(position, view),
                sorted(venue.dependencies(position, view)),
                venue.confirmation(position, view),
                venue.plan(position, view, str(at.LIQUIDATOR), max_size=7).instructions[-1],
            )
            for position, view, venue in (mine, built_in)
        ]
        assert answers[0] == answers[1], case
        endings.add(answers[0][0].unknown_reason or answers[0][0].liquidatable)

    assert {True, False, "overflow", "leverage_too_high", "price_stale"} <= endings


def test_a_liquidation_through_the_mapping_is_carried_out_and_pays_what_it_says():
    chain = ProgramVm()
    chain.plant(CASE)
    chain.plant_vault(CASE.collateral)
    position, view = seen_by(MAPPED, CASE)
    verdict = MAPPED.assess(position, view, NOW)

    plan = MAPPED.plan(position, view, str(at.LIQUIDATOR))
    answer = chain.send(*plan.instructions)

    effects = MAPPED.effects(answer.logs)
    assert answer.error is None
    assert effects == BUILT_IN.effects(answer.logs)
    assert effects is not None
    assert effects["closed_size"] == verdict.close_size
    token = associated_token_account(str(at.LIQUIDATOR), str(at.MINT))
    assert chain.amount(Pubkey.from_string(token)) == verdict.reward == effects["reward"]
    assert plan.keeps == (token,)
    assert len(plan.creates) == plan.liquidate_index == 2


def test_a_healthy_position_is_refused_by_the_program_and_understood():
    chain = ProgramVm()
    case = replace(CASE, collateral=50_000_000)
    chain.plant(case)
    chain.plant_vault(case.collateral)
    position, view = seen_by(MAPPED, case)

    answer = chain.send(*MAPPED.plan(position, view, str(at.LIQUIDATOR)).instructions)

    failure = Failure(instruction=2, code=answer.code, name="Custom", logs=tuple(answer.logs))
    assert MAPPED.classify(failure) is Outcome.HEALTHY
    assert MAPPED.effects(answer.logs) is None


def test_it_is_a_venue():
    assert isinstance(MAPPED, Venue)
    assert MAPPED.id == "reference-mapped"
    assert MAPPED.insurance_address() == BUILT_IN.insurance_address()
    assert MAPPED.discriminators() == {
        {"insurance_fund": "fund"}.get(kind, kind): head
        for kind, head in BUILT_IN.discriminators().items()
    }


@pytest.mark.parametrize(
    "code, blamed, outcome",
    [
        (3012, "position", Outcome.GONE),
        (3007, "position", Outcome.GONE),
        (3012, "owner_token", Outcome.SETUP),
        (3012, "market", Outcome.LAYOUT),
        (3007, None, Outcome.ORACLE),
        (3002, "position", Outcome.LAYOUT),
        (2003, "price_account", Outcome.BUG),
        (1, None, Outcome.NO_FUNDS),
        (7_777, None, Outcome.BUG),
        (6011, None, Outcome.ORACLE),
        (6017, None, Outcome.NO_FUNDS),
    ],
)
def test_codes_of_the_framework_depend_on_the_account_that_the_log_names(code, blamed, outcome):
    line = f"Program log: AnchorError caused by account: {blamed}. Error Code: X."
    failure = Failure(instruction=2, code=code, name="Custom", logs=(line,) if blamed else ())

    assert MAPPED.classify(failure) is outcome


def test_failures_of_the_runtime_have_no_code():
    for name, outcome in (("BlockhashNotFound", Outcome.RETRY), ("Strange", Outcome.BUG)):
        assert MAPPED.classify(Failure(instruction=None, code=None, name=name)) is outcome


def spoiled(key, blob, owner=at.PROGRAM):
    return MAPPED.decode(at.seen_account(key, owner, blob))


def test_what_is_no_account_of_the_mapping_is_refused_with_a_reason():
    good = at.position_bytes(CASE)

    refused = {
        "owner": spoiled(at.POSITION, good, at.TOKEN),
        "head": spoiled(at.POSITION, bytes(8) + good[8:]),
        "short": spoiled(at.POSITION, good[:-1]),
        "long": spoiled(at.POSITION, good + b"\0"),
        "padding": spoiled(at.POSITION, good[:-1] + b"\1"),
    }

    assert {name: value.reason for name, value in refused.items()} == {
        "owner": Refusal.WRONG_OWNER,
        "head": Refusal.WRONG_DISCRIMINATOR,
        "short": Refusal.WRONG_LENGTH,
        "long": Refusal.WRONG_LENGTH,
        "padding": Refusal.ABSURD_VALUE,
    }
    assert spoiled(at.POSITION, b"", Pubkey.default()) == Gone()
    assert isinstance(spoiled(at.FUND, at.fund_bytes(CASE)), FundState)


def test_a_position_of_size_zero_is_closed():
    assert spoiled(at.POSITION, at.position_bytes(replace(CASE, size=0))) == Gone()


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=220), kind=st.sampled_from(["position", "market", "fund", "none"]))
def test_any_bytes_are_decoded_or_refused(data, kind):
    head = MAPPED.discriminators().get(kind, b"")

    found = spoiled(at.POSITION, head + data)

    assert isinstance(found, Position | Market | FundState | Undecodable)


def test_accounts_of_other_programs_are_no_accounts_of_this_one():
    files = sorted(fixture_path("mango").glob("*.bin")) + sorted(fixture_path("pyth").glob("*.bin"))

    found = {path.name: spoiled(at.POSITION, path.read_bytes()) for path in files}

    assert len(found) > 8
    for name, value in found.items():
        assert isinstance(value, Undecodable), name
        assert value.reason is Refusal.WRONG_DISCRIMINATOR


def test_missing_accounts_leave_the_verdict_unknown_or_block_the_sending():
    position, view = seen_by(MAPPED, CASE)
    market, fund, price = str(at.MARKET), str(at.FUND), str(at.PRICE)

    def without(*addresses):
        return {key: one for key, one in view.items() if key not in addresses}

    assert MAPPED.assess(position, without(market), NOW).unknown_reason == "market_missing"
    assert MAPPED.assess(position, without(price), NOW).unknown_reason == "price_missing"
    assert MAPPED.assess(position, without(fund), NOW).blockers == ("fund_missing",)
    with pytest.raises(LayoutError, match="fund is not known yet"):
        MAPPED.plan(position, without(fund), str(at.LIQUIDATOR))
    assert MAPPED.confirmation(position, without(market)) is None


def test_a_flag_can_say_that_a_position_is_closed():
    text = TEXT.replace('owner = "owner"', 'owner = "owner"\nopen = "collateral"', 1)
    venue = MappedVenue(read_mapping("m", text, REFERENCE_IDL), str(at.PROGRAM))
    closed = at.position_bytes(replace(CASE, collateral=0))

    assert isinstance(seen_by(venue, CASE)[0], Position)
    assert venue.decode(at.seen_account(at.POSITION, at.PROGRAM, closed)) == Gone()


def test_a_price_of_another_kind_of_account_is_not_used():
    text = TEXT.replace('kind = "pyth"', 'kind = "pyth_legacy"', 1)
    text = text.replace('feed_id = "market.feed_id"\n', "", 1)
    venue = MappedVenue(read_mapping("m", text, REFERENCE_IDL), str(at.PROGRAM))
    position, view = seen_by(venue, CASE)

    assert venue.assess(position, view, NOW).unknown_reason == "price_wrong_type"


def test_an_optional_account_that_is_left_out_is_the_program_itself():
    text = TEXT.replace(
        'price_account = "price"\ninsurance', 'price_account = "program"\ninsurance', 1
    )
    venue = MappedVenue(read_mapping("m", text, REFERENCE_IDL), str(at.PROGRAM))
    position, view = seen_by(venue, CASE)

    call = venue.plan(position, view, str(at.LIQUIDATOR)).instructions[-1]

    assert call.accounts[5].address == str(at.PROGRAM)


def test_a_program_without_a_rule_is_watched_and_never_liquidated():
    bare = TEXT[: TEXT.index("[maintenance]")] + TEXT[TEXT.index("[accounts.fund]") :]
    venue = MappedVenue(read_mapping("m", bare, REFERENCE_IDL), str(at.PROGRAM))
    position, view = seen_by(venue, CASE)

    found = venue.assess(position, view, NOW)

    assert (found.liquidatable, found.unknown_reason) == (None, "estimate_only")
    assert found.price_e6 == 100_000_000
    with pytest.raises(LayoutError, match="can only be watched"):
        venue.plan(position, view, str(at.LIQUIDATOR))


def test_closing_everything_pays_the_fee_that_equity_allows():
    rules = '[closing]\nmodel = "full"\nliquidation_fee_bps = 100\nliquidator_share_bps = 5_000\n'
    text = TEXT[: TEXT.index("[closing]")] + rules + TEXT[TEXT.index("[accounts.fund]") :]
    venue = MappedVenue(read_mapping("m", text, REFERENCE_IDL), str(at.PROGRAM))
    position, view = seen_by(venue, CASE)
    broke = seen_by(venue, replace(CASE, collateral=0, mantissa=9_900_000_000))

    paid = venue.assess(position, view, NOW)
    owed = venue.assess(broke[0], broke[1], NOW)

    # Notional 1000, fee 1 % = 10 of an equity of 40, half of it for the liquidator.
    assert (paid.kind, paid.close_size) == ("full", position.size)
    assert (paid.fee, paid.reward, paid.owner_payout) == (10_000_000, 5_000_000, 30_000_000)
    assert (owed.equity, owed.fee, owed.reward) == (-10_000_000, 0, 0)
    assert (owed.bad_debt_covered, owed.bad_debt_uncovered) == (0, 10_000_000)


def test_without_an_event_the_log_of_anchor_tells_that_the_instruction_ran():
    text = TEXT[: TEXT.index("[event]")]
    venue = MappedVenue(read_mapping("m", text, REFERENCE_IDL), str(at.PROGRAM))
    ran = [f"Program {at.PROGRAM} invoke [1]", "Program log: Instruction: Liquidate"]

    assert venue.effects(ran) == {}
    assert venue.effects([*ran, f"Program {at.PROGRAM} failed: x"]) is None
    assert venue.effects(ran[:1]) is None


scales = st.builds(
    Scales,
    size=st.integers(0, 12),
    price=st.integers(4, 10),
    quote=st.integers(4, 9),
    in_base=st.booleans(),
)
rules = st.builds(
    Maintenance,
    ratio=st.just(0),
    decimals=st.just(4),
    rounds_down=st.booleans(),
    at_margin=st.booleans(),
)


@settings(max_examples=400, deadline=None)
@given(
    scale=scales,
    rule=rules,
    side=st.sampled_from(Side),
    size=st.integers(1, 10**13),
    entry=st.integers(1, 10**9),
    share=st.integers(0, 300),
    ratio=st.integers(0, 9_000),
    noise=st.randoms(use_true_random=False),
)
def test_no_position_falls_beyond_its_bound_in_any_scale(
    *, scale, rule, side, size, entry, share, ratio, noise
):
    held = Holding(side=side, size_e9=size, entry_price_e6=entry, collateral=0)
    try:
        notional = margin(scale, held, rule, ratio, entry).notional
    except Overflow:
        return
    held = replace(held, collateral=notional * share // 100)
    bound = bound_e6(scale, held, rule, ratio)
    if bound is None:
        return

    center = scaled(bound, 6, scale.price)
    near = {max(center + noise.randint(-40, 40), 1) for _ in range(30)}
    far = {noise.randint(1, 4 * entry + 1) for _ in range(30)}
    for price in near | far:
        try:
            fallen = falls(margin(scale, held, rule, ratio, price), rule)
        except Overflow:
            continue
        shown = scaled(price, scale.price, 6)
        if fallen:
            assert shown <= bound if side is Side.LONG else shown >= bound


def test_arithmetic_in_other_scales_by_hand():
    usual = Maintenance(ratio=500, decimals=4, rounds_down=False, at_margin=False)
    base = Scales(size=3, price=8, quote=9, in_base=True)
    # 1.5 base from 100 at 98: notional 147, loss 3, margin 7.35.
    held = Holding(side=Side.LONG, size_e9=1_500, entry_price_e6=10**10, collateral=10**10)
    found = margin(base, held, usual, 500, 98 * 10**8)
    assert (found.notional, found.pnl) == (147 * 10**9, -3 * 10**9)
    assert (found.equity, found.maintenance_margin) == (7 * 10**9, 7_350_000_000)
    assert falls(found, usual)

    quote = Scales(size=6, price=6, quote=6, in_base=False)
    # 150 quote, short from 100 at 98: profit 3, the notional stays.
    short = Holding(side=Side.SHORT, size_e9=150_000_000, entry_price_e6=10**8, collateral=10**7)
    found = margin(quote, short, usual, 500, 98 * 10**6)
    assert (found.notional, found.pnl, found.equity) == (150_000_000, 3_000_000, 13_000_000)
    assert found.maintenance_margin == 7_500_000

    edge = replace(usual, at_margin=True)
    exact = replace(found, equity=found.maintenance_margin)
    assert falls(exact, edge)
    assert not falls(exact, usual)


OWN_PRICES = """
version = 1
name = "own-prices"
[position]
account = "Position"
owner = "owner"
market = "custody"
size = { field = "size_usd", unit = "quote", decimals = 6 }
entry_price = { field = "price", decimals = 6 }
collateral = { field = "collateral_usd", decimals = 6 }
side = { field = "side", long = 1, short = 2 }
extra_bytes = 6
[market]
account = "Custody"
price_account = "market.oracle.oracle_account"
[price]
kind = "account"
account = "CustomOracle"
price = "price"
exponent = "expo"
confidence = "conf"
publish_time = "publish_time"
age_s_max = "market.oracle.max_price_age_sec"
confidence_bps_max = "market.oracle.max_price_error"
[maintenance]
kind = "fixed"
ratio = 100
[accounts.pool]
account = "Pool"
address = "position.pool"
"""


def test_another_program_with_prices_of_its_own_is_read_by_its_idl():
    program = Pubkey(bytes([7]) * 32)
    venue = MappedVenue(read_mapping("own.toml", OWN_PRICES, full_perpetuals()), str(program))
    checked = 0
    for vector in golden():
        if vector["oracle"] != "custom" or vector["kind"] != "ok":
            continue
        position = venue.decode(
            at.seen_account(at.POSITION, program, bytes.fromhex(vector["position_data"]) + bytes(6))
        )
        custody = venue.decode(
            at.seen_account(at.MARKET, program, bytes.fromhex(vector["custody_data"]))
        )
        price = venue.decode(
            at.seen_account(at.PRICE, program, bytes.fromhex(vector["custody_oracle"]))
        )
        assert isinstance(position, Position)
        assert isinstance(custody, Market)
        assert isinstance(price, PriceReading)
        assert position.size == vector["fields"]["size"]
        assert position.side == vector["side"]
        view = {
            position.market: Seen(address=position.market, slot=1, value=custody),
            custody.price_account: Seen(address=custody.price_account, slot=1, value=price),
        }
        found = venue.assess(position, view, vector["now"])
        assert (found.liquidatable, found.unknown_reason) == (None, "estimate_only")
        assert found.notional == position.size
        assert found.health != 0
        checked += 1
    assert checked > 40


def test_an_account_of_varying_size_can_be_a_named_one():
    program = Pubkey(bytes([7]) * 32)
    venue = MappedVenue(read_mapping("own.toml", OWN_PRICES, full_perpetuals()), str(program))
    head = venue.discriminators()["pool"]
    tail = bytes(4) + bytes(4) + bytes(16) + b"\1\2" + bytes(8)

    found = venue.decode(at.seen_account(at.FUND, program, head + b"\4\0\0\0pool" + tail))
    broken = venue.decode(at.seen_account(at.FUND, program, head + b"\xff\0\0\0pool" + tail))

    assert isinstance(found, VenueState)
    assert isinstance(found.record, dict)
    assert found.record["name"] == "pool"
    assert isinstance(broken, Undecodable)
    assert broken.reason is Refusal.WRONG_LENGTH


def golden():
    return json.loads(fixture_path("perpetuals_golden.json").read_text())["vectors"]


def full_perpetuals():
    return Idl.parse(fixture_path("idl/perpetuals_cashblaze.json").read_text())


def test_a_sale_of_everything_is_the_default():
    position, view = seen_by(MAPPED, CASE)

    call = MAPPED.plan(position, view, str(at.LIQUIDATOR)).instructions[-1]

    assert call.data[8:] == U64_MAX.to_bytes(8, "little")
