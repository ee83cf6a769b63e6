"""The alerting of one process on a store of its own, moved by hand."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from liqctl.alerts.policy import Pacing
from liqctl.alerts.routes import Route, parse_routes
from liqctl.core.alert import Alert, Delivery
from liqctl.core.status import Status
from liqctl.keeper.alerting import Alerting, AlertRules
from liqctl.keeper.outbox import Outbox
from liqctl.keeper.storage import StoreThread
from liqctl.ports import Notifier, Store
from liqctl.store.memory import MemoryStore
from liqctl.store.sqlite import SqliteStore
from liqctl.testing import ManualClock, RecordingNotifier, SeededRng
from tests.core.statuses import WELL

TEXTS = ("info=mailto://h", "warning=slack://a", "critical=pagerduty://a@b")


class Process:
    """What one keeper process has of alerts; `status` is what its keeper says."""

    def __init__(
        self,
        thread: StoreThread,
        clock: ManualClock,
        channels: Mapping[str, Notifier],
        routes: tuple[Route, ...],
        owner: str = "one",
    ) -> None:
        self.status: Status = WELL
        self.thread = thread
        self.clock = clock
        self.outbox = Outbox(thread, clock, SeededRng(), owner=owner, channels=channels)
        self.alerting = Alerting(
            thread,
            clock,
            [lambda: self.status],
            owner=owner,
            rules=AlertRules(
                pacing=Pacing(resolve_ms=60_000, repeat_ms=3_600_000), routes=routes, digest_hour=8
            ),
            outbox=self.outbox,
        )

    async def look(self, status: Status | None = None, *, after_s: float = 1) -> None:
        """Let time pass and look once, at another status from now on if one is given."""
        self.status = status or self.status
        await self.clock.advance(after_s)
        await self.alerting.look()

    async def deliver(self, *, after_s: float = 1) -> None:
        """Let time pass and deliver what is due, to the end."""
        await self.clock.advance(after_s)
        async with asyncio.TaskGroup() as tasks:
            await self.outbox._round(tasks)

    async def alerts(self) -> list[Alert]:
        return await self.thread.run(self.thread.store.alerts)

    async def deliveries(self) -> list[Delivery]:
        return await self.thread.run(self.thread.store.deliveries)


def sqlite_store(path: Path) -> Store:
    return SqliteStore.open(str(path), create=True, read_only=False, busy_timeout_ms=20)


def store_of(kind: str, place: Path) -> Store:
    return MemoryStore() if kind == "memory" else sqlite_store(place / "k.db")


@asynccontextmanager
async def process_on(
    store: Store,
    *,
    channels: Mapping[str, Notifier] | None = None,
    texts: tuple[str, ...] = TEXTS,
) -> AsyncIterator[Process]:
    """Yield a process on the store, which is closed at the end."""
    routes = parse_routes(texts)
    thread = StoreThread(store)
    try:
        each = channels or {route.name: RecordingNotifier() for route in routes}
        yield Process(thread, ManualClock(), each, routes)
    finally:
        await thread.close()


class Lock:
    """Keeps a database from being written, as another program would."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("BEGIN EXCLUSIVE")

    def release(self) -> None:
        self._connection.execute("ROLLBACK")
        self._connection.close()
