"""The perpetuals venue: bytes to values, verdicts in a view, instructions, failures, effects."""

import json
from dataclasses import replace

import pytest
from solders.pubkey import Pubkey

from liqctl.core.account import Gone, Refusal, Undecodable, VenueState
from liqctl.core.book import PlainBook
from liqctl.core.engine import Engine
from liqctl.core.events import AccountsSeen, ClockSeen
from liqctl.core.health import Kind
from liqctl.core.instruction import Failure, Outcome
from liqctl.core.position import Market, Position, Side
from liqctl.core.price import PriceReading, PriceSource
from liqctl.core.queue import Queue
from liqctl.errors import LayoutError
from liqctl.keeper.decode import decode
from liqctl.ports import Venue
from liqctl.venues.idl import Idl
from liqctl.venues.perpetuals import PerpetualsVenue
from liqctl.venues.perpetuals_layout import (
    CUSTODY,
    DISCRIMINATOR_SIZE,
    KINDS,
    PERPETUALS_IDL,
    POSITION,
    discriminator,
)
from liqctl.venues.registry import open_venue
from liqctl.venues.tokens import associated_token_account, create_token_account
from tests.oracle.fixture_files import fixture_path
from tests.venues.perpetuals_cases import PROGRAM, VECTORS, Planted

VENUE = PerpetualsVenue(str(PROGRAM))
LIQUIDATOR = str(Pubkey(bytes([11]) * 32))
SETTINGS = str(Pubkey.find_program_address([b"perpetuals"], PROGRAM)[0])
OPEN_DOORS = discriminator("Perpetuals") + b"\1" * 8 + bytes(4) + bytes(10)
SHUT_DOORS = discriminator("Perpetuals") + b"\1\1\1\1\0\1\1\1" + bytes(4) + bytes(10)
OK = [number for number, one in enumerate(VECTORS) if one["kind"] == "ok"]
LONG = next(n for n in OK if VECTORS[n]["side"] == "long" and VECTORS[n]["expect"]["state"])
SHORT = next(
    n
    for n in OK
    if VECTORS[n]["side"] == "short" and VECTORS[n]["expect"]["liquidate"].get("reward")
)


def key_at(blob, at):
    return str(Pubkey(bytes(blob[at : at + 32])))


def accounts_of(planted, doors=OPEN_DOORS):
    """Every account of a vector at the addresses that its custodies name."""
    addresses = {
        "position": None,
        "custody": None,
        "collateral_custody": None,
        "custody_oracle": key_at(planted.data["custody"], 107),
        "collateral_oracle": key_at(planted.data["collateral_custody"], 107),
    }
    found = [planted.account(name, address) for name, address in addresses.items()]
    settings = replace(found[0], address=SETTINGS, data=doors)
    return [one for one in found if one is not None] + [settings]


def view_of(planted, doors=OPEN_DOORS):
    accounts = accounts_of(planted, doors)
    return {one.address: decode(VENUE, one.address, one, one.slot) for one in accounts}


def position_in(view):
    [found] = [one.value for one in view.values() if isinstance(one.value, Position)]
    return found


def seen_of(number):
    planted = Planted(VECTORS[number])
    view = view_of(planted)
    return position_in(view), view, planted


def position_account(planted, blob):
    return replace(accounts_of(planted)[0], data=blob)


def test_the_venue_implements_the_port_and_is_opened_by_name():
    opened = open_venue("perpetuals", str(PROGRAM))

    assert isinstance(opened, Venue)
    assert (opened.id, opened.program_id) == ("perpetuals", str(PROGRAM))
    assert open_venue("perpetuals", None).program_id == PERPETUALS_IDL.address
    assert VENUE.insurance_address() is None


