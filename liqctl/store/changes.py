"""Waiting for events that another process records: quickly, without asking all the time.

SQLite tells by its data version, which is polled; PostgreSQL sends a notification. Either only
says that it is worth looking: what has happened is read from `events_since`, by `seq`, which
also catches up with what a lost connection has not told.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

from liqctl.errors import SettingsError, StoreError
from liqctl.ports import Clock, Store
from liqctl.store.open import is_postgres, open_store
from liqctl.store.place import place_of

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from liqctl.store.postgres_url import Target

POLL_S = 0.05
RETRY_S = 1.0
CONNECT_S = 5.0
CHANNEL = "liqctl_events"


class Changes(Protocol):
    """Tells one waiting task that events may have been recorded."""

    async def changed(self, timeout_s: float) -> bool:
        """Wait until events may have been recorded since the last call returned.

        True at once the first time, and whenever something may have been missed; False when
        nothing happened until the timeout. While the database is away it waits and says False:
        whoever reads the events learns why from the store.
        """
        ...

    async def close(self) -> None:
        """Release the connection; nobody may be waiting."""
        ...


def open_changes(url: str, clock: Clock) -> Changes:
    """Return what tells of new events in the database that a DATABASE_URL names.

    It has a connection of its own, made at the first use.

    Raises:
        SettingsError: the URL is not understood, or the package for PostgreSQL is not installed.
    """
    if not is_postgres(url):
        return PolledChanges(url, clock)
    from liqctl.store.postgres_url import target_of  # noqa: PLC0415 - psycopg takes 120 ms

    return NotifiedChanges(target_of(url), clock)


class PolledChanges:
    """Looks at the version of the store every 50 ms, on a thread and connection of its own."""

    def __init__(self, url: str, clock: Clock) -> None:
        """Take which store to look at; it is opened at the first look, and again if need be."""
        self._url = url
        self._clock = clock
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="changes")
        self._store: Store | None = None
        self._place: tuple[int, int] | None = None
        self._known: int | None = None

    async def changed(self, timeout_s: float) -> bool:
        """See `Changes`."""
        loop = asyncio.get_running_loop()
        deadline_ns = self._clock.monotonic_ns() + int(timeout_s * 1e9)
        while True:
            if await loop.run_in_executor(self._executor, self._looked):
                return True
            left_s = (deadline_ns - self._clock.monotonic_ns()) / 1e9
            if left_s <= 0:
                return False
            await self._clock.sleep(min(left_s, POLL_S))

    async def close(self) -> None:
        """See `Changes`."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._released)
        self._executor.shutdown(wait=False)

    def _looked(self) -> bool:
        """On the thread: return whether the version is another one than the last time."""
        place = place_of(self._url)
        try:
            if self._store is None or place != self._place:
                self._released()
                self._store = open_store(self._url, create=False, read_only=True)
                self._place = place
            version = self._store.version()
        except (StoreError, SettingsError):
            self._released()
            return False
        known, self._known = self._known, version
        return version != known

    def _released(self) -> None:
        """On the thread: let go of the store; the next look finds a change."""
        store, self._store, self._known = self._store, None, None
        if store is not None:
            store.close()


class NotifiedChanges:
    """Listens on a connection of its own, which is made again when it was lost."""

    def __init__(self, target: "Target", clock: Clock) -> None:
        """Take where to connect."""
        self._target = target
        self._clock = clock
        self._connection: AsyncConnection | None = None

    async def changed(self, timeout_s: float) -> bool:
        """See `Changes`."""
        from psycopg import Error  # noqa: PLC0415 - it takes 120 ms

        try:
            if self._connection is None:
                self._connection = await self._listening()
                return True
            notes = self._connection.notifies(timeout=timeout_s, stop_after=1)
            return bool([note async for note in notes])
        except (Error, TimeoutError):
            await self.close()  # what it missed meanwhile is told by the True of the next one
            await self._clock.sleep(min(timeout_s, RETRY_S))
        return False

    async def close(self) -> None:
        """See `Changes`."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    async def _listening(self) -> "AsyncConnection":
        from psycopg import AsyncConnection  # noqa: PLC0415 - it takes 120 ms

        from liqctl.store.postgres_link import PARAMETERS  # noqa: PLC0415 - as above

        async with asyncio.timeout(CONNECT_S):
            ours = {**PARAMETERS, **self._target.parameters, "application_name": "liqctl-events"}
            made = await AsyncConnection.connect(autocommit=True, **ours)
            try:
                await made.execute(f"LISTEN {CHANNEL}")
            except BaseException:
                await made.close()
                raise
            return made
