"""The queue as others see it, orders and exclusions, in memory."""

import math
from collections.abc import Sequence
from dataclasses import replace

from liqctl.core.intent import IntentState
from liqctl.core.record import DROPPED, Exclusion, QueueOrder, QueueRow
from liqctl.store.columns import read_health, stored_health
from liqctl.store.memory.tables import MemoryTables


class MemoryQueue(MemoryTables):
    """The part of the Store that keeper and people talk through."""

    def put_queue(self, rows: Sequence[QueueRow], removed: Sequence[str]) -> None:
        """Write rows and delete removed positions, except those with an order waiting."""
        waiting = {p for p, row in self._queue.items() if row.order is not None}
        for position in removed:
            if position not in waiting:
                self._queue.pop(position, None)
        for row in rows:
            if row.position not in waiting:
                self._queue[row.position] = replace(_finite(row), order=None)

    def order_queue(self, rows: Sequence[QueueRow]) -> int:
        """Write rows with an order (ENQUEUE unless they name one); return how many.

        Of a row that exists, what the keeper keeps (state, reason, tries, times) stays.
        """
        for row in rows:
            old = self._queue.get(row.position, row)
            self._queue[row.position] = replace(
                _finite(row),
                state=old.state,
                reason=old.reason,
                tries=old.tries,
                next_try_ms=old.next_try_ms,
                since_ms=old.since_ms,
                order=row.order or QueueOrder.ENQUEUE,
            )
        return len(rows)

    def set_order(self, position: str, order: QueueOrder) -> bool:
        """Set an order on an existing row; False when there is none."""
        if position not in self._queue:
            return False
        self._queue[position] = replace(self._queue[position], order=order)
        return True

    def version(self) -> int:
        """Return another number each time: all writers share the one connection."""
        self._versions += 1
        return self._versions

    def take_orders(self, now_ms: int, venue: str | None = None) -> list[QueueRow]:
        """Return rows (of one venue) with an order and carry out what outlasts them."""
        taken = [row for row in self.queue(venue) if row.order is not None]
        for row in taken:
            position = row.position
            self._queue[position] = replace(row, order=None)
            if row.order is QueueOrder.DROP:
                del self._queue[position]
                dropped = Exclusion(position=position, reason=DROPPED, since_ms=now_ms)
                self._exclusions[position] = dropped
            elif row.order is QueueOrder.RETRY:
                self._exclusions.pop(position, None)
                self._reopen(position)
        return taken

    def _reopen(self, position: str) -> None:
        for intent in self._intents:
            if intent.state is IntentState.HELD and intent.request.position == position:
                intent.state, intent.reason = IntentState.OPEN, ""

    def exclude(self, exclusion: Exclusion) -> None:
        """Keep an exclusion in place of an earlier one; a retry that waits is cancelled."""
        held = [each for each in self._exclusions.values() if each.holds(exclusion.since_ms)]
        self._exclusions = {each.position: each for each in (*held, exclusion)}
        self._cancel(exclusion.position, QueueOrder.RETRY)

    def include(self, position: str) -> bool:
        """Forget an exclusion, and a drop that waits; False when there was neither."""
        cancelled = self._cancel(position, QueueOrder.DROP)
        return self._exclusions.pop(position, None) is not None or cancelled

    def exclusions(self) -> list[Exclusion]:
        """Return what is excluded, by position; some may have run out."""
        return [self._exclusions[position] for position in sorted(self._exclusions)]

    def _cancel(self, position: str, order: QueueOrder) -> bool:
        row = self._queue.get(position)
        waiting = row is not None and row.order is order
        if row is not None and waiting:
            self._queue[position] = replace(row, order=None)
        return waiting

    def queue(self, venue: str | None = None) -> list[QueueRow]:
        """Return all rows (of one venue), least health first."""
        rows = [row for row in self._queue.values() if venue in {None, row.venue}]
        return sorted(rows, key=_urgency)


def _finite(row: QueueRow) -> QueueRow:
    return replace(row, health=read_health(stored_health(row.health)))


def _urgency(row: QueueRow) -> tuple[bool, float, str]:
    unknown = math.isnan(row.health)
    return unknown, 0.0 if unknown else row.health, row.position