def test_a_position_is_decoded_with_its_padding_or_without():
    planted = Planted(VECTORS[SHORT])
    blob, fields = bytes(planted.data["position"]), VECTORS[SHORT]["fields"]

    bare, padded = (VENUE.decode(position_account(planted, one)) for one in (blob, blob + bytes(6)))

    assert bare == padded
    assert isinstance(bare, Position)
    assert (bare.side, bare.size, bare.entry_price_e6) == (
        Side.SHORT,
        fields["size"],
        fields["price"],
    )
    assert (bare.collateral, bare.generation) == (fields["coll_usd"], fields["open_time"])
    assert bare.leverage == fields["size"] // fields["coll_usd"]
    assert (bare.market, bare.owner) == (VECTORS[SHORT]["custody"], key_at(blob, 8))


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda blob: blob[:233], Refusal.WRONG_LENGTH),
        (lambda blob: blob + bytes(7), Refusal.WRONG_LENGTH),
        (lambda blob: blob + b"\1", Refusal.ABSURD_VALUE),
        (lambda blob: blob[:152] + b"\0" + blob[153:], Refusal.ABSURD_VALUE),
        (lambda blob: blob[:152] + b"\3" + blob[153:], Refusal.ABSURD_VALUE),
        (lambda blob: b"\0" + blob[1:], Refusal.WRONG_DISCRIMINATOR),
        (lambda blob: blob[:7], Refusal.WRONG_DISCRIMINATOR),
        (lambda blob: blob[:0], Refusal.WRONG_DISCRIMINATOR),
    ],
)
def test_a_position_that_is_not_in_order_is_undecodable(spoil, reason):
    planted = Planted(VECTORS[LONG])

    found = VENUE.decode(position_account(planted, spoil(bytes(planted.data["position"]))))

    assert isinstance(found, Undecodable)
    assert found.reason is reason


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda blob: blob[:804], Refusal.WRONG_LENGTH),
        (lambda blob: blob + bytes(30), None),
        (lambda blob: blob + b"\1", Refusal.ABSURD_VALUE),
        (lambda blob: blob[:105] + b"\2" + blob[106:], Refusal.ABSURD_VALUE),
        (lambda blob: blob[:139] + b"\3" + blob[140:], Refusal.ABSURD_VALUE),
        (lambda blob: blob[:274] + b"\3" + blob[275:], Refusal.ABSURD_VALUE),
    ],
)
def test_a_custody_that_is_not_in_order_is_undecodable(spoil, reason):
    planted = Planted(VECTORS[LONG])
    account = planted.account("custody")
    assert account is not None

    found = VENUE.decode(replace(account, data=spoil(account.data)))

    assert found.reason is reason if isinstance(found, Undecodable) else reason is None


def test_figures_stay_within_what_the_store_can_keep():
    planted = Planted(VECTORS[LONG])
    # Nearly all of the size is lost, without any charges.
    values = {153: 10**15, 161: 2**64 - 1, 169: 0, 177: 1, 193: 0}
    for at, value in values.items():
        planted.put("position", "Q", at, value)
    for at in (347, 355):
        planted.put("custody", "Q", at, 0)
    view = view_of(planted)
    position = position_in(view)

    found = VENUE.assess(position, view, planted.now)

    assert found.liquidatable is True
    assert (position.size, found.close_size, found.bad_debt) == (2**63 - 1,) * 3
    assert found.notional == 2**64 - 1


def test_a_foreign_account_is_refused_and_an_emptied_one_is_gone():
    account = accounts_of(Planted(VECTORS[LONG]))[0]

    foreign = VENUE.decode(replace(account, owner=LIQUIDATOR))
    emptied = VENUE.decode(replace(account, owner="1" * 32, data=b""))

    assert isinstance(foreign, Undecodable)
    assert (foreign.reason, emptied) == (Refusal.WRONG_OWNER, Gone())


