"""Prices that jump: one that is far from the last is believed when a later one agrees with it."""

from dataclasses import dataclass, replace

from liqctl.core.fixed import BPS
from liqctl.core.price import PriceReading

SCALE_EXPONENT = -18
EXPONENT_MAX = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A published price in 1e-18, and when it was published."""

    price_e18: int
    publish_time: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trail:
    """What one price account has shown: the last price believed, and one that jumped since."""

    believed: Point | None = None
    jumped: Point | None = None

    def after(self, reading: PriceReading, bps_max: int) -> "Trail":
        """Return the trail after a reading; more than `bps_max` from the last one is a jump.

        The first reading is believed, there being nothing to compare it with. A jump is believed
        when another reading, published later, is within the same distance of it. A reading that
        is no usable price at all changes nothing.
        """
        point = _point(reading)
        if point is None:
            return self
        if self.believed is None or _near(self.believed, point, bps_max):
            return Trail(believed=point)
        jumped = self.jumped
        if jumped is None or not _near(jumped, point, bps_max):
            return replace(self, jumped=point)
        later = point.publish_time > jumped.publish_time
        return Trail(believed=point) if later else self


def _point(reading: PriceReading) -> Point | None:
    if reading.mantissa <= 0 or not SCALE_EXPONENT <= reading.exponent <= EXPONENT_MAX:
        return None
    price_e18 = reading.mantissa * 10 ** (reading.exponent - SCALE_EXPONENT)
    return Point(price_e18=price_e18, publish_time=reading.publish_time)


def _near(one: Point, other: Point, bps_max: int) -> bool:
    return abs(one.price_e18 - other.price_e18) * BPS <= one.price_e18 * bps_max
