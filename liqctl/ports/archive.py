"""What people and programs read of the record, and the alerts with their outbox."""

from collections.abc import Sequence
from typing import Protocol

from liqctl.core.alert import Alert, Delivery
from liqctl.core.record import (
    AttemptRow,
    DaySum,
    Liquidation,
    LiquidationQuery,
    PositionQuery,
    PositionRow,
    PriceRow,
)


class Archive(Protocol):
    """What people and programs read of the record, and what the keeper mirrors for them.

    Blocking, like the store it belongs to; the same rules of times and errors hold.
    """

    def put_positions(self, rows: Sequence[PositionRow], removed: Sequence[str]) -> None:
        """Write position rows by address and delete others, in one commit."""
        ...

    def positions(self, query: PositionQuery) -> list[PositionRow]:
        """Return rows, least health first, unknown ones last, the address breaks ties."""
        ...

    def position(self, address: str) -> PositionRow | None:
        """Return one row."""
        ...

    def forget_positions(self, venue: str, before_ms: int) -> int:
        """Delete rows of a venue written before that; a bounded number a call; how many."""
        ...

    def put_prices(self, rows: Sequence[PriceRow]) -> None:
        """Write the latest price of each (venue, market), in one commit."""
        ...

    def prices(self) -> list[PriceRow]:
        """Return the latest prices by venue and symbol."""
        ...

    def liquidations(self, query: LiquidationQuery) -> list[Liquidation]:
        """Return liquidations, the newest first."""
        ...

    def attempts(  # noqa: PLR0913 - optional filters
        self,
        *,
        position: str | None = None,
        symbol: str | None = None,
        venue: str | None = None,
        state: str | None = None,
        since_ms: int | None = None,
        before_ms: int | None = None,
        before_signature: str = "",
        limit: int = 50,
    ) -> list[AttemptRow]:
        """Return attempts, the latest signed first; the times are those of signing.

        Several may have the same time: to continue below a row, give its `before_signature` too.
        """
        ...

    def attempt_counts(self) -> dict[str, int]:
        """Return how many attempts are in each state."""
        ...

    def failure_classes(self) -> dict[str, int]:
        """Return how many failures there are of each class."""
        ...

    def daily(self, since_s: int) -> list[DaySum]:
        """Return sums by day, venue and symbol of liquidations since then, the oldest day first."""
        ...

    def latencies_us(self, limit: int) -> list[int]:
        """Return the decision latencies of the latest liquidations that have one, newest first."""
        ...

    def states(self, prefix: str) -> list[tuple[str, str, int]]:
        """Return name, value and time of every named state that begins so, by name."""
        ...


class AlertBook(Protocol):
    """Alerts and their outbox."""

    def firing(self) -> list[Alert]:
        """Return what holds now, the oldest first."""
        ...

    def alerts(self, *, before_id: int | None = None, limit: int = 50) -> list[Alert]:
        """Return alerts, the newest first."""
        ...

    def put_alert(self, alert: Alert, deliveries: Sequence[Delivery], event_json: str) -> int:
        """Write an alert, its deliveries and an `alert` event in one commit; return its id.

        Without an id it is new; a second firing one of the same rule and subject is refused.
        Otherwise it replaces the firing one with the id, whose rule, subject and `raised_ms` stay.
        The alert_id of the deliveries is filled in; the event has the latest time of the alert.

        Raises:
            StoreError: such an alert is firing already, none with the id is firing, or nothing
                could be written.
        """
        ...

    def put_delivery(self, delivery: Delivery) -> int:
        """Write a delivery that belongs to no alert (a test, a digest); return its id."""
        ...

    def due_deliveries(self, now_ms: int, limit: int) -> list[Delivery]:
        """Return what has not been delivered and may be tried now, the oldest first.

        There are at most `limit` messages of each channel: one that takes none hides no other's.
        """
        ...

    def end_delivery(self, delivery_id: int, now_ms: int) -> None:
        """Note that a channel took it; the first time counts."""
        ...

    def delay_delivery(self, delivery_id: int, error: str, next_try_ms: int) -> None:
        """Count a failed try and say when the next is due; one that was delivered stays so."""
        ...

    def deliveries(self, *, limit: int = 50) -> list[Delivery]:
        """Return the outbox with what was delivered, the newest first."""
        ...

    def prune_alerts(self, before_ms: int) -> int:
        """Delete messages that wait no more and resolved alerts, older than that; how many.

        An alert stays as long as one of its messages does.
        """
        ...
