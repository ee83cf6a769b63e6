"""The queue as others see it, orders of people to the keeper, and what they set aside."""

from collections.abc import Sequence
from operator import attrgetter

from liqctl.core.record import DROPPED, Exclusion, QueueOrder, QueueRow
from liqctl.store import columns
from liqctl.store.sql.session import SqlSession


class SqlQueue(SqlSession):
    """The part of the Store that keeper and people talk through."""

    def put_queue(self, rows: Sequence[QueueRow], removed: Sequence[str]) -> None:
        """Write rows and delete removed positions, except those with an order waiting."""
        with self._writing() as db:
            for position in sorted(removed):
                self._sql.remove_queue_row(db, position=position)
            for row in sorted(rows, key=attrgetter("position")):
                self._sql.put_queue_row(db, row=row, **_measures(row))

    def order_queue(self, rows: Sequence[QueueRow]) -> int:
        """Write rows with an order (ENQUEUE unless they name one); return how many.

        Of a row that exists, what the keeper keeps (state, reason, tries, times) stays.
        """
        with self._writing() as db:
            for row in sorted(rows, key=attrgetter("position")):
                order = row.order or QueueOrder.ENQUEUE
                self._sql.order_queue_row(db, row=row, order=order, **_measures(row))
        return len(rows)

    def set_order(self, position: str, order: QueueOrder) -> bool:
        """Set an order on an existing row; False when there is none."""
        with self._writing() as db:
            return bool(self._sql.set_order(db, position=position, order=order))

    def take_orders(self, now_ms: int, venue: str | None = None) -> list[QueueRow]:
        """Return rows (of one venue) with an order and carry out what outlasts them.

        Without such a row nothing is written: keepers of several venues do not wake one another.
        """
        with self._reading() as db:
            if not [*self._sql.rows_with_orders(db, venue=venue)]:
                return []
        with self._writing() as db:
            rows = [*self._sql.rows_with_orders(db, venue=venue)]
            found = [columns.queue_row_of(row) for row in rows]
            ordered = sorted(found, key=attrgetter("position"))
            taken = {row.position for row in ordered if self._take_order(db, row, now_ms)}
        return [row for row in found if row.position in taken]

    def _take_order(self, db: object, row: QueueRow, now_ms: int) -> bool:
        """Carry out the order of a row; False when somebody has just given it another one."""
        position = row.position
        if row.order is QueueOrder.DROP:
            taken = bool(self._sql.delete_dropped(db, position=position))
        else:
            taken = bool(self._sql.cancel_order(db, position=position, order=row.order))
        if taken and row.order is QueueOrder.DROP:
            dropped = Exclusion(position=position, reason=DROPPED, since_ms=now_ms)
            self._put_exclusion(db, dropped)
        elif taken and row.order is QueueOrder.RETRY:
            self._sql.remove_state(db, name=columns.exclusion_name(position))
            self._sql.reopen_held(db, position=position, now_ms=now_ms)
        return taken

    def exclude(self, exclusion: Exclusion) -> None:
        """Keep an exclusion in place of an earlier one; a retry that waits is cancelled."""
        with self._writing() as db:
            for held in self._exclusions(db):
                if not held.holds(exclusion.since_ms):
                    self._sql.remove_state(db, name=columns.exclusion_name(held.position))
            self._put_exclusion(db, exclusion)
            self._sql.cancel_order(db, position=exclusion.position, order=QueueOrder.RETRY)

    def include(self, position: str) -> bool:
        """Forget an exclusion, and a drop that waits; False when there was neither."""
        with self._writing() as db:
            cancelled = self._sql.cancel_order(db, position=position, order=QueueOrder.DROP)
            removed = self._sql.remove_state(db, name=columns.exclusion_name(position))
        return bool(cancelled or removed)

    def exclusions(self) -> list[Exclusion]:
        """Return what is excluded, by position; some may have run out."""
        with self._reading() as db:
            return self._exclusions(db)

    def _exclusions(self, db: object) -> list[Exclusion]:
        last = columns.last_name(columns.EXCLUDED)
        found = list(self._sql.states(db, prefix=columns.EXCLUDED, last=last))
        return [columns.exclusion_of(row) for row in found]

    def _put_exclusion(self, db: object, exclusion: Exclusion) -> None:
        self._sql.put_state(
            db,
            name=columns.exclusion_name(exclusion.position),
            value_json=columns.exclusion_json(exclusion),
            now_ms=exclusion.since_ms,
        )

    def queue(self, venue: str | None = None) -> list[QueueRow]:
        """Return all rows (of one venue), least health first."""
        with self._reading() as db:
            return [columns.queue_row_of(row) for row in self._sql.queue_rows(db, venue=venue)]


def _measures(row: QueueRow) -> dict[str, object]:
    return {"size": columns.stored_amount(row.size), "health": columns.stored_health(row.health)}
