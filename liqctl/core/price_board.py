"""The latest price of every source, and whether it jumped."""

from dataclasses import dataclass

from liqctl.core.jump import Trail
from liqctl.core.price import PriceReading, PriceSource, from_future


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceKey:
    """What names a price: its source, and there the address of an account or the id of a feed."""

    source: PriceSource
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A reading, and whether it jumped and still waits for a later one that agrees with it."""

    reading: PriceReading
    jumped: bool = False


class PriceBoard:
    """Holds one reading per source and address: as many as are handed in, none grows old here.

    The address is where a reading was found and not the feed it claims to be, so that an account
    that lies about its feed can displace no other market's price.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._latest: dict[SourceKey, PriceReading] = {}
        self._trails: dict[SourceKey, Trail] = {}

    def take(self, reading: PriceReading, now_s: int, *, jump_bps_max: int) -> bool:
        """Keep a reading unless it is older than the one held; return whether it was kept.

        More than `jump_bps_max` from the price before is a jump. One that is ahead of the clock by
        too much gives way to any other.
        """
        key = SourceKey(source=reading.source, address=reading.address)
        held = self._latest.get(key)
        if held is not None and _older(reading, held) and not from_future(held, now_s):
            return False
        self._latest[key] = reading
        if not from_future(reading, now_s):
            trail = self._trails.get(key, Trail())
            self._trails[key] = trail.after(reading, jump_bps_max)
        return True

    def forget(self, key: SourceKey) -> None:
        """Drop the reading of an account that is gone, or of a feed that the service lost."""
        self._latest.pop(key, None)
        self._trails.pop(key, None)

    def get(self, key: SourceKey) -> Observed | None:
        """Return what a source says now, as a value that no later reading changes."""
        reading = self._latest.get(key)
        if reading is None:
            return None
        return Observed(reading=reading, jumped=self._trails.get(key, Trail()).jumped is not None)


def _older(one: PriceReading, other: PriceReading) -> bool:
    return (one.publish_time, one.posted_slot) < (other.publish_time, other.posted_slot)
