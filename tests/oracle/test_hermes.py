"""Answers of Hermes: every field, and nonsense that costs no more than its own feed."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.price import HERMES_OWNER, PriceReading, PriceSource
from liqctl.errors import HermesMalformed
from liqctl.oracle.hermes import Update, decode_update, feed_id_of, named_ids
from tests.oracle.hermes_bodies import BTC, SOL, body, entry

ASKED = frozenset({SOL, BTC})


def test_every_field_of_an_entry_is_read():
    assert decode_update(body(entry()), ASKED).readings == (
        PriceReading(
            address=SOL,
            owner=HERMES_OWNER,
            feed_id=SOL,
            mantissa=15_679_769_099,
            exponent=-8,
            confidence=7_231_031,
            publish_time=1_721_133_402,
            fully_verified=False,
            posted_slot=155_000_001,
            source=PriceSource.HERMES,
            ema_mantissa=15_640_000_000,
            ema_confidence=8_000_000,
        ),
    )


@pytest.mark.parametrize("spelled", ["0x" + SOL, SOL.upper(), "0X" + SOL.upper()])
def test_a_feed_has_one_spelling(spelled):
    assert feed_id_of(spelled) == SOL
    assert decode_update(body(entry(spelled)), ASKED).readings[0].feed_id == SOL


@pytest.mark.parametrize("text", ["", "0x", SOL[:-1], SOL + "0", "g" * 64, "٣" * 64, "0x0x" + SOL])
def test_what_is_no_feed_id_is_none(text):
    assert feed_id_of(text) is None


@pytest.mark.parametrize(
    "change",
    [
        {"metadata": None},
        {"metadata": {"slot": None, "proof_available_time": None, "prev_publish_time": None}},
        {"metadata": {"slot": -1}},
    ],
)
def test_metadata_may_be_missing(change):
    assert decode_update(body(entry(**change)), ASKED).readings[0].posted_slot == 0


PRICE = {"price": "1", "conf": "1", "expo": -8, "publish_time": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"price": PRICE | {"price": "1.5"}},
        {"price": PRICE | {"price": 1}},
        {"price": PRICE | {"price": ""}},
        {"price": PRICE | {"price": "1\n"}},
        {"price": PRICE | {"price": "٣"}},
        {"price": PRICE | {"price": "9223372036854775808"}},
        {"price": PRICE | {"price": "1" * 5_000}},
        {"price": PRICE | {"conf": "-1"}},
        {"price": PRICE | {"conf": "18446744073709551616"}},
        {"price": PRICE | {"expo": 2**31}},
        {"price": PRICE | {"publish_time": 2**63}},
        {"price": None},
        {"ema_price": PRICE | {"expo": -7}},
        {"ema_price": PRICE | {"price": "x"}},
    ],
)
def test_nonsense_in_one_entry_costs_that_feed_alone(change):
    update = decode_update(body(entry(**change), entry(BTC)), ASKED)

    assert [each.feed_id for each in update.readings] == [BTC]
    assert update.faulty == (SOL,)


def test_a_feed_that_nobody_asked_for_is_counted_and_dropped():
    update = decode_update(body(entry("cd" * 32), {"id": 7}, {}, 3, entry(BTC)), ASKED)

    assert [each.feed_id for each in update.readings] == [BTC]
    assert (update.unasked, update.faulty) == (4, ())


def test_of_two_entries_of_a_feed_the_later_published_stays():
    update = decode_update(body(entry(published=20), entry(published=10)), ASKED)

    assert [each.publish_time for each in update.readings] == [20]


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        body(entry())[:200],
        b"null",
        b"[]",
        b"{}",
        b'{"parsed": null}',
        b'{"parsed": {}}',
        b"\xff\xfe",
        b'{"parsed":' + b"[" * 100_000,
    ],
)
def test_what_holds_no_prices_is_refused(text):
    with pytest.raises(HermesMalformed, match="holds no prices"):
        decode_update(text, ASKED)


def test_a_refusal_names_the_feeds_it_is_about():
    text = f"Price ids not found: 0x{SOL.upper()}, {'cd' * 32}, {BTC}0".encode()

    assert named_ids(text, ASKED) == {SOL}


@given(st.binary(max_size=80), st.integers(0, 600), st.integers(0, 255))
def test_any_bytes_are_an_update_or_the_one_error(foreign, place, byte):
    spoilt = bytearray(body(entry()))
    spoilt[place % len(spoilt)] = byte

    for text in (foreign, bytes(spoilt), bytes(spoilt[:place]), json.dumps(foreign.hex()).encode()):
        with suppress(HermesMalformed):
            assert isinstance(decode_update(text, ASKED), Update)
