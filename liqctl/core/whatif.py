"""Prices that nobody published, in the place of those that a venue's verdicts are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol, cast, runtime_checkable

from liqctl.core.account import Seen
from liqctl.core.position import Market
from liqctl.core.price import PriceReading

E6 = -6


@runtime_checkable
class HoldsPrices(Protocol):
    """A venue whose prices do not stand one to an account, at the market's price account."""

    def reading_of(self, market: Market, view: Mapping[str, Seen]) -> PriceReading | None:
        """Return the published price of a market, or None while there is none."""
        ...

    def with_reading(
        self, market: Market, view: Mapping[str, Seen], reading: PriceReading
    ) -> Mapping[str, Seen]:
        """Return the view with another price of a market."""
        ...


@cache
def _holds_prices(kind: type) -> bool:
    """Whether a kind of venue does; finding that out takes longer than a verdict."""
    return issubclass(kind, HoldsPrices)


def reading_of(venue: object, market: Market, view: Mapping[str, Seen]) -> PriceReading | None:
    """Return the published price that a market's verdicts are made of, accepted or not."""
    if _holds_prices(type(venue)):  # type: ignore[arg-type]  # classes do hash
        return cast("HoldsPrices", venue).reading_of(market, view)
    seen = view.get(market.price_account)
    return seen.value if seen is not None and isinstance(seen.value, PriceReading) else None


def with_reading(
    venue: object, market: Market, view: Mapping[str, Seen], reading: PriceReading
) -> Mapping[str, Seen]:
    """Return the view with another published price of a market."""
    if _holds_prices(type(venue)):  # type: ignore[arg-type]  # classes do hash
        return cast("HoldsPrices", venue).with_reading(market, view, reading)
    seen = view[market.price_account]
    return {**view, market.price_account: replace(seen, value=reading)}


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


def republished(reading: PriceReading, other: PriceReading) -> PriceReading:
    """Return the reading as if it had told another one's price and confidence, at its own time.

    The exponent stays, as its program expects it: the price is rounded down, its confidence up.
    """
    shift = other.exponent - reading.exponent
    times, into = 10 ** max(shift, 0), 10 ** max(-shift, 0)
    return replace(
        reading,
        mantissa=other.mantissa * times // into,
        confidence=-(-other.confidence * times // into),
        ema_mantissa=other.ema_mantissa * times // into,
        ema_confidence=-(-other.ema_confidence * times // into),
    )
