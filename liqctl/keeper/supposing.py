"""What a venue would say at other prices, and the price at which its verdict flips."""

from collections.abc import Mapping
from dataclasses import dataclass

from liqctl.core.account import Seen
from liqctl.core.fixed import U64_MAX
from liqctl.core.health import ESTIMATE_ONLY, Assessment
from liqctl.core.position import Market, Position, Side
from liqctl.core.price import PriceReading
from liqctl.core.whatif import reading_of, supposed, with_reading
from liqctl.ports import Venue


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """Two prices in 1e-6 quote, one unit apart, between which the verdict changes."""

    liquidatable_e6: int
    healthy_e6: int


def with_price(
    venue: Venue, market: Market, view: Mapping[str, Seen], price_e6: int, now_s: int
) -> Mapping[str, Seen] | None:
    """Return the view as if exactly this price were published now; None without any price."""
    reading = reading_of(venue, market, view)
    if reading is None:
        return None
    return with_reading(venue, market, view, supposed(reading, price_e6, now_s))


def falls(verdict: Assessment) -> bool | None:
    """Return the verdict, or where there is only ever an estimate what that says.

    None: not even that, because something is missing.
    """
    if verdict.liquidatable is None and verdict.unknown_reason == ESTIMATE_ONLY:
        # Without a rule there is no margin either, and no estimate.
        return verdict.equity < verdict.maintenance_margin if verdict.notional else None
    return verdict.liquidatable


def flip(venue: Venue, position: Position, view: Mapping[str, Seen], now_s: int) -> Flip | None:
    """Return where the verdict flips: both prices were assessed, one unit of 1e-6 apart.

    The venue's own liquidation price is tried first; where the verdict does not flip at it, the
    flip next to the present price is searched. None: no price changes the verdict, or it cannot
    be had.
    """
    seen = view.get(position.market)
    market = seen.value if seen is not None and isinstance(seen.value, Market) else None
    reading = None if market is None else reading_of(venue, market, view)
    if market is None or reading is None:
        return None
    search = _Search(venue, position, market, reading, view, now_s)
    bound = venue.bound_price_e6(position, view)
    if bound is not None and 0 < bound < U64_MAX and (found := search.at(bound)) is not None:
        return found
    return search.around(_mid_e6(reading) or bound or position.entry_price_e6)


def _mid_e6(reading: PriceReading) -> int:
    """Return the price in 1e-6, or 0 where it is none that a search can start at."""
    if reading.mantissa <= 0 or not -30 <= reading.exponent <= 12:
        return 0
    shift = reading.exponent + 6
    scale: int = 10 ** abs(shift)
    return min(reading.mantissa * scale if shift >= 0 else reading.mantissa // scale, U64_MAX)


class _Search:
    """Verdicts on one position at supposed prices of its market."""

    def __init__(
        self,
        venue: Venue,
        position: Position,
        market: Market,
        reading: PriceReading,
        view: Mapping[str, Seen],
        now_s: int,
    ) -> None:
        self._venue = venue
        self._position = position
        self._market = market
        self._reading = reading
        self._view = view
        self._now_s = now_s
        # Towards this side lie the prices at which the position is liquidatable.
        self._step = -1 if position.side is Side.LONG else 1

    def _falls(self, price_e6: int) -> bool | None:
        reading = supposed(self._reading, price_e6, self._now_s)
        view = with_reading(self._venue, self._market, self._view, reading)
        return falls(self._venue.assess(self._position, view, self._now_s))

    def at(self, price_e6: int) -> Flip | None:
        """Return the flip at this very price, or None where there is none."""
        if self._falls(price_e6) is True and self._falls(price_e6 - self._step) is False:
            return Flip(liquidatable_e6=price_e6, healthy_e6=price_e6 - self._step)
        return None

    def around(self, price_e6: int) -> Flip | None:
        """Return the flip that a walk from this price finds first, in steps that double."""
        start = max(price_e6, 1)
        here = self._falls(start)
        if here is None:
            return None
        towards = -self._step if here else self._step
        known, width, growth = start, max(start // 64, 1), 2
        while width:
            there = min(max(known + towards * width, 1), U64_MAX)
            found = here if there == known else self._falls(there)
            if found is None or there == known:
                width, growth = width // 2, 1  # too far: a number left its width, or the end
            elif found is here:
                known, width = there, width * growth
            else:
                return self._between(known, there) if here else self._between(there, known)
        return None

    def _between(self, liquidatable: int, healthy: int) -> Flip | None:
        while abs(liquidatable - healthy) > 1:
            middle = (liquidatable + healthy) // 2
            found = self._falls(middle)
            if found is None:
                return None
            if found:
                liquidatable = middle
            else:
                healthy = middle
        return Flip(liquidatable_e6=liquidatable, healthy_e6=healthy)
