"""Answers of Hermes, Pyth's price service: a body to readings, feed by feed."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

import msgspec

from liqctl.core.fixed import I64_MAX, I64_MIN, U64_MAX
from liqctl.core.price import HERMES_OWNER, PriceReading, PriceSource
from liqctl.errors import HermesMalformed

_FEED_ID = re.compile(r"(?:0[xX])?([0-9a-fA-F]{64})", re.ASCII)
_NAMED_ID = re.compile(rb"(?<![0-9a-fA-F])(?:0[xX])?([0-9a-fA-F]{64})(?![0-9a-fA-F])")

_Digits = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]{1,20}\Z", max_length=21)]
_I64 = Annotated[int, msgspec.Meta(ge=I64_MIN, le=I64_MAX)]
_I32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]


class _PriceForm(msgspec.Struct):
    price: _Digits
    conf: _Digits
    expo: _I32
    publish_time: _I64


class _MetadataForm(msgspec.Struct):
    slot: int | None = None


class _EntryForm(msgspec.Struct):
    id: str
    price: _PriceForm
    ema_price: _PriceForm | None = None
    metadata: _MetadataForm | None = None


class _NameForm(msgspec.Struct):
    id: str


class _UpdateForm(msgspec.Struct):
    parsed: list[msgspec.Raw]


_UPDATE = msgspec.json.Decoder(_UpdateForm)
_ENTRY = msgspec.json.Decoder(_EntryForm)
_NAME = msgspec.json.Decoder(_NameForm)
_FAULTS = (msgspec.MsgspecError, UnicodeError, RecursionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What one answer says: a reading per feed, and the feeds whose entry cannot be read.

    `unasked` counts entries of feeds that nobody asked for, or of none.
    """

    readings: tuple[PriceReading, ...]
    faulty: tuple[str, ...] = ()
    unasked: int = 0


def feed_id_of(text: str) -> str | None:
    """Return a feed's id in the one spelling used here, or None when it is none.

    >>> feed_id_of("0x" + "AB" * 32) == "ab" * 32
    True
    """
    found = _FEED_ID.fullmatch(text.strip())
    return None if found is None else found[1].lower()


def decode_update(body: bytes, asked: Collection[str]) -> Update:
    """Return the prices of the feeds that were asked for, by normalised id.

    An entry that cannot be read costs its own feed only. Of several entries of a feed the latest
    published stays. Nobody's signatures were checked, which `fully_verified` says.

    Raises:
        HermesMalformed: the body is no such answer at all.
    """
    try:
        entries = _UPDATE.decode(body).parsed
    except _FAULTS as error:
        raise HermesMalformed("the price service sent something that holds no prices") from error
    latest: dict[str, PriceReading] = {}
    faulty: dict[str, None] = {}
    unasked = 0
    for entry in entries:
        feed_id = _name(entry)
        if feed_id is None or feed_id not in asked:
            unasked += 1
            continue
        reading = _reading(feed_id, entry)
        if reading is None:
            faulty[feed_id] = None
        elif feed_id not in latest or latest[feed_id].publish_time <= reading.publish_time:
            latest[feed_id] = reading
    return Update(
        readings=tuple(latest.values()),
        faulty=tuple(feed_id for feed_id in faulty if feed_id not in latest),
        unasked=unasked,
    )


def named_ids(body: bytes, asked: Collection[str]) -> frozenset[str]:
    """Return which of the feeds asked for the text of a refusal names."""
    named = {found.decode().lower() for found in _NAMED_ID.findall(body)}
    return frozenset(named.intersection(asked))


def _name(entry: msgspec.Raw) -> str | None:
    try:
        return feed_id_of(_NAME.decode(entry).id)
    except _FAULTS:
        return None


def _reading(feed_id: str, entry: msgspec.Raw) -> PriceReading | None:
    try:
        form = _ENTRY.decode(entry)
    except _FAULTS:
        return None
    average = form.ema_price or form.price
    spot, ema = _numbers(form.price), _numbers(average)
    if spot is None or ema is None or average.expo != form.price.expo:
        return None
    slot = form.metadata.slot if form.metadata is not None else None
    return PriceReading(
        address=feed_id,
        owner=HERMES_OWNER,
        feed_id=feed_id,
        mantissa=spot[0],
        exponent=form.price.expo,
        confidence=spot[1],
        publish_time=form.price.publish_time,
        fully_verified=False,
        posted_slot=slot if slot is not None and 0 <= slot <= U64_MAX else 0,
        source=PriceSource.HERMES,
        ema_mantissa=ema[0],
        ema_confidence=ema[1],
    )


def _numbers(form: _PriceForm) -> tuple[int, int] | None:
    """Return mantissa and confidence where they fit the widths that they are published in."""
    mantissa, confidence = int(form.price), int(form.conf)
    fits = I64_MIN <= mantissa <= I64_MAX and 0 <= confidence <= U64_MAX
    return (mantissa, confidence) if fits else None
