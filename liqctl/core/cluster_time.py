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
        passed_ms = max(0, later.at_ms - self.at_ms)
        slots = passed_ms * SLOTS_PER_S_MAX // 1_000 + SLOTS_AHEAD_MAX
        seconds = 2 * passed_ms // 1_000 + SECONDS_AHEAD_MAX
        return later.slot <= self.slot + slots and later.unix_s <= self.unix_s + seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTime:
    """The newest slot and time believed; neither goes back.

    A bank far ahead of what can have passed is doubted: one absurd answer would make every price
    look old for good. It is believed when another one follows from it, as after this host slept.
    """

    believed: Reading | None = None
    doubted: Reading | None = None

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
        last = self.believed
        if last is None:
            return ClusterTime(believed=reading)
        if reading.slot < last.slot:
            return self
        forward = replace(reading, unix_s=max(last.unix_s, reading.unix_s))
        if last.leads_to(reading):
            return ClusterTime(believed=forward)
        doubted = self.doubted
        follows = doubted is not None and doubted.slot < reading.slot and doubted.leads_to(reading)
        return ClusterTime(believed=forward) if follows else replace(self, doubted=reading)
