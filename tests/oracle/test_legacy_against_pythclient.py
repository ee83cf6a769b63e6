"""Our reading of legacy price accounts beside that of pythclient's parser, field by field."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqctl.core.account import Account
from liqctl.core.price import PriceReading
from liqctl.oracle.legacy_price import ACCOUNT_SIZE, LEGACY_OWNER, decode_legacy_price
from tests.oracle.fixture_files import account_bytes

ACCOUNTS = [
    "mango/Gnt27xtC473ZT2Mw5u8wZ68Z3gULkSTb5DuxJy7eJotD.bin",
    "mango/J83w4HKfqxwcq3BEMMkPFSppX3gqekLyLJBexebFVkix.bin",
    "pyth/sol_pyth_oracle.json",
]
ADDRESS = "H6ARHf6YXhGYeQfUzQNGk6rDNnLBQKrenN712K4AQJEG"
HEADER_BYTES = 16


def ours(blob):
    found = decode_legacy_price(
        Account(address=ADDRESS, owner=LEGACY_OWNER, lamports=1, data=blob, slot=1)
    )
    assert isinstance(found, PriceReading)
    return found


def theirs(blob):
    """What pythclient's parser makes of the account, in the terms of a reading."""
    from loguru import logger
    from pythclient.pythaccounts import EmaType, PythPriceAccount, PythPriceStatus
    from pythclient.solana import SolanaPublicKey

    logger.disable("pythclient")
    account = PythPriceAccount(SolanaPublicKey(ADDRESS), None)
    account.update_from(blob, version=2, offset=HEADER_BYTES)
    spot = account.aggregate_price_info
    trading = spot.price_status is PythPriceStatus.TRADING
    # the parser keeps what was before as floats: they are compared as such
    scale = 10**account.exponent
    price, confidence = (
        (spot.raw_price * scale, spot.raw_confidence_interval * scale)
        if trading
        else (account.prev_price, account.prev_conf)
    )
    return {
        "exponent": account.exponent,
        "price": price,
        "confidence": confidence,
        "publish_time": account.timestamp if trading else account.prev_timestamp,
        "slot": spot.pub_slot,
        "product": bytes(account.product_account_key.key.encode()),
        "ema": account.derivations[EmaType.EMA_PRICE_VALUE],
        "ema_confidence": account.derivations[EmaType.EMA_CONFIDENCE_VALUE],
    }


def same_terms(found):
    from base58 import b58encode

    scale = 10**found.exponent
    return {
        "exponent": found.exponent,
        "price": found.mantissa * scale,
        "confidence": found.confidence * scale,
        "publish_time": found.publish_time,
        "slot": found.posted_slot,
        "product": b58encode(bytes.fromhex(found.feed_id)),
        "ema": found.ema_mantissa,
        "ema_confidence": struct.unpack("<q", struct.pack("<Q", found.ema_confidence))[0],
    }


@pytest.mark.parametrize("name", ACCOUNTS)
def test_a_real_account_is_read_alike(name):
    blob = account_bytes(name)

    assert same_terms(ours(blob)) == theirs(blob)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(min_size=240, max_size=240),
    st.integers(-18, 0),
    st.integers(0, 4),
)
def test_any_account_of_the_program_is_read_alike(body, exponent, status):
    blob = bytearray(body.ljust(ACCOUNT_SIZE, b"\0"))
    struct.pack_into("<IIIIIi", blob, 0, 0xA1B2C3D4, 2, 3, ACCOUNT_SIZE, 1, exponent)
    struct.pack_into("<I", blob, 224, status)

    assert same_terms(ours(bytes(blob))) == theirs(bytes(blob))
