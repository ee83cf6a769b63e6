"""Prices that nobody published: for questions about a position, never for a decision."""

from dataclasses import dataclass, replace

from liqctl.core.price import PriceReading

E6 = -6


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A published price less and plus its confidence; each edge is certain."""

    low: PriceReading
    high: PriceReading


def band(reading: PriceReading) -> Band:
    """Return both edges of a reading's confidence, at its publish time.

    An edge at or below zero is no price, as every program says.
    """
    return Band(low=_moved(reading, -1), high=_moved(reading, 1))


def _moved(reading: PriceReading, sign: int) -> PriceReading:
    return replace(
        reading,
        mantissa=reading.mantissa + sign * reading.confidence,
        confidence=0,
        ema_mantissa=reading.ema_mantissa + sign * reading.ema_confidence,
        ema_confidence=0,
    )


def supposed(reading: PriceReading, price_e6: int, now_s: int) -> PriceReading:
    """Return the reading as if exactly this price had been published just now.

    The price is in 1e-6 quote. Spot and moving average are the same, and certain.

    >>> from liqctl.core.price import PriceReading
    >>> old = PriceReading(address="a", owner="o", feed_id="f", mantissa=15_000_000_000,
    ...     exponent=-8, confidence=9, publish_time=1, fully_verified=True, posted_slot=1)
    >>> new = supposed(old, 120_000_001, 60)
    >>> new.mantissa, new.exponent, new.confidence, new.publish_time
    (12000000100, -8, 0, 60)
    """
    exponent = min(reading.exponent, E6)
    mantissa = price_e6 * 10 ** (E6 - exponent)
    return replace(
        reading,
        mantissa=mantissa,
        exponent=exponent,
        confidence=0,
        publish_time=now_s,
        ema_mantissa=mantissa,
        ema_confidence=0,
    )
