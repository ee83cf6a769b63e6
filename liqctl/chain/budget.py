"""How often an endpoint may be asked: a token bucket that hands out turns ahead of time."""

_NS_PER_S = 1_000_000_000


class Budget:
    """At most `burst` requests at once and `per_s` a second in the long run.

    In any span of t seconds no more than `burst + per_s * t` turns begin. A turn that was taken
    and not used is lost: that errs for the endpoint.
    """

    def __init__(self, per_s: int, burst: int) -> None:
        """Start with a full bucket."""
        self._step_ns = -(-_NS_PER_S // per_s)
        self._slack_ns = (burst - 1) * self._step_ns
        self._empty_until_ns: int | None = None

    def turn(self, now_ns: int, wait_s_max: float) -> float | None:
        """Take the next turn and return the seconds until it begins; None if that is too long."""
        full_ns = now_ns if self._empty_until_ns is None else self._empty_until_ns
        wait_ns = max(full_ns - self._slack_ns - now_ns, 0)
        if wait_ns > wait_s_max * _NS_PER_S:
            return None
        self._empty_until_ns = max(full_ns, now_ns) + self._step_ns
        return wait_ns / _NS_PER_S
