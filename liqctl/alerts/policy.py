"""When a condition becomes an alert, when people hear of it again, and when it is over. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from liqctl.core.alert import Alert, AlertState, Severity

Key = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Something is wrong now; it becomes an alert once it has held for `after_ms`.

    The subject is a venue, `VENUE/MARKET`, or a channel.
    """

    rule: str
    subject: str
    severity: Severity
    title: str
    body: str
    after_ms: int = 0

    @property
    def key(self) -> Key:
        """What alerts are deduplicated by."""
        return self.rule, self.subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """One look: what is wrong, and the rules of which venues could not be judged.

    What a rule of the second kind said before neither holds nor ends.
    """

    conditions: tuple[Condition, ...] = ()
    unjudged: frozenset[Key] = frozenset()

    def joined(self, other: "Findings") -> "Findings":
        """Return both as one."""
        return Findings(
            conditions=self.conditions + other.conditions, unjudged=self.unjudged | other.unjudged
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """An alert is over when its condition was absent for so long; it is repeated that seldom."""

    resolve_ms: int = 60_000
    repeat_ms: int = 14_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """One rule and subject, and its alert if it has one.

    `since_ms` is when the condition began to hold, or to be absent; while there is an alert only
    the latter matters.
    """

    holds: bool
    since_ms: int
    alert: Alert | None = None


class Turn(StrEnum):
    """What happened to an alert."""

    RAISED = "raised"
    REMINDED = "reminded"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One alert as it is after its turn."""

    turn: Turn
    alert: Alert


def step(
    watched: Mapping[Key, Watched], findings: Findings, now_ms: int, pacing: Pacing
) -> tuple[dict[Key, Watched], list[Change]]:
    """Return what is watched after one look, and what people have to hear."""
    present = {condition.key: condition for condition in findings.conditions}
    after: dict[Key, Watched] = {}
    changes: list[Change] = []
    for key, condition in present.items():
        after[key], change = _present(watched.get(key), condition, now_ms, pacing)
        changes += [change] if change is not None else []
    for key, before in watched.items():
        if key in present:
            continue
        rule, subject = key
        if (rule, subject.partition("/")[0]) in findings.unjudged:
            after[key] = before
            continue
        left, change = _absent(before, now_ms, pacing)
        after |= {key: left} if left is not None else {}
        changes += [change] if change is not None else []
    return after, changes


def taken_up(firing: list[Alert], now_ms: int) -> dict[Key, Watched]:
    """Return what to watch after a start: alerts of an earlier run hold until they are judged."""
    return {
        (alert.rule, alert.subject): Watched(holds=True, since_ms=now_ms, alert=alert)
        for alert in firing
    }


def _present(
    before: Watched | None, condition: Condition, now_ms: int, pacing: Pacing
) -> tuple[Watched, Change | None]:
    alert = before.alert if before is not None else None
    since_ms = before.since_ms if before is not None else now_ms
    change = None
    if alert is None and now_ms - since_ms >= condition.after_ms:
        alert = _raised(condition, now_ms)
        change = Change(turn=Turn.RAISED, alert=alert)
    elif alert is not None and now_ms - (alert.notified_ms or 0) >= pacing.repeat_ms:
        alert = replace(alert, title=condition.title, body=condition.body, notified_ms=now_ms)
        change = Change(turn=Turn.REMINDED, alert=alert)
    return Watched(holds=True, since_ms=since_ms, alert=alert), change


def _absent(before: Watched, now_ms: int, pacing: Pacing) -> tuple[Watched | None, Change | None]:
    if before.alert is None:
        return None, None
    since_ms = now_ms if before.holds else before.since_ms
    if now_ms - since_ms < pacing.resolve_ms:
        return Watched(holds=False, since_ms=since_ms, alert=before.alert), None
    over = replace(before.alert, state=AlertState.RESOLVED, resolved_ms=now_ms)
    return None, Change(turn=Turn.RESOLVED, alert=over)


def _raised(condition: Condition, now_ms: int) -> Alert:
    return Alert(
        rule=condition.rule,
        subject=condition.subject,
        severity=condition.severity,
        state=AlertState.FIRING,
        title=condition.title,
        body=condition.body,
        raised_ms=now_ms,
        notified_ms=now_ms,
    )
