"""How much the keeper's counters grew lately: what rates and averages are taken from."""

from collections import deque
from dataclasses import dataclass

from liqctl.core.status import Status

SAMPLES = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Sums over the time of a trail; decision latencies in microseconds."""

    landed: int = 0
    failed: int = 0
    decisions: int = 0
    decisions_us: int = 0
    disagreements: int = 0

    def since(self, before: "Growth") -> "Growth":
        """Return what came on top of an earlier count."""
        return Growth(
            landed=self.landed - before.landed,
            failed=self.failed - before.failed,
            decisions=self.decisions - before.decisions,
            decisions_us=self.decisions_us - before.decisions_us,
            disagreements=self.disagreements - before.disagreements,
        )


class Trail:
    """The counters of one keeper over a window, in a bounded number of samples."""

    def __init__(self, window_ms: int) -> None:
        """Begin with nothing known."""
        self._window_ms = window_ms
        self._apart_ms = max(window_ms // SAMPLES, 1)
        self._samples: deque[tuple[int, Growth]] = deque(maxlen=SAMPLES + 2)

    def grown(self, status: Status, now_ms: int) -> Growth:
        """Take in the counters as they are now and return what they grew within the window.

        At the start that is since the first look. The window is kept to a sixtieth of its length.
        """
        now = _counted(status)
        samples = self._samples
        if not samples or now_ms - samples[-1][0] >= self._apart_ms:
            samples.append((now_ms, now))
        while len(samples) > 1 and samples[1][0] <= now_ms - self._window_ms:
            samples.popleft()
        return now.since(samples[0][1])


def _counted(status: Status) -> Growth:
    return Growth(
        landed=status.full + status.partial,
        failed=status.failed,
        decisions=status.decision_us.count,
        decisions_us=status.decision_us.sum,
        disagreements=status.shadow_disagreements,
    )
