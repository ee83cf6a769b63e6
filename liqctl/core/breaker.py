"""The circuit breaker: what went wrong in a row decides how long nothing new is started."""

from dataclasses import dataclass, replace

FOREVER_MS = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRules:
    """When the breaker opens.

    `failures_max` consecutive failures on chain open it for `pause_ms`, doubling each time up to
    `pause_ms_max`, and so do `unprofitable_max` consecutive successes that cost more than they
    brought, and a program that says it is paused. More than `share_permille_max` of all positions
    turning liquidatable by one tick open it too, from `crowd_min` positions on: a price that does
    that is more likely wrong than right. What the venue calls a bug, and accounts of another
    layout than the venue knows, open it until a person resumes.
    """

    failures_max: int = 5
    unprofitable_max: int = 3
    pause_ms: int = 60_000
    pause_ms_max: int = 3_600_000
    share_permille_max: int = 500
    crowd_min: int = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """The state of the breaker; `open_until_ms` is 0 while it is closed."""

    rules: BreakerRules
    failures: int = 0
    losses: int = 0
    openings: int = 0
    open_until_ms: int = 0
    reason: str = ""

    def holds(self, now_ms: int) -> str | None:
        """Return why nothing may be started now, or None."""
        return self.reason if now_ms < self.open_until_ms else None

    def landed(self) -> "Breaker":
        """Return the breaker after a success: counts start afresh, an open one stays open."""
        return replace(self, failures=0, losses=0, openings=0)

    def lost_money(self, now_ms: int) -> "Breaker":
        """Return the breaker after a success that cost more than it brought."""
        losses = self.losses + 1
        if losses < self.rules.unprofitable_max:
            return replace(self, failures=0, losses=losses)
        return self._open(now_ms, "breaker_unprofitable")

    def failed(self, now_ms: int) -> "Breaker":
        """Return the breaker after a failure on chain."""
        failures = self.failures + 1
        if failures < self.rules.failures_max:
            return replace(self, failures=failures)
        return self._open(now_ms, "breaker_failures")

    def met_bug(self) -> "Breaker":
        """Return the breaker after an error that the venue does not know."""
        return replace(self, open_until_ms=FOREVER_MS, reason="breaker_unknown_error")

    def program_changed(self) -> "Breaker":
        """Return the breaker after accounts or instructions were not as the venue knows them."""
        return replace(self, open_until_ms=FOREVER_MS, reason="breaker_program_changed")

    def program_paused(self, now_ms: int) -> "Breaker":
        """Return the breaker after the program said that it is paused."""
        return self._open(now_ms, "breaker_paused")

    def crowd(self, turned: int, positions: int, now_ms: int) -> "Breaker":
        """Return the breaker after one tick made `turned` of `positions` liquidatable."""
        rules = self.rules
        if turned < rules.crowd_min or turned * 1_000 <= rules.share_permille_max * positions:
            return self
        return self._open(now_ms, "breaker_crowd")

    def resumed(self) -> "Breaker":
        """Return a closed breaker."""
        return Breaker(rules=self.rules)

    def _open(self, now_ms: int, reason: str) -> "Breaker":
        pause_ms = min(self.rules.pause_ms << min(self.openings, 32), self.rules.pause_ms_max)
        return replace(
            self,
            failures=0,
            losses=0,
            openings=self.openings + 1,
            open_until_ms=max(self.open_until_ms, now_ms + pause_ms),
            reason=reason if now_ms + pause_ms >= self.open_until_ms else self.reason,
        )
