"""Which PriceUpdateV2 accounts the program accepts, and the error of each one that it refuses."""

from dataclasses import replace
from typing import Any

import pytest
from solders.pubkey import Pubkey

from tests.localnet.program_world import RECEIVER, START, Price, ProgramWorld, decode_struct

GOOD = Price(publish_time=START)


@pytest.fixture(scope="module")
def world() -> ProgramWorld:
    return ProgramWorld().setup()


@pytest.fixture(scope="module")
def market(world):
    return world.market()


@pytest.fixture(scope="module")
def owner(world, market):
    owner = world.person(10**12)
    assert world.open(owner, market, size=10**10, collateral=10**8).error is None
    return owner


def _error(world, owner, market, price):
    world.set_time(START)
    world.set_price(market, price)
    return world.assess(owner, market).error


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"owner": Pubkey.default()}, "PriceWrongOwner"),
        ({"discriminator": bytes.fromhex("68c0bc48f6a60c51")}, "PriceWrongType"),
        ({"length": 132}, "PriceWrongType"),
        ({"length": 7}, "PriceWrongType"),
        ({"length": 133}, None),
        ({"verification": b"\x00\x05"}, "PriceNotFullyVerified"),
        ({"verification": b"\x02"}, "PriceNotFullyVerified"),
        ({"feed_id": b"\x11" * 31 + b"\x12"}, "PriceWrongFeed"),
        ({"price": 0}, "PriceNotPositive"),
        ({"price": -1}, "PriceNotPositive"),
        ({"exponent": 1}, "PriceBadExponent"),
        ({"exponent": -19}, "PriceBadExponent"),
        ({"exponent": 2**31 - 1}, "PriceBadExponent"),
        ({"exponent": -(2**31)}, "PriceBadExponent"),
        ({"publish_time": START - 60}, None),
        ({"publish_time": START - 61}, "PriceStale"),
        ({"publish_time": START + 1}, None),
        ({"publish_time": START + 1000}, None),
        ({"publish_time": -(2**63)}, "PriceStale"),
        ({"publish_time": 2**63 - 1}, None),
        ({"confidence": 1_000_000}, None),
        ({"confidence": 1_000_001}, "PriceTooWide"),
        ({"confidence": 2**64 - 1}, "PriceTooWide"),
        ({"price": 99, "exponent": -8}, "PriceTooSmall"),
        ({"price": 2**58 + 1, "exponent": 0}, "MathOverflow"),
        ({"price": 2**63 - 1, "exponent": -18}, None),
    ],
    ids=str,
)
def test_what_a_price_account_must_hold(world, owner, market, changes, error):
    assert _error(world, owner, market, replace(GOOD, **changes)) == error


def test_of_several_faults_the_first_in_order_is_told(world, owner, market):
    faults: dict[str, Any] = {
        "owner": (Pubkey.default(), "PriceWrongOwner"),
        "discriminator": (bytes(8), "PriceWrongType"),
        "verification": (b"\0\0", "PriceNotFullyVerified"),
        "feed_id": (bytes(32), "PriceWrongFeed"),
        "price": (-5, "PriceNotPositive"),
        "exponent": (5, "PriceBadExponent"),
        "publish_time": (0, "PriceStale"),
        "confidence": (2**63, "PriceTooWide"),
    }
    price = replace(GOOD, **{name: value for name, (value, _) in faults.items()})
    told = []
    for name in faults:
        told.append(_error(world, owner, market, price))
        price = replace(price, **{name: getattr(GOOD, name)})

    assert told == [error for _, error in faults.values()]
    assert _error(world, owner, market, price) is None


@pytest.mark.parametrize(
    ("mantissa", "exponent", "price_e6"),
    [
        (100_000_000, -6, 100_000_000),
        (100, 0, 100_000_000),
        (10_000_000_099, -8, 100_000_000),
        (9_999_999_999, -8, 99_999_999),
        (9_223_372_036_854_775_807, -18, 9_223_372),
    ],
)
def test_the_price_is_the_mantissa_scaled_and_rounded_down(
    world, owner, market, mantissa, exponent, price_e6
):
    world.set_time(START)
    world.set_price(market, Price(price=mantissa, exponent=exponent))

    assessed = decode_struct("Assessment", world.assess(owner, market).returned)

    # 10 base of entry 100 with 100 of collateral
    assert assessed["equity"] == 100_000_000 + 10 * price_e6 - 1_000_000_000


def test_clock_extremes_do_not_wrap(world, owner, market):
    world.set_price(market, replace(GOOD, publish_time=-(2**63)))
    errors = []
    for now in (2**63 - 1, -(2**63), -(2**63) + 60, -(2**63) + 61):
        world.set_time(now)
        errors.append(world.assess(owner, market).error)

    assert errors == ["PriceStale", None, None, "PriceStale"]


def test_another_price_account_is_refused_even_when_it_is_good(world, owner, market):
    other = Pubkey.new_unique()
    world.svm.set_account(other, GOOD.account())
    accounts = {**world.open_call(owner, market), "price_account": other}

    result = world.call("assess", [world.authority], accounts, max_size=1)

    assert result.error == "PriceAccountMismatch"
    assert GOOD.account().owner == RECEIVER
