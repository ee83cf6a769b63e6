"""The circuit breaker of one endpoint: what failed or lied rests, then one call tries it out."""

_NS_PER_S = 1_000_000_000
_STEADY = 10


class EndpointBreaker:
    """Closed, open until a time, or half-open with one call on trial.

    `failures_max` failures in a row open it, a lie opens it at once. The pause doubles with each
    opening up to `pause_s_max` and starts afresh after ten successes in a row. What a call that
    began earlier finds out while the breaker is open changes nothing, except a lie.
    """

    def __init__(self, failures_max: int, pause_s: float, pause_s_max: float) -> None:
        """Start closed."""
        self._failures_max = failures_max
        self._pause_s = pause_s
        self._pause_s_max = pause_s_max
        self._failures = 0
        self._successes = 0
        self._in_a_row = 0
        self._open_until_ns: int | None = None
        self._on_trial = False
        self.openings = 0

    @property
    def closed(self) -> bool:
        """Whether the endpoint is in ordinary use."""
        return self._open_until_ns is None

    def admits(self, now_ns: int) -> bool:
        """Return whether a call may begin now."""
        if self._open_until_ns is None:
            return True
        return now_ns >= self._open_until_ns and not self._on_trial

    def rest_s(self, now_ns: int) -> float:
        """Return the seconds until the next trial; 0 when a call may begin or one is on trial."""
        until_ns = now_ns if self._open_until_ns is None else self._open_until_ns
        return max(until_ns - now_ns, 0) / _NS_PER_S

    def begin(self) -> int:
        """Begin a call that is admitted; return the number of the opening it is a trial of, or 0."""
        if self.closed:
            return 0
        self._on_trial = True
        return self.openings

    def abandoned(self, *, trial: int) -> None:
        """Note that a call was cancelled: it says nothing about the endpoint."""
        if trial == self.openings:
            self._on_trial = False

    def succeeded(self, *, trial: int) -> None:
        """Note an answer; that of a trial closes the breaker."""
        if trial and trial == self.openings:
            self._on_trial = False
            self._open_until_ns = None
        if self.closed:
            self._failures = 0
            self._successes += 1
            if self._successes >= _STEADY:
                self._in_a_row = 0

    def failed(self, now_ns: int, *, trial: int) -> bool:
        """Note a failure; return whether it opened the breaker."""
        self._successes = 0
        if self.closed:
            self._failures += 1
        if (trial and trial == self.openings) or self._failures >= self._failures_max:
            self._open(now_ns)
            return True
        return False

    def lied(self, now_ns: int) -> None:
        """Note a proven lie: the breaker opens at once."""
        self._successes = 0
        self._open(now_ns)

    def _open(self, now_ns: int) -> None:
        pause_s = min(self._pause_s * 2.0 ** min(self._in_a_row, 32), self._pause_s_max)
        self._open_until_ns = now_ns + round(pause_s * _NS_PER_S)
        self._on_trial = False
        self._failures = 0
        self._in_a_row += 1
        self.openings += 1
