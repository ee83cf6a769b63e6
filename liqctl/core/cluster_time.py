"""The cluster's own time, as far as it can be believed."""

from dataclasses import dataclass, replace

SLOTS_PER_S_MAX = 10
SLOTS_AHEAD_MAX = 2_000
SECONDS_AHEAD_MAX = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Slot and time of one bank, and when we learned of them (steady milliseconds)."""

    slot: int
    unix_s: int
    at_ms: int

    def leads_to(self, later: "Reading") -> bool:
        """Whether a cluster could have come from here to there in the time between."""
        seconds = 2 * self._passed_ms(later.at_ms) // 1_000 + SECONDS_AHEAD_MAX
        in_time = later.unix_s <= self.unix_s + seconds
        return in_time and later.slot <= self.slot_max(later.at_ms)

    def slot_max(self, at_ms: int) -> int:
        """Return the highest slot that a cluster could have come to from here by then."""
        slots = self._passed_ms(at_ms) * SLOTS_PER_S_MAX // 1_000
        return self.slot + slots + SLOTS_AHEAD_MAX

    def _passed_ms(self, at_ms: int) -> int:
        return max(0, at_ms - self.at_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTime:
    """The newest slot and time believed; neither goes back.

    A bank far ahead of what can have passed is doubted: one absurd answer would make every price
    look old for good. It is believed when another one follows from it, as after this host slept.
    A first bank that is `alone` yet gives way to two others far behind it: it was the absurd one.
    """

    believed: Reading | None = None
    doubted: Reading | None = None
    alone: bool = False

    @property
    def slot(self) -> int:
        """The newest slot, 0 before the first."""
        return 0 if self.believed is None else self.believed.slot

    @property
    def unix_s(self) -> int:
        """The newest time, 0 before the first."""
        return 0 if self.believed is None else self.believed.unix_s

    def after(self, reading: Reading) -> "ClusterTime":
        """Return the time after a bank was seen."""
        last, doubted = self.believed, self.doubted
        if last is None:
            return ClusterTime(believed=reading, alone=True)
        forward = replace(reading, unix_s=max(last.unix_s, reading.unix_s))
        if self.alone and not reading.leads_to(last):
            forward = reading
        elif reading.slot < last.slot:
            return self
        elif last.leads_to(reading):
            return ClusterTime(believed=forward, alone=self.alone and reading.slot == last.slot)
        follows = doubted is not None and doubted.slot < reading.slot and doubted.leads_to(reading)
        return ClusterTime(believed=forward) if follows else replace(self, doubted=reading)

    def reaches(self, slot: int, at_ms: int) -> bool:
        """Whether the cluster can have come to a slot by now; before the first bank it can."""
        return self.believed is None or slot <= self.believed.slot_max(at_ms)
