"""Alerts and their outbox in memory."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from liqctl.core.alert import GIVEN_UP_MS, Alert, AlertState, Delivery
from liqctl.errors import StoreError
from liqctl.store.archive_columns import latest_ms
from liqctl.store.memory.tables import MemoryTables, require_json


class MemoryAlerts(MemoryTables):
    """The AlertBook part of the Store."""

    def firing(self) -> list[Alert]:
        """Return what holds now, the oldest first."""
        held = [each for each in self._alerts.values() if each.state is AlertState.FIRING]
        return sorted(held, key=lambda alert: (alert.raised_ms, alert.id))

    def alerts(self, *, before_id: int | None = None, limit: int = 50) -> list[Alert]:
        """Return alerts, the newest first."""
        newest = [
            self._alerts[number]
            for number in sorted(self._alerts, reverse=True)
            if before_id is None or number < before_id
        ]
        return newest[: max(0, limit)]

    def put_alert(self, alert: Alert, deliveries: Sequence[Delivery], event_json: str) -> int:
        """Write an alert, its deliveries and an `alert` event, or nothing; return its id."""
        require_json(event_json)
        self._check(alert)
        number = self._last_alert + 1 if alert.id is None else alert.id
        self._last_alert = max(self._last_alert, number)
        old = self._alerts.get(number, alert)
        self._alerts[number] = replace(
            alert, id=number, rule=old.rule, subject=old.subject, raised_ms=old.raised_ms
        )
        for delivery in deliveries:
            self.put_delivery(replace(delivery, alert_id=number))
        self.append_event("alert", event_json, latest_ms(alert))
        return number

    def _check(self, alert: Alert) -> None:
        if alert.id is not None and alert.id not in {each.id for each in self.firing()}:
            raise StoreError(f"in the store no alert {alert.id} is firing")
        if (alert.state is AlertState.RESOLVED) is (alert.resolved_ms is None):
            raise StoreError("alert: a resolved one has the time of its end, a firing one has none")
        kept = alert if alert.id is None else self._alerts[alert.id]
        others = [
            each
            for each in self.firing()
            if (each.rule, each.subject) == (kept.rule, kept.subject) and each.id != alert.id
        ]
        if others and alert.state is AlertState.FIRING:
            raise StoreError(f"alert: {kept.rule} of {kept.subject} is firing already")

    def put_delivery(self, delivery: Delivery) -> int:
        """Write a delivery that belongs to no alert (a test, a digest); return its id."""
        self._last_delivery += 1
        self._deliveries[self._last_delivery] = replace(delivery, id=self._last_delivery)
        return self._last_delivery

    def due_deliveries(self, now_ms: int, limit: int) -> list[Delivery]:
        """Return what has not been delivered and may be tried now, the oldest first.

        There are at most `limit` messages of each channel: one that takes none hides no other's.
        """
        places = Counter[str]()
        due: list[Delivery] = []
        for each in self._deliveries.values():
            if each.delivered_ms is None and each.next_try_ms <= now_ms:
                places[each.channel] += 1
                due += [each] if places[each.channel] <= limit else []
        return due

    def end_delivery(self, delivery_id: int, now_ms: int) -> None:
        """Note that a channel took it; the first time counts."""
        kept = self._deliveries.get(delivery_id)
        if kept is not None and kept.delivered_ms is None:
            self._deliveries[delivery_id] = replace(kept, delivered_ms=now_ms)

    def delay_delivery(self, delivery_id: int, error: str, next_try_ms: int) -> None:
        """Count a failed try and say when the next is due; one that was delivered stays so."""
        kept = self._deliveries.get(delivery_id)
        if kept is not None and kept.delivered_ms is None:
            self._deliveries[delivery_id] = replace(
                kept, tries=kept.tries + 1, error=error, next_try_ms=next_try_ms
            )

    def deliveries(self, *, limit: int = 50) -> list[Delivery]:
        """Return the outbox with what was delivered, the newest first."""
        return [*reversed(self._deliveries.values())][: max(0, limit)]

    def prune_alerts(self, before_ms: int) -> int:
        """Delete messages that wait no more and resolved alerts older than that; return how many."""
        before = len(self._alerts) + len(self._deliveries)
        self._deliveries = {
            number: each
            for number, each in self._deliveries.items()
            if not _is_over(each, before_ms)
        }
        told = {each.alert_id for each in self._deliveries.values()}
        self._alerts = {
            number: each
            for number, each in self._alerts.items()
            if each.resolved_ms is None or each.resolved_ms >= before_ms or number in told
        }
        return before - len(self._alerts) - len(self._deliveries)


def _is_over(delivery: Delivery, before_ms: int) -> bool:
    """Return whether a message was delivered before that, or created before and given up."""
    if delivery.delivered_ms is not None:
        return delivery.delivered_ms < before_ms
    return delivery.next_try_ms >= GIVEN_UP_MS and delivery.created_ms < before_ms
