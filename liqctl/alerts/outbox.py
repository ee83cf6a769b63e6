"""Alerts as messages: who gets which, in which order, and when a failed one is tried again. Pure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from liqctl.alerts.figures import duration
from liqctl.alerts.policy import Change, Turn
from liqctl.alerts.routes import Route, heard_by, rank
from liqctl.core.alert import GIVEN_UP_MS, Alert, Delivery, Severity

FIRST_PAUSE_MS = 5_000
PAUSE_MS_MAX = 600_000
REFUSED_TRIES_MAX = 5
FAILED_TRIES_MAX = 100
CHANNEL_RULE = "channel_failing"


def deliveries_of(
    change: Change, routes: Sequence[Route], heard: Iterable[str] | None, now_ms: int
) -> list[Delivery]:
    """Return the messages about a change.

    An alert goes to every channel of its severity, its end to those of them that `heard` of it
    (None: it is not known which, so all). What fails is not told about itself.
    """
    alert = change.alert
    names = heard_by(routes, alert.severity)
    if change.turn is Turn.RESOLVED and heard is not None:
        told = set(heard)
        names = [name for name in names if name in told]
    if alert.rule == CHANNEL_RULE:
        names = [name for name in names if name != alert.subject]
    title, body = message_of(change)
    return [
        Delivery(
            alert_id=alert.id,
            channel=name,
            severity=alert.severity,
            dedup_key=dedup_key(alert),
            resolves=change.turn is Turn.RESOLVED,
            title=title,
            body=body,
            created_ms=now_ms,
            next_try_ms=now_ms,
        )
        for name in names
    ]


def message_of(change: Change) -> tuple[str, str]:
    """Return title and text of the message about a change."""
    alert = change.alert
    match change.turn:
        case Turn.RAISED:
            return f"[{alert.severity}] {alert.title}", alert.body
        case Turn.REMINDED:
            lasts = duration(((alert.notified_ms or 0) - alert.raised_ms) // 1_000)
            return f"[{alert.severity}, for {lasts}] {alert.title}", alert.body
        case Turn.RESOLVED:
            lasted = duration(((alert.resolved_ms or 0) - alert.raised_ms) // 1_000)
            return f"[resolved] {alert.title}", f"It is over after {lasted}. It was: {alert.body}"


def dedup_key(alert: Alert) -> str:
    """Return what receivers match an alert and its end by; another one each time it is raised."""
    return f"liqctl/{alert.rule}/{alert.subject}/{alert.raised_ms}"


def event_json(change: Change) -> str:
    """Return the `alert` event of a change, as clients of the stream get it."""
    alert = asdict(change.alert)
    del alert["id"]
    return json.dumps({"type": "alert", "turn": change.turn, **alert})


def in_order(due: Iterable[Delivery]) -> list[Delivery]:
    """Return messages in the order to send them: the gravest first, then the oldest."""
    return sorted(due, key=lambda each: (-rank(each.severity), each.id or 0))


def must_wait(delivery: Delivery, outbox: Iterable[Delivery]) -> bool:
    """Return whether an earlier message about the same alert still waits for the same channel.

    The end of an alert must not arrive before the alert: a receiver that matches them would keep
    it open for ever.
    """
    return any(
        other.delivered_ms is None and other.next_try_ms < GIVEN_UP_MS
        for other in _earlier(delivery, outbox)
    )


def unheard(delivery: Delivery, outbox: Sequence[Delivery]) -> bool:
    """Return whether the channel never took the alert whose end this message tells."""
    earlier = _earlier(delivery, outbox)
    return bool(earlier) and all(other.delivered_ms is None for other in earlier)


def next_try_ms(delivery: Delivery, now_ms: int, *, refused: bool, jitter_permille: int) -> int:
    """Return when a message is tried again after its latest failure, or GIVEN_UP_MS.

    Pauses double from 5 s up to ten minutes, plus up to a tenth of chance. `refused` means that
    the receiver understood and said no: trying again rarely helps.
    """
    tries = delivery.tries + 1
    if tries >= (REFUSED_TRIES_MAX if refused else FAILED_TRIES_MAX):
        return GIVEN_UP_MS
    pause_ms = min(FIRST_PAUSE_MS << min(delivery.tries, 20), PAUSE_MS_MAX)
    return now_ms + pause_ms + pause_ms * jitter_permille // 10_000


def trial(channel: str, severity: Severity, now_ms: int) -> Delivery:
    """Return the message of a test; it belongs to no alert and is told as what it is."""
    return Delivery(
        alert_id=None,
        channel=channel,
        severity=severity,
        dedup_key=f"liqctl/test/{channel}/{now_ms}",
        resolves=False,
        title=f"[test] liqctl can reach {channel}",
        body="This is a test of an alert channel. Nothing is wrong and nothing needs to be done.",
        created_ms=now_ms,
        next_try_ms=now_ms,
    )


def _earlier(delivery: Delivery, outbox: Iterable[Delivery]) -> list[Delivery]:
    return [
        other
        for other in outbox
        if (other.channel, other.dedup_key) == (delivery.channel, delivery.dedup_key)
        and (other.id or 0) < (delivery.id or 0)
    ]
