"""What a rule of alerts is: its words, its thresholds, and what it looks at. Pure."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from liqctl.alerts.policy import Condition
from liqctl.alerts.trail import Growth
from liqctl.core.alert import Severity
from liqctl.core.status import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Where a figure becomes a condition; the defaults are those of the settings."""

    fund_bps_min: int = 500
    failed_bps_max: int = 500
    attempts_min: int = 5
    window_ms: int = 600_000
    latency_ms_max: int = 100
    rpc_errors_minute_max: int = 10
    database_ms_max: int = 5_000
    price_ms_max: int = 60_000
    coverage_ms_max: int = 30_000
    balance_lamports_min: int = 100_000_000
    uncovered_max: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What rules judge: the keeper now, and what its counters grew within the window."""

    status: Status
    growth: Growth = field(default_factory=Growth)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule: `when` is the sentence that people read, with the settings that move it.

    A rule without `judge` is about something else than a keeper's status.
    """

    name: str
    severity: Severity
    when: str
    settings: tuple[str, ...]
    judge: Callable[["Rule", Look, Thresholds], Iterator[Condition]] | None = None

    def found(self, subject: str, title: str, body: str, after_ms: int = 0) -> Condition:
        """Return a condition of this rule."""
        return Condition(
            rule=self.name,
            subject=subject,
            severity=self.severity,
            title=title,
            body=body,
            after_ms=after_ms,
        )
