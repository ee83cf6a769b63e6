"""Legacy Pyth price accounts: real ones, their status, and bytes that are none."""

import base64
import json
import struct

import pytest

from liqctl.core.account import Account, Refusal, Undecodable
from liqctl.core.price import PriceReading, PriceSource
from liqctl.keeper.decode import decode
from liqctl.oracle.legacy_price import (
    ACCOUNT_SIZE,
    LEGACY_OWNER,
    decode_legacy_price,
    is_legacy_price,
)
from liqctl.venues.registry import open_venue
from tests.oracle.fixture_files import fixture_path

TRADING = "mango/Gnt27xtC473ZT2Mw5u8wZ68Z3gULkSTb5DuxJy7eJotD.bin"
OLD_WRITER = "mango/J83w4HKfqxwcq3BEMMkPFSppX3gqekLyLJBexebFVkix.bin"


def account(blob):
    return Account(address="price", owner=LEGACY_OWNER, lamports=1, data=bytes(blob), slot=1)


def read(blob):
    found = decode_legacy_price(account(blob))
    assert isinstance(found, PriceReading)
    return found


def made(status=1):
    """A price account with a different number in each field that is read."""
    blob = bytearray(ACCOUNT_SIZE)
    struct.pack_into("<III", blob, 0, 0xA1B2C3D4, 2, 3)
    struct.pack_into("<i", blob, 20, -8)
    struct.pack_into("<q", blob, 48, 700)
    struct.pack_into("<q", blob, 72, -1)
    struct.pack_into("<q", blob, 96, 1_000)
    blob[112:144] = bytes(range(32))
    struct.pack_into("<qQq", blob, 184, -600, 5, 900)
    struct.pack_into("<qQI", blob, 208, 650, 6, status)
    struct.pack_into("<Q", blob, 232, 77)
    return blob


def test_a_trading_price_is_the_aggregate():
    found = read(made())

    assert (found.mantissa, found.confidence, found.publish_time) == (650, 6, 1_000)
    assert (found.exponent, found.posted_slot, found.source) == (-8, 77, PriceSource.LEGACY)
    assert (found.feed_id, found.owner) == (bytes(range(32)).hex(), LEGACY_OWNER)
    assert (found.ema_mantissa, found.ema_confidence) == (700, 2**64 - 1)


@pytest.mark.parametrize("status", [0, 2, 3, 2**32 - 1])
def test_any_other_status_falls_back_to_the_price_before(status):
    found = read(made(status))

    assert (found.mantissa, found.confidence, found.publish_time) == (-600, 5, 900)
    assert found.ema_mantissa == 700


def test_a_real_price_account_is_read():
    found = read(fixture_path(TRADING).read_bytes())

    assert (found.mantissa, found.exponent, found.publish_time) == (100_000_750, -8, 1_701_981_042)


def test_the_real_sol_account_is_unknown_since_2024_and_shows_its_last_price():
    text = fixture_path("pyth/sol_pyth_oracle.json").read_text()
    blob = base64.b64decode(json.loads(text)["account"]["data"][0])

    assert read(blob).publish_time == 1_722_852_532


def test_an_older_writer_has_no_timestamp_so_that_it_is_stale():
    assert read(fixture_path(OLD_WRITER).read_bytes()).publish_time == 0


@pytest.mark.parametrize(
    "spoil, reason",
    [
        (lambda blob: blob[:-1], Refusal.WRONG_LENGTH),
        (lambda blob: blob[:4], Refusal.WRONG_LENGTH),
        (lambda blob: blob[:3], Refusal.WRONG_DISCRIMINATOR),
        (lambda blob: b"\0" + blob[1:], Refusal.WRONG_DISCRIMINATOR),
        (lambda blob: blob[:4] + b"\1" + blob[5:], Refusal.ABSURD_VALUE),
        (lambda blob: blob[:8] + b"\2" + blob[9:], Refusal.ABSURD_VALUE),
    ],
)
def test_what_is_no_price_account_is_refused(spoil, reason):
    found = decode_legacy_price(account(spoil(bytes(made()))))

    assert isinstance(found, Undecodable)
    assert found.reason is reason


def test_the_keeper_reads_legacy_accounts_by_their_first_bytes():
    venue = open_venue("perpetuals", None)

    seen = decode(venue, "price", account(made()), 1)

    assert is_legacy_price(bytes(made()))
    assert isinstance(seen.value, PriceReading)
    assert seen.value.source is PriceSource.LEGACY
