"""Push feeds: their addresses under both push programs, and only there a push feed."""

import json

import pytest

from liqctl.core.account import Account
from liqctl.core.price import PriceReading, PriceSource
from liqctl.oracle.price_update import RECEIVER_CLASSIC, RECEIVER_UPGRADED, decode_price
from liqctl.oracle.push_feed import (
    PUSH_CLASSIC,
    PUSH_UPGRADED,
    push_feed_address,
    with_push_source,
)
from tests.oracle.fixture_files import account_bytes, fixture_path

SOL = "ef0d8b6fda2ceba41da15d4095d1da392a0d2f8ed0c6c7bc0f4cfac8c280b56d"
BTC = "e62df6c8b4a85fe1a67db44dc12de5db330f7ac66b72dc658afedf0f4a415b43"
ETH = "ff61491a931112ddf1bd8147cd1b641375f79f5825126d665480874634fd0ace"
USDC = "eaa020c61cc479712813461ce153894a96a6c00b21ed0cfc2798d1f9a9e9c94a"
FIXTURE = "mango/7UVimffxr9ow1uXYxsr4LHAcV58mLzhmwaeKvJ1pjLiE.bin"


@pytest.mark.parametrize(
    "feed, classic, upgraded",
    [
        (
            SOL,
            "7UVimffxr9ow1uXYxsr4LHAcV58mLzhmwaeKvJ1pjLiE",
            "7AviUf9nL62mcxNbQGKm4nKDQnPjswo6c5MX4D57HmyE",
        ),
        (
            BTC,
            "4cSM2e6rvbGQUFiJbqytoVMi5GgghSMr8LwVrT9VPSPo",
            "APgzQGGdv2qCgBkX6aHVkrGePtBVDDg68GiqaM7rmtf5",
        ),
        (
            ETH,
            "42amVS4KgzR9rA28tkVYqVXjq9Qa8dcZQMbH5EYFX6XC",
            "7odryi4WfoMFHtv2eubdMgP1pqQMmdiXSK1N2tqZ2nRH",
        ),
        (
            USDC,
            "Dpw1EAVrSB1ibxiDQyTAW6Zip3J4Btk2x4SgApQCeFbX",
            "6HAuqASbHEh4w4REJEUUUCginTLfj1kwCh215ZLtMkrT",
        ),
    ],
)
def test_published_addresses_are_derived(feed, classic, upgraded):
    assert push_feed_address(feed, push_program=PUSH_CLASSIC) == classic
    assert push_feed_address(feed, push_program=PUSH_UPGRADED) == upgraded


def test_another_shard_is_another_address():
    assert push_feed_address(SOL, shard=1) != push_feed_address(SOL)


def test_a_real_account_stands_at_the_address_of_its_feed():
    dump = json.loads(fixture_path("pyth/sol_pyth_price_feed.json").read_text())

    assert dump["pubkey"] == push_feed_address(SOL)


def real(address, owner):
    blob = account_bytes(FIXTURE)
    found = decode_price(Account(address=address, owner=owner, lamports=1, data=blob, slot=1))
    assert isinstance(found, PriceReading)
    return with_push_source(found)


@pytest.mark.parametrize(
    "owner, program", [(RECEIVER_CLASSIC, PUSH_CLASSIC), (RECEIVER_UPGRADED, PUSH_UPGRADED)]
)
def test_an_account_of_its_push_program_is_a_push_feed(owner, program):
    address = push_feed_address(SOL, push_program=program)

    assert real(address, owner).source is PriceSource.PUSH_FEED


@pytest.mark.parametrize(
    "address, owner",
    [
        (push_feed_address(SOL), RECEIVER_UPGRADED),
        (push_feed_address(SOL), "11111111111111111111111111111111"),
        (push_feed_address(USDC), RECEIVER_CLASSIC),
        (push_feed_address(SOL, shard=1), RECEIVER_CLASSIC),
        ("11111111111111111111111111111111", RECEIVER_CLASSIC),
    ],
)
def test_anywhere_else_a_price_update_stays_one(address, owner):
    assert real(address, owner).source is PriceSource.PRICE_UPDATE
