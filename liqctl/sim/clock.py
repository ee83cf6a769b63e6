"""The clock port on virtual time."""

import asyncio


class SimClock:
    """A host's clock: its wall time may be wrong by `offset_ms`, which may change at any time."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, start_unix_ms: int, offset_ms: int = 0
    ) -> None:
        """Read `start_unix_ms + offset_ms` at the virtual time 0."""
        self._loop = loop
        self._start_unix_ms = start_unix_ms
        self.offset_ms = offset_ms

    def unix_ms(self) -> int:
        """Return this host's wall time in milliseconds since 1970, rounded down."""
        return self._start_unix_ms + self.offset_ms + self.monotonic_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Return the virtual time in nanoseconds; no offset touches it."""
        return round(self._loop.time() * 1e9)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)
