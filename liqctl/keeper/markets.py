"""Every market with its mark price and with what was published, as others see it."""

from liqctl.core.engine import Engine
from liqctl.core.position import Market
from liqctl.core.price import FUTURE_S_MAX, PriceReading, confidence_bps, price_e6
from liqctl.core.price_policy import Choice
from liqctl.core.status import MarketStatus, SourceStatus
from liqctl.core.whatif import reading_of
from liqctl.ports import Venue

EXPONENT_SHOWN_MAX = 30


def market_statuses(venue: Venue, engine: Engine) -> tuple[MarketStatus, ...]:
    """Return the markets by symbol, those without a usable price with the word why."""
    found = [_status(venue, engine, market, price) for market, price in engine.markets()]
    return tuple(sorted(found, key=lambda each: (each.symbol, each.market)))


def _status(venue: Venue, engine: Engine, market: Market, price: int | str) -> MarketStatus:
    reading = reading_of(venue, market, engine.view)
    seen = engine.view.get(market.price_account)
    choice = engine.prices.choice(market, engine.view, engine.now_s)
    return MarketStatus(
        symbol=market.symbol,
        market=market.address,
        price_e6=None if isinstance(price, str) else price,
        refusal=str(price) if isinstance(price, str) else None,
        max_price_age_s=market.max_price_age_s,
        confidence_e6=None if reading is None else _shown_e6(reading.confidence, reading),
        confidence_bps=None if reading is None else confidence_bps(reading),
        publish_time_s=None if reading is None else reading.publish_time,
        age_s=None if reading is None else _shown_s(engine.now_s - reading.publish_time),
        source=None if reading is None else reading.source.value,
        slot=0 if seen is None else seen.slot,
        sources=sources_of(choice),
        doubt=None if choice.reason is None else choice.reason.value,
    )


def sources_of(choice: Choice) -> tuple[SourceStatus, ...]:
    """Return every source of a choice as others see it, in the order of preference."""
    return tuple(
        SourceStatus(
            source=view.key.source.value,
            address=view.key.address,
            price_e6=None
            if view.reading is None
            else _shown_e6(view.reading.mantissa, view.reading),
            age_s=None if view.age_s is None else _shown_s(view.age_s),
            confidence_bps=view.confidence_bps,
            refusal=None if view.refusal is None else view.refusal.value,
            jumped=view.jumped,
        )
        for view in choice.views
    )


def _shown_s(age_s: int) -> int:
    """Return an age as others see it: 0 for a price that is ahead of the cluster's clock.

    The clock moves by slots and may be a moment behind the publisher's. What is so far ahead that
    nothing is sent on it keeps its negative age.
    """
    return age_s if age_s < -FUTURE_S_MAX else max(age_s, 0)


def _shown_e6(figure: int, reading: PriceReading) -> int | None:
    """Return a figure of a reading in 1e-6 quote, None where its exponent is absurd."""
    if abs(reading.exponent) > EXPONENT_SHOWN_MAX:
        return None
    return price_e6(figure, reading.exponent)
