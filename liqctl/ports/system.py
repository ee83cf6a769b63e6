"""Time and chance, and the few lines that really read them."""

import asyncio
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Time of this host: wall time for records, monotonic time for waiting."""

    def unix_ms(self) -> int:
        """Return the wall time in milliseconds since 1970."""
        ...

    def monotonic_ns(self) -> int:
        """Return a time that never goes back, in nanoseconds."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class Rng(Protocol):
    """Chance: jitter, identifiers, scenarios."""

    def random(self) -> float:
        """Return a float in [0, 1)."""
        ...

    def token(self, length: int) -> str:
        """Return `length` lower-case hexadecimal digits."""
        ...


class SystemClock:
    """The clock of this host."""

    def unix_ms(self) -> int:
        """Return the wall time in milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        """Return a time that never goes back, in nanoseconds."""
        return time.monotonic_ns()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class SystemRng:
    """Chance from the operating system, or from a seed."""

    def __init__(self, seed: int | None = None) -> None:
        """Draw from the system without a seed, reproducibly with one."""
        self._source = random.SystemRandom() if seed is None else random.Random(seed)  # noqa: S311 - scenarios, not secrets

    def random(self) -> float:
        """Return a float in [0, 1)."""
        return self._source.random()

    def token(self, length: int) -> str:
        """Return `length` lower-case hexadecimal digits."""
        return f"{self._source.getrandbits(4 * length):0{length}x}"
