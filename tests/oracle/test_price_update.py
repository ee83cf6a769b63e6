"""PriceUpdateV2 accounts, real and built, and everything that is none."""

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.account import Account, Refusal, Undecodable
from liqctl.core.price import PriceReading, price_e6
from liqctl.oracle.price_update import (
    DISCRIMINATOR,
    RECEIVER_CLASSIC,
    RECEIVER_UPGRADED,
    decode_price,
)
from tests.oracle.fixture_files import account_bytes

SOL_FEED = "ef0d8b6fda2ceba41da15d4095d1da392a0d2f8ed0c6c7bc0f4cfac8c280b56d"
USDC_FEED = "eaa020c61cc479712813461ce153894a96a6c00b21ed0cfc2798d1f9a9e9c94a"


def built(tag=b"\x01"):
    body = struct.pack("<32sqQiqqqQQ", bytes(range(32)), 42, 3, -5, 1_000, 999, 41, 4, 77)
    return (DISCRIMINATOR + bytes(32) + tag + body).ljust(134, b"\0")


def decoded(blob, owner=RECEIVER_CLASSIC):
    return decode_price(Account(address="price", owner=owner, lamports=1, data=blob, slot=9))


def test_every_field_of_a_built_account_is_read():
    assert decoded(built()) == PriceReading(
        address="price",
        owner=RECEIVER_CLASSIC,
        feed_id=bytes(range(32)).hex(),
        mantissa=42,
        exponent=-5,
        confidence=3,
        publish_time=1_000,
        fully_verified=True,
        posted_slot=77,
    )


def test_a_partial_verification_moves_the_rest_by_one_byte_and_is_not_full():
    full, partial = decoded(built()), decoded(built(b"\x00\x05"))

    assert isinstance(full, PriceReading)
    assert partial == replace(full, fully_verified=False)


@pytest.mark.parametrize(
    "name, feed, mantissa, published",
    [
        ("pyth/pyth_push_sol_price.bin", SOL_FEED, 15_679_769_099, 1_721_133_402),
        ("pyth/pyth_push_usdc_price.bin", USDC_FEED, None, None),
        ("pyth/sol_pyth_price_feed.json", SOL_FEED, None, None),
        ("mango/7UVimffxr9ow1uXYxsr4LHAcV58mLzhmwaeKvJ1pjLiE.bin", SOL_FEED, None, None),
    ],
)
def test_a_real_push_account_is_read(name, feed, mantissa, published):
    reading = decoded(account_bytes(name))

    assert isinstance(reading, PriceReading)
    assert (reading.feed_id, reading.fully_verified, reading.exponent) == (feed, True, -8)
    assert 900_000 < price_e6(reading.mantissa, reading.exponent) < 300_000_000
    assert mantissa in {None, reading.mantissa}
    assert published in {None, reading.publish_time}


@pytest.mark.parametrize(
    "name",
    [
        "pyth/sol_pyth_oracle.json",
        "pyth/swb_pull_sol_price.bin",
        "pyth/DeyH7QxWvnbbaVB4zFrf4hoq7Q8z1ZT14co42BGwGtfM.bin",
        "mango/Gnt27xtC473ZT2Mw5u8wZ68Z3gULkSTb5DuxJy7eJotD.bin",
        "mango/J83w4HKfqxwcq3BEMMkPFSppX3gqekLyLJBexebFVkix.bin",
        "mango/GvDMxPzN1sCj7L26YDK2HnMRXEQmQ2aemov8YBtPS7vR.bin",
        "mango/8k7F9Xb36oFJsjpCKpsXvg4cgBRoZtwNTc3EzG5Ttd2o.bin",
        "mango/EtbG8PSDCyCSmDH8RE4Nf2qTV9d6P6zShzHY2XWvjFJf.bin",
        "mango/83v8iPyZihDEjDdY8RdZddyZNyUtXngz69Lgo9Kt5d6d.bin",
        "mango/Ds33rQ1d4AXwxqyeXX6Pc3G4pFNr6iWb3dd8YfBBQMPr.bin",
        "mango/mangoaccount-v0.21.3.bin",
    ],
)
def test_another_real_account_is_refused_by_its_type(name):
    found = decoded(account_bytes(name))

    assert isinstance(found, Undecodable)
    assert found.reason is Refusal.WRONG_DISCRIMINATOR


@pytest.mark.parametrize(
    "blob, owner, reason",
    [
        (bytes.fromhex("68c0bc48f6a60c51") + built()[8:], None, Refusal.WRONG_DISCRIMINATOR),
        (b"", None, Refusal.WRONG_DISCRIMINATOR),
        (built()[:132], None, Refusal.WRONG_LENGTH),
        (built()[:8], None, Refusal.WRONG_LENGTH),
        (built(b"\x00\x05")[:133], None, Refusal.WRONG_LENGTH),
        (built(b"\x02"), None, Refusal.ABSURD_VALUE),
        (b"", "11111111111111111111111111111111", Refusal.WRONG_OWNER),
        (built(b"\x02"), "11111111111111111111111111111111", Refusal.WRONG_OWNER),
    ],
)
def test_what_is_no_price_update_says_why(blob, owner, reason):
    found = decoded(blob, owner or RECEIVER_UPGRADED)

    assert isinstance(found, Undecodable)
    assert found.reason is reason


def test_full_verification_needs_no_spare_byte():
    assert decoded(built()[:133]) == decoded(built())


def test_the_owner_is_reported_and_left_for_the_rules():
    reading = decoded(built(), "a program's own receiver")

    assert isinstance(reading, PriceReading)
    assert reading.owner == "a program's own receiver"


@given(st.binary(max_size=200), st.integers(0, 134), st.integers(0, 133 * 8))
def test_cut_flipped_or_foreign_bytes_never_raise(foreign, length, bit):
    flipped = bytearray(built())
    flipped[bit // 8] ^= 1 << bit % 8

    for blob in (foreign, DISCRIMINATOR + foreign, built()[:length], bytes(flipped)):
        assert isinstance(decoded(blob), PriceReading | Undecodable)
