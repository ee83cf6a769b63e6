"""How often something may be done: the latest times decide when the next one may come."""

from dataclasses import dataclass, replace

SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """At most `per_second` uses in any second, wherever that second begins.

    A bucket that refills evenly would let twice as many through around the moment it is full;
    this one remembers the latest `per_second` uses and is exact. Times are monotonic nanoseconds.
    """

    per_second: int
    used_ns: tuple[int, ...] = ()

    def wait_ns(self, now_ns: int) -> int:
        """Return how long to wait before the next use; 0 means that it may be now.

        >>> Rate(per_second=1, used_ns=(100,)).wait_ns(1_000_000_040)
        60
        """
        if len(self.used_ns) < self.per_second:
            return 0
        return max(0, self.used_ns[-self.per_second] + SECOND_NS - now_ns)

    def used(self, now_ns: int) -> "Rate":
        """Return the rate after a use at this time."""
        return replace(self, used_ns=(*self.used_ns, now_ns)[-self.per_second :])
