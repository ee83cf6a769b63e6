"""Alerts and their outbox in SQL."""

from collections.abc import Sequence

from liqctl.core.alert import GIVEN_UP_MS, Alert, Delivery
from liqctl.errors import StoreError
from liqctl.store import archive_columns
from liqctl.store.sql.session import SqlSession


class SqlAlerts(SqlSession):
    """The AlertBook part of the Store."""

    def firing(self) -> list[Alert]:
        """Return what holds now, the oldest first."""
        with self._reading() as db:
            return [archive_columns.alert_of(row) for row in self._sql.firing_alerts(db)]

    def alerts(self, *, before_id: int | None = None, limit: int = 50) -> list[Alert]:
        """Return alerts, the newest first."""
        with self._reading() as db:
            found = self._sql.alerts(db, before_id=before_id, limit=max(0, limit))
            return [archive_columns.alert_of(row) for row in found]

    def put_alert(self, alert: Alert, deliveries: Sequence[Delivery], event_json: str) -> int:
        """Write an alert, its deliveries and an `alert` event in one commit; return its id.

        Of an alert that exists, rule, subject and the time it was raised stay; one that is over
        stays so. The event has the latest time of the alert.
        """
        with self._writing() as db:
            if alert.id is None:
                number = int(self._sql.insert_alert(db, alert=alert)["id"])
            elif self._sql.update_alert(db, alert=alert):
                number = alert.id
            else:
                raise StoreError(f"in the database {self._name} no alert {alert.id} is firing")
            for delivery in deliveries:
                self._sql.insert_delivery(db, delivery=delivery, alert_id=number)
            self._sql.append_event(
                db, kind="alert", body_json=event_json, now_ms=archive_columns.latest_ms(alert)
            )
        return number

    def put_delivery(self, delivery: Delivery) -> int:
        """Write a delivery that belongs to no alert (a test, a digest); return its id."""
        with self._writing() as db:
            made = self._sql.insert_delivery(db, delivery=delivery, alert_id=delivery.alert_id)
        return int(made["id"])

    def due_deliveries(self, now_ms: int, limit: int) -> list[Delivery]:
        """Return what has not been delivered and may be tried now, the oldest first.

        There are at most `limit` messages of each channel: one that takes none hides no other's.
        """
        with self._reading() as db:
            found = self._sql.due_deliveries(db, now_ms=now_ms, limit=max(0, limit))
            return [archive_columns.delivery_of(row) for row in found]

    def end_delivery(self, delivery_id: int, now_ms: int) -> None:
        """Note that a channel took it; the first time counts."""
        with self._writing() as db:
            self._sql.end_delivery(db, delivery_id=delivery_id, now_ms=now_ms)

    def delay_delivery(self, delivery_id: int, error: str, next_try_ms: int) -> None:
        """Count a failed try and say when the next is due; one that was delivered stays so."""
        with self._writing() as db:
            self._sql.delay_delivery(
                db, delivery_id=delivery_id, error=error, next_try_ms=next_try_ms
            )

    def deliveries(self, *, limit: int = 50) -> list[Delivery]:
        """Return the outbox with what was delivered, the newest first."""
        with self._reading() as db:
            found = self._sql.deliveries(db, limit=max(0, limit))
            return [archive_columns.delivery_of(row) for row in found]

    def prune_alerts(self, before_ms: int) -> int:
        """Delete messages that wait no more and resolved alerts older than that; return how many.

        An alert stays as long as one of its messages does.
        """
        with self._writing() as db:
            told = self._sql.prune_delivered(db, before_ms=before_ms)
            lost = self._sql.prune_given_up(db, before_ms=before_ms, given_up_ms=GIVEN_UP_MS)
            return int(told + lost + self._sql.prune_resolved(db, before_ms=before_ms))
