"""What the keeper measures of itself while it works; cheap enough for every tick."""

from bisect import bisect_left
from collections import deque
from itertools import accumulate

from liqctl.core.status import Histogram, Pulse

NS_PER_MS = 1_000_000
DECISION_BOUNDS_US = tuple(ms * 1_000 for ms in (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500))
LANDING_BOUNDS_MS = (250, 500, 1_000, 1_500, 2_000, 3_000, 5_000, 10_000, 30_000, 60_000, 120_000)
LANDING_BOUNDS_SLOTS = (1, 2, 3, 5, 8, 13, 25, 50, 100, 150, 300)
BATCH_BOUNDS_US = (100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000)
WINDOW_NS = 10_000 * NS_PER_MS
MINUTE_NS = 60_000 * NS_PER_MS


class Observations:
    """Counts observations by bounds, without keeping any."""

    def __init__(self, bounds: tuple[int, ...]) -> None:
        """Start empty; the bounds ascend."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0

    def add(self, value: int) -> None:
        """Count one; an observation equal to a bound is within it."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def histogram(self) -> Histogram:
        """Return what was counted, each bound with all that is below it."""
        *within, count = accumulate(self._counts)
        return Histogram(bounds=self._bounds, counts=tuple(within), count=count, sum=self._sum)


class Speeds:
    """How fast attempts went out and landed."""

    def __init__(self) -> None:
        """Start empty."""
        self.decision_us = Observations(DECISION_BOUNDS_US)
        self.landing_ms = Observations(LANDING_BOUNDS_MS)
        self.landing_slots = Observations(LANDING_BOUNDS_SLOTS)

    def launched(self, latency_us: int | None) -> None:
        """Note a first send; None where no notice of a price led to it."""
        if latency_us is not None:
            self.decision_us.add(latency_us)

    def landed(self, slots: int, took_ns: int | None) -> None:
        """Note a landing: slots since that of the decision, time since the notice."""
        self.landing_slots.add(slots)
        if took_ns is not None:
            self.landing_ms.add(took_ns // NS_PER_MS)


class WindowMax:
    """The largest of the latest values: of the window of 10 s that runs and the one before."""

    def __init__(self) -> None:
        """Start at zero."""
        self._window = 0
        self._maxima = (0, 0)

    def add(self, value: int, now_ns: int) -> None:
        """Take a value in."""
        earlier, present = self._at(now_ns)
        self._maxima = (earlier, max(present, value))

    def read(self, now_ns: int) -> int:
        """Return the largest."""
        return max(self._at(now_ns))

    def _at(self, now_ns: int) -> tuple[int, int]:
        """Return both maxima, moved on to this time."""
        window = now_ns // WINDOW_NS
        if window != self._window:
            kept = self._maxima[1] if window == self._window + 1 else 0
            self._window, self._maxima = window, (kept, 0)
        return self._maxima


class Growth:
    """How much a count grew within the last minute; ask about once a second."""

    def __init__(self) -> None:
        """Start without a reading."""
        self._readings: deque[tuple[int, int]] = deque()

    def since_a_minute(self, count: int, now_ns: int) -> int:
        """Return the growth up to this count; in the first minute, that since the start."""
        if not self._readings:
            self._readings.append((now_ns, 0))
        elif now_ns - self._readings[-1][0] >= MINUTE_NS // 60:
            self._readings.append((now_ns, count))
        while len(self._readings) > 1 and now_ns - self._readings[1][0] >= MINUTE_NS:
            self._readings.popleft()
        return count - self._readings[0][1]


class Vitals:
    """What the decide loop notes of each turn."""

    def __init__(self, now_ns: int) -> None:
        """Start now."""
        self._batch_us = Observations(BATCH_BOUNDS_US)
        self._depth = WindowMax()
        self._lag_us = WindowMax()
        self._slot = 0
        self._slot_ns = now_ns
        self._held: str | None = None
        self._held_ns = now_ns
        self.rpc_errors = Growth()

    def absorbed(self, depth: int, began_ns: int, now_ns: int, slot: int) -> None:
        """Note a batch of so many values, and the slot that the cluster is at after it."""
        if depth:
            self._batch_us.add((now_ns - began_ns) // 1_000)
            self._depth.add(depth, now_ns)
        if slot > self._slot:
            self._slot, self._slot_ns = slot, now_ns

    def slept(self, late_ns: int, now_ns: int) -> None:
        """Note by how much a sleep ended late: so long nothing else came to its turn either."""
        self._lag_us.add(max(late_ns, 0) // 1_000, now_ns)

    def slot_age_ms(self, now_ns: int) -> int:
        """Return for how long the cluster has not moved on, as far as it was seen."""
        return (now_ns - self._slot_ns) // NS_PER_MS

    def held_ms(self, reason: str | None, now_ns: int) -> int | None:
        """Return for how long this reason has held the keeper; ask about once a second."""
        if reason != self._held:
            self._held, self._held_ns = reason, now_ns
        return None if reason is None else (now_ns - self._held_ns) // NS_PER_MS

    def pulse(self, now_ns: int) -> Pulse:
        """Return how the process does."""
        return Pulse(
            loop_lag_us_max=self._lag_us.read(now_ns),
            mailbox_depth_max=self._depth.read(now_ns),
            batch_us=self._batch_us.histogram(),
        )
