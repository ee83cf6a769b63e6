"""Oracle prices: what was published, when it may be used, and its value in 1e-6 quote."""

from dataclasses import dataclass
from enum import StrEnum

from liqctl.core.fixed import BPS, U64_MAX

EXPONENT_MIN = -18
FUTURE_S_MAX = 5


class PriceRefusal(StrEnum):
    """Why a price is not used; each has its own word in counts, logs and answers."""

    MISSING = "price_missing"
    WRONG_OWNER = "price_wrong_owner"
    WRONG_TYPE = "price_wrong_type"
    NOT_FULLY_VERIFIED = "price_not_fully_verified"
    WRONG_FEED = "price_wrong_feed"
    NOT_POSITIVE = "price_not_positive"
    BAD_EXPONENT = "price_bad_exponent"
    STALE = "price_stale"
    TOO_WIDE = "price_too_wide"
    TOO_SMALL = "price_too_small"
    TOO_LARGE = "price_too_large"
    FROM_FUTURE = "price_from_future"


class PriceSource(StrEnum):
    """Where a price stands: the kind of its account, or the service that sent it.

    A push feed is a price update at the address that its push program keeps for the feed.
    """

    PUSH_FEED = "push_feed"
    PRICE_UPDATE = "price_update"
    LEGACY = "legacy"
    CUSTOM = "custom"
    HERMES = "hermes"
    DOVES = "doves"


# No program owns the prices of Hermes.
HERMES_OWNER = "hermes"

ON_CHAIN = (
    PriceSource.PUSH_FEED,
    PriceSource.PRICE_UPDATE,
    PriceSource.LEGACY,
    PriceSource.CUSTOM,
    PriceSource.DOVES,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceReading:
    """A published price as it stands in an account: value = mantissa * 10**exponent.

    `confidence` has the exponent of the price. `fully_verified` is False when fewer signatures
    than a full guardian set were checked. The moving average has the exponent and the publish
    time of the price; kinds of accounts that nobody reads it from leave it at zero.
    """

    address: str
    owner: str
    feed_id: str
    mantissa: int
    exponent: int
    confidence: int
    publish_time: int
    fully_verified: bool
    posted_slot: int
    source: PriceSource = PriceSource.PRICE_UPDATE
    ema_mantissa: int = 0
    ema_confidence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRules:
    """What a reading must satisfy; both limits pass at equality."""

    owner: str
    feed_id: str
    age_s_max: int
    confidence_bps_max: int


def refusal(reading: PriceReading, rules: PriceRules, now_s: int) -> PriceRefusal | None:
    """Return the first reason not to use the reading at `now_s`, or None.

    The order is that of the reference program, so that reasons agree. A publish time in the
    future passes here; `from_future` is the separate limit for sending.
    """
    if reading.owner != rules.owner:
        return PriceRefusal.WRONG_OWNER
    if not reading.fully_verified:
        return PriceRefusal.NOT_FULLY_VERIFIED
    if reading.feed_id != rules.feed_id:
        return PriceRefusal.WRONG_FEED
    return _refused_value(reading) or _refused_quality(reading, rules, now_s)


def _refused_value(reading: PriceReading) -> PriceRefusal | None:
    if reading.mantissa <= 0:
        return PriceRefusal.NOT_POSITIVE
    if not EXPONENT_MIN <= reading.exponent <= 0:
        return PriceRefusal.BAD_EXPONENT
    return None


def _refused_quality(reading: PriceReading, rules: PriceRules, now_s: int) -> PriceRefusal | None:
    if now_s - reading.publish_time > rules.age_s_max:
        return PriceRefusal.STALE
    if reading.confidence * BPS > rules.confidence_bps_max * reading.mantissa:
        return PriceRefusal.TOO_WIDE
    value = price_e6(reading.mantissa, reading.exponent)
    if value == 0:
        return PriceRefusal.TOO_SMALL
    if value > U64_MAX:
        return PriceRefusal.TOO_LARGE
    return None


def from_future(reading: PriceReading, now_s: int) -> bool:
    """Return whether the publish time is too far ahead of the cluster's clock to send on it."""
    return reading.publish_time - now_s > FUTURE_S_MAX


def price_e6(mantissa: int, exponent: int) -> int:
    """Return mantissa * 10**exponent in 1e-6 quote, rounded down (against longs, for shorts).

    >>> price_e6(15679769099, -8)
    156797690
    """
    shift = exponent + 6
    scale: int = 10 ** abs(shift)
    return mantissa * scale if shift >= 0 else mantissa // scale


def confidence_bps(reading: PriceReading) -> int:
    """Return confidence / price in basis points, rounded up; for display."""
    return -(-reading.confidence * BPS // reading.mantissa) if reading.mantissa > 0 else BPS