def test_every_bit_of_a_position_and_a_custody_can_flip_without_an_error():
    planted = Planted(VECTORS[LONG])
    for account in accounts_of(planted)[:2]:
        for bit in range(0, 8 * len(account.data), 7):
            blob = bytearray(account.data)
            blob[bit // 8] ^= 1 << bit % 8
            found = VENUE.decode(replace(account, data=bytes(blob)))
            assert isinstance(found, Position | Market | Undecodable)
            if isinstance(found, Position):
                VENUE.assess(found, view_of(planted), planted.now)


def test_an_oracle_account_of_the_program_and_a_pool_are_decoded():
    planted = Planted(VECTORS[next(n for n in OK if VECTORS[n]["oracle"] == "custom")])
    oracle = accounts_of(planted)[3]
    pool = replace(
        oracle,
        data=discriminator("Pool")
        + b"\2\0\0\0ab"
        + b"\1\0\0\0"
        + bytes([5] * 32)
        + b"\1\0\0\0"
        + bytes(24)
        + (7).to_bytes(16, "little")
        + bytes(10),
    )

    price, found = VENUE.decode(oracle), VENUE.decode(pool)

    assert isinstance(price, PriceReading)
    assert (price.source, price.owner) == (PriceSource.CUSTOM, str(PROGRAM))
    assert isinstance(found, VenueState)
    assert "aum_usd=7" in repr(found.record)
    assert isinstance(VENUE.decode(replace(pool, data=pool.data[:-1])), Undecodable)


@pytest.mark.parametrize("number", range(len(VECTORS)))
def test_the_verdict_in_a_view_is_what_the_program_answered(number):
    position, view, planted = seen_of(number)
    expect = VECTORS[number]["expect"]
    words = {"stale": "price_stale", "conf": "price_too_wide"}

    found = VENUE.assess(position, view, planted.now)

    if expect["state"] is None:
        assert (found.liquidatable, found.unknown_reason) == (None, words[VECTORS[number]["kind"]])
        assert VENUE.reported_liquidation_price_e6(position, view, planted.now) is None
        return
    profit, loss = expect["pnl"]
    assert (found.liquidatable, found.blockers) == (expect["state"] == 1, ())
    assert found.equity == position.collateral + profit - loss
    assert VENUE.reported_liquidation_price_e6(position, view, planted.now) == expect["liq_price"]
    assert (found.kind is Kind.FULL) == (expect["state"] == 1)


def test_the_reward_is_valued_in_dollars_at_the_lower_collateral_price():
    position, view, planted = seen_of(SHORT)
    paid = VECTORS[SHORT]["expect"]["liquidate"]
    decimals = planted.data["collateral_custody"][104]

    found = VENUE.assess(position, view, planted.now)

    # The collateral is a stablecoin: at most one dollar, and near it.
    assert 0 < found.reward <= paid["reward"] * 10**6 // 10**decimals
    assert found.reward > paid["reward"] * 9 * 10**5 // 10**decimals
    assert found.owner_payout <= paid["user"] * 10**6 // 10**decimals


def test_a_healthy_position_below_one_exists_because_leverage_is_rounded_down():
    planted = Planted(VECTORS[LONG])
    # No price move, no fees, no interest: margin is the collateral.
    planted.put("position", "Q", 153, 10**8)
    planted.put("position", "Q", 161, 999_999)
    planted.put("position", "Q", 169, 0)
    planted.put("position", "Q", 177, 100_000)
    planted.put("position", "Q", 185, 0)
    planted.put("position", "Q", 193, 0)
    planted.put("custody", "Q", 347, 0)
    planted.put("custody", "Q", 226, 99_999)
    planted.put("custody", "Q", 194, 0)
    planted.put("custody_oracle", "Q", 8, 10**10)
    planted.put("custody_oracle", "Q", 28, 10**10)
    planted.put("custody_oracle", "i", 16, -8)
    view = view_of(planted)

    found = VENUE.assess(position_in(view), view, planted.now)

    assert (found.liquidatable, found.equity) == (False, 100_000)
    assert 0.9999 < found.health < 1


@pytest.mark.parametrize(
    "missing, word",
    [
        ("custody", "market_missing"),
        ("collateral_custody", "collateral_missing"),
        ("custody_oracle", "price_missing"),
        ("collateral_oracle", "price_missing"),
    ],
)
def test_without_an_account_the_verdict_is_unknown(missing, word):
    planted = Planted(VECTORS[SHORT])
    planted.missing.add(missing)
    view = view_of(planted)

    found = VENUE.assess(position_in(view), view, planted.now)

    assert (found.liquidatable, found.unknown_reason) == (None, word)


def test_a_position_of_another_pool_is_not_judged():
    position, view, planted = seen_of(LONG)
    other = replace(position, record=position.record._replace(pool=bytes(32)))

    assert VENUE.assess(other, view, planted.now).unknown_reason == "other_pool"


@pytest.mark.parametrize("where", ["custody", "settings"])
def test_a_closed_door_blocks_and_leaves_the_verdict(where):
    planted = Planted(VECTORS[LONG])
    if where == "custody":
        planted.put("custody", "B", 270, 0)
    view = view_of(planted, OPEN_DOORS if where == "custody" else SHUT_DOORS)

    found = VENUE.assess(position_in(view), view, planted.now)

    assert (found.liquidatable, found.blockers) == (True, ("market_paused",))


def test_without_the_settings_nothing_is_sent():
    position, view, planted = seen_of(LONG)
    del view[SETTINGS]

    found = VENUE.assess(position, view, planted.now)

    assert (found.liquidatable, found.blockers) == (True, ("settings_missing",))


def test_a_pool_that_cannot_pay_blocks():
    planted = Planted(VECTORS[SHORT])
    for at in (419, 435, 443):
        planted.put("collateral_custody", "Q", at, 0)
    view = view_of(planted)

    found = VENUE.assess(position_in(view), view, planted.now)

    assert (found.liquidatable, found.blockers) == (True, ("pool_cannot_pay",))
    assert found.reward > 0


def test_a_price_from_the_future_blocks():
    planted = Planted(VECTORS[next(n for n in OK if VECTORS[n]["oracle"] == "custom")])
    planted.put("custody_oracle", "q", 36, planted.now + 6)
    view = view_of(planted)

    assert "price_from_future" in VENUE.assess(position_in(view), view, planted.now).blockers


def test_a_price_account_of_the_wrong_kind_makes_the_verdict_unknown():
    for kind, word in (
        (0, "oracle_unsupported"),
        (1, "price_wrong_owner"),
        (2, "price_wrong_type"),
    ):
        oracle = "pyth_legacy" if kind == 1 else "custom"
        planted = Planted(VECTORS[next(n for n in OK if VECTORS[n]["oracle"] == oracle)])
        planted.put("custody", "B", 139, kind)
        view = view_of(planted)
        found = VENUE.assess(position_in(view), view, planted.now)
        assert (found.liquidatable, found.unknown_reason) == (None, word)
        market = view[planted.account("custody").address].value
        assert VENUE.mark_price(market, view, planted.now) == word


def test_the_verdict_follows_each_account_that_changes():
    position, view, planted = seen_of(LONG)
    before = VENUE.assess(position, view, planted.now)
    planted.put("custody", "Q", 226, 2**64 - 1)
    custody = planted.account("custody")
    assert custody is not None
    view[custody.address] = decode(VENUE, custody.address, custody, 8)

    after = VENUE.assess(position, view, planted.now)

    assert (before.liquidatable, after.liquidatable) == (True, False)
    assert (before.slot, after.slot) == (7, 8)


def test_a_verdict_depends_on_both_custodies_their_oracles_and_the_settings():
    position, view, planted = seen_of(SHORT)
    named = {one.address for one in accounts_of(planted)} - {position.address}

    assert set(VENUE.dependencies(position, view)) == named
    assert len(VENUE.dependencies(position, {})) == 3


def test_the_plan_names_every_account_in_the_programs_order():
    position, view, planted = seen_of(SHORT)
    held = planted.data["collateral_custody"]
    mint = key_at(held, 40)

    plan = VENUE.plan(position, view, LIQUIDATOR)

    *setup, liquidate = plan.instructions
    authority = Pubkey.find_program_address([b"transfer_authority"], PROGRAM)[0]
    owner_token = associated_token_account(position.owner, mint)
    own_token = associated_token_account(LIQUIDATOR, mint)
    expected = [
        (LIQUIDATOR, True, True),
        (owner_token, False, True),
        (own_token, False, True),
        (str(authority), False, False),
        (SETTINGS, False, False),
        (key_at(planted.data["position"], 40), False, True),
        (position.address, False, True),
        (position.market, False, True),
        (key_at(planted.data["custody"], 107), False, False),
        (VECTORS[SHORT]["collateral_custody"], False, True),
        (key_at(held, 107), False, False),
        (key_at(held, 72), False, True),
        ("TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA", False, False),
    ]
    assert [(one.address, one.signer, one.writable) for one in liquidate.accounts] == expected
    assert liquidate.data.hex() == "dfb3e27d302e274a"
    assert setup == [
        create_token_account(LIQUIDATOR, one, mint) for one in (position.owner, LIQUIDATOR)
    ]
    assert (plan.liquidate_index, plan.compute_units) == (2, 200_000)
    assert (plan.creates, plan.keeps) == ((owner_token, own_token), (own_token,))
    assert plan.returns_lamports == 2_561_280


def test_the_owner_who_liquidates_needs_one_token_account():
    position, view, _ = seen_of(SHORT)

    plan = VENUE.plan(position, view, position.owner)

    assert (plan.liquidate_index, len(plan.creates)) == (1, 1)


def test_a_part_of_a_position_cannot_be_liquidated():
    position, view, _ = seen_of(SHORT)

    VENUE.plan(position, view, LIQUIDATOR, max_size=position.size)
    with pytest.raises(LayoutError, match="whole positions"):
        VENUE.plan(position, view, LIQUIDATOR, max_size=position.size - 1)


def test_without_a_custody_there_is_no_plan_and_no_confirmation():
    position, _, _ = seen_of(SHORT)

    with pytest.raises(LayoutError, match="not known"):
        VENUE.plan(position, {}, LIQUIDATOR)
    assert VENUE.confirmation(position, {}) is None


def test_the_confirmation_asks_the_program_with_seven_accounts():
    position, view, _ = seen_of(SHORT)

    asked = VENUE.confirmation(position, view)

    assert asked is not None
    assert asked.data.hex() == "7f7ec7755a591d32"
    assert len(asked.accounts) == 7
    assert not any(one.signer or one.writable for one in asked.accounts)


def anchor_log(text):
    return (
        f"Program {PROGRAM} invoke [1]",
        f"Program log: AnchorError {text}",
        "Program log: Left:",
    )


@pytest.mark.parametrize(
    "code, text, outcome",
    [
        (6013, "", Outcome.HEALTHY),
        (6024, "", Outcome.PAUSED),
        (6020, "", Outcome.NO_FUNDS),
        (1, "", Outcome.NO_FUNDS),
        (6004, "", Outcome.ORACLE),
        (6007, "", Outcome.ORACLE),
        (6008, "", Outcome.ORACLE),
        (6029, "", Outcome.ORACLE),
        (6003, "", Outcome.BUG),
        (6012, "", Outcome.BUG),
        (3012, "caused by account: position. Error Code: AccountNotInitialized.", Outcome.GONE),
        (3007, "caused by account: position. Error Code: X.", Outcome.GONE),
        (3012, "caused by account: receiving_account. Error Code: X.", Outcome.SETUP),
        (3012, "caused by account: rewards_receiving_account. Error Code: X.", Outcome.SETUP),
        (3012, "caused by account: custody. Error Code: X.", Outcome.BUG),
        (3012, "", Outcome.GONE),
        (3007, "occurred. Error Code: AccountOwnedByWrongProgram.", Outcome.ORACLE),
        (3002, "caused by account: position. Error Code: X.", Outcome.LAYOUT),
        (3003, "", Outcome.LAYOUT),
        (2003, "caused by account: custody_oracle_account. Error Code: X.", Outcome.BUG),
        (2006, "", Outcome.BUG),
        (None, "", Outcome.RETRY),
    ],
)
def test_a_failure_is_told_by_its_code_and_the_account_it_names(code, text, outcome):
    name = "BlockhashNotFound" if code is None else "Custom"
    failure = Failure(instruction=2, code=code, name=name, logs=anchor_log(text) if text else ())

    assert VENUE.classify(failure) is outcome


def test_an_account_named_by_another_program_is_not_believed():
    logs = (
        f"Program {PROGRAM} invoke [1]",
        f"Program {LIQUIDATOR} invoke [2]",
        "Program log: AnchorError caused by account: position. Error Code: X.",
    )

    failure = Failure(instruction=2, code=3007, name="Custom", logs=logs)

    assert VENUE.classify(failure) is Outcome.ORACLE


LIQUIDATED = (
    f"Program {PROGRAM} invoke [1]",
    "Program log: Net profit: 0, loss: 12",
    "Program log: Collected fee: 5",
    "Program log: Amount out: 900",
    "Program log: Reward: 100",
    f"Program {LIQUIDATOR} invoke [2]",
    "Program log: Reward: 999",
    f"Program {LIQUIDATOR} success",
    f"Program {PROGRAM} success",
)


def test_the_effects_are_what_the_program_itself_logged():
    assert VENUE.effects(LIQUIDATED) == {
        "fee_tokens": 5,
        "payout_tokens": 900,
        "reward_tokens": 100,
    }
    assert VENUE.effects([line for line in LIQUIDATED if "Reward: 100" not in line]) is None
    assert VENUE.effects([*LIQUIDATED, f"Program {PROGRAM} failed: x"]) is None


def test_the_engine_finds_what_is_liquidatable():
    planted = Planted(VECTORS[LONG])
    engine = Engine(VENUE, PlainBook(), Queue())
    accounts = accounts_of(planted)
    seen = tuple(decode(VENUE, one.address, one, one.slot) for one in accounts)

    engine.apply(ClockSeen(slot=7, unix_timestamp=planted.now), 0)
    engine.apply(AccountsSeen(seen=tuple(reversed(seen))), 0)

    decision = engine.next(0)
    assert decision is not None
    assert decision.position.address == VECTORS[LONG]["position"]
    assert engine.coverage().evaluated == 1


@pytest.mark.parametrize("kind", ["position", "market", "settings"])
def test_a_snapshot_asks_for_what_verdicts_need(kind):
    names = {"position": "Position", "market": "Custody", "settings": "Perpetuals"}

    assert VENUE.discriminators()[kind] == discriminator(names[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_the_discriminators_given_are_those_that_anchor_derives(kind):
    assert PERPETUALS_IDL.account_discriminator(kind) == discriminator(kind)


def test_the_layouts_are_those_of_the_published_idl():
    published = Idl(json.loads(fixture_path("idl/perpetuals_cashblaze.json").read_text()))

    for name in ("Position", "Custody", "CustomOracle"):
        ours, theirs = PERPETUALS_IDL.account_layout(name), published.account_layout(name)
        assert (ours.names, ours.code) == (theirs.names, theirs.code)
    assert DISCRIMINATOR_SIZE + POSITION.size == 234
    assert DISCRIMINATOR_SIZE + CUSTODY.size == 805
    assert PERPETUALS_IDL.errors == published.errors
    for name in ("liquidate", "get_liquidation_state"):
        assert PERPETUALS_IDL.instruction_discriminator(name) == (
            published.instruction_discriminator(name)
        )
        roles = [
            [(one.name, one.signer, one.writable) for one in idl.roles(name)]
            for idl in (PERPETUALS_IDL, published)
        ]
        assert roles[0] == roles[1]


def test_of_five_thousand_positions_just_those_below_the_line_are_liquidatable():
    planted = Planted(VECTORS[LONG])
    view = view_of(planted)
    position = accounts_of(planted)[0]
    liquidatable = []
    for number in range(5_000):
        planted.put("position", "Q", 161, 10**12 + number * 10**6)
        planted.put("position", "Q", 177, 10**11 if number % 20 else 10**9)
        account = replace(position, address=f"{number}", data=bytes(planted.data["position"]))
        decoded = VENUE.decode(account)
        assert isinstance(decoded, Position)
        if VENUE.assess(decoded, view, planted.now).liquidatable is True:
            liquidatable.append(number)

    assert liquidatable == list(range(0, 5_000, 20))
