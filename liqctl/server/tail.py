"""Follows the events in the store and hands them to the hub, in the order of their `seq`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

import structlog

from liqctl.core.record import EventRow
from liqctl.errors import StoreError
from liqctl.ports import Clock, Store
from liqctl.server.hub import RECENT_MAX, Hub
from liqctl.store.changes import Changes

log = structlog.get_logger(__name__)

R = TypeVar("R")

PAGE = 500
# A change that nobody told of is found after this long.
LOOK_S = 1.0
RETRY_S = 0.5
REST_S_MAX = 0.1
HEARTBEAT_NS = 15_000_000_000


class Reads(Protocol):
    """Whoever can read the store, as a `Reader` does."""

    async def run(self, read: Callable[[Store], R]) -> R:
        """Return what `read` returns for the store; raise a StoreError when it cannot be read."""
        ...


class Tail:
    """Reads what was recorded as soon as somebody tells of it: the store, or a keeper by `news`."""

    def __init__(
        self, reader: Reads, changes: Changes, news: asyncio.Event, hub: Hub, clock: Clock
    ) -> None:
        """Read with `reader`; nothing is read yet."""
        self._reader = reader
        self._changes = changes
        self._news = news
        self._hub = hub
        self._clock = clock
        self._beaten_ns = clock.monotonic_ns()
        self._last: EventRow | None = None
        self._spread_ns = 0

    async def run(self) -> None:
        """Follow until cancelled; a database that fails is tried again for ever."""
        async with self._told() as told:
            while True:
                try:
                    await self._catch_up()
                except StoreError as error:
                    self._hub.failing = str(error)
                    await self._clock.sleep(RETRY_S)
                else:
                    self._hub.failing = None
                    # Half of the time belongs to others, and what comes meanwhile goes together.
                    await self._clock.sleep(min(self._spread_ns / 1e9, REST_S_MAX))
                    await self._wait(told)
                self._beat()

    async def _catch_up(self) -> None:
        """Give the hub what it does not have yet."""
        self._spread_ns = 0
        if self._hub.seq is None:
            # Nobody listens yet; they are in memory for those who were here a moment ago.
            last_seq, rows = await self._reader.run(_newest)
            self._hub.begin(rows[0].seq - 1 if rows else last_seq)
            self._publish(rows)
        while await self._went_on(self._hub.seq or 0):
            pass

    async def _went_on(self, seq: int) -> bool:
        """Return whether there was anything new after `seq`."""
        known = self._last
        # The last one is read again: another database may have as many events as this one had.
        last_seq, rows = await self._reader.run(events_after(seq if known is None else seq - 1))
        same = True
        if known is not None and rows and rows[0].seq == seq:
            same = rows.pop(0) == known
        before = rows[0].seq - 1 if rows else last_seq
        if before == seq and same:
            self._publish(rows)
            return bool(rows)
        self._last = None
        if same and before > seq:
            log.warning("events_deleted_unread", known=seq, first=before + 1)
            self._hub.skip(before)
        else:
            log.warning("events_of_another_database", known=seq, last_seq=last_seq)
            self._hub.restart(last_seq)
        return True

    def _publish(self, rows: list[EventRow]) -> None:
        if rows:
            began_ns = self._clock.monotonic_ns()
            self._hub.publish(rows)
            self._spread_ns += self._clock.monotonic_ns() - began_ns
            self._last = rows[-1]

    async def _wait(self, told: asyncio.Event) -> None:
        """Return when something was told, at the latest after a second."""
        try:
            async with asyncio.timeout(LOOK_S):
                await told.wait()
        except TimeoutError:
            return
        told.clear()

    @asynccontextmanager
    async def _told(self) -> AsyncIterator[asyncio.Event]:
        """Yield an event that either source sets."""
        told = asyncio.Event()

        async def by_store() -> None:
            while True:
                if await self._changes.changed(LOOK_S):
                    told.set()

        async def by_keeper() -> None:
            while True:
                await self._news.wait()
                self._news.clear()
                told.set()

        async with asyncio.TaskGroup() as tasks:
            sources = [
                tasks.create_task(by_store(), name="changes"),
                tasks.create_task(by_keeper(), name="news"),
            ]
            try:
                yield told
            finally:
                for each in sources:
                    each.cancel()

    def _beat(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._beaten_ns >= HEARTBEAT_NS:
            self._beaten_ns = now_ns
            self._hub.beat(self._clock.unix_ms())


def events_after(seq: int) -> Callable[[Store], tuple[int, list[EventRow]]]:
    """Return a read of the last seq that there ever was, and of the first events after `seq`.

    In this order: what is recorded in between is among the events, and not taken for pruned.
    """
    return lambda store: (store.last_seq(), store.events_since(seq, PAGE))


def _newest(store: Store) -> tuple[int, list[EventRow]]:
    last_seq = store.last_seq()
    return last_seq, store.events_since(max(0, last_seq - RECENT_MAX), RECENT_MAX)
