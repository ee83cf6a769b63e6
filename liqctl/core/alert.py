"""Alerts as the store keeps them: what is wrong, since when, and who has been told."""

from dataclasses import dataclass
from enum import StrEnum

# A message that is not tried any more is due then: beyond every time, an exact number in JSON.
GIVEN_UP_MS = 2**53 - 1


class Severity(StrEnum):
    """How much it matters; each channel names the least it wants to hear of."""

    INFO = "info"
    WARNING = "warning"
    CRITICAL = "critical"


class AlertState(StrEnum):
    """Whether the condition still holds."""

    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One condition of one subject, from the time it began to hold to the time it ended.

    `rule` and `subject` together are what alerts are deduplicated by: at most one is firing.
    `notified_ms` is when channels were last told, for the cool-down.
    """

    id: int | None = None
    rule: str
    subject: str
    severity: Severity
    state: AlertState
    title: str
    body: str
    raised_ms: int
    resolved_ms: int | None = None
    notified_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One message for one channel in the outbox; it stays until the channel took it.

    `dedup_key` is the same for the alert and its end, for receivers that match them.
    """

    id: int | None = None
    alert_id: int | None
    channel: str
    severity: Severity
    dedup_key: str
    resolves: bool
    title: str
    body: str
    created_ms: int
    tries: int = 0
    next_try_ms: int = 0
    delivered_ms: int | None = None
    error: str = ""
