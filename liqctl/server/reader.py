"""The store from inside the server: reads on one thread, a database that failed is opened again."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import structlog

from liqctl.errors import LiqctlError, SettingsError, StoreBusy, StoreError, StoreUnusable
from liqctl.ports import Clock, Store

log = structlog.get_logger(__name__)

R = TypeVar("R")

FRESH_NS = 25_000_000
TIMEOUT_S = 6.0
WAITING_MAX = 128


@dataclass(frozen=True, slots=True)
class Version:
    """Which content was read: another one after any commit, and after the store was opened anew."""

    opening: int
    commit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """How to open the store, and what changes when another database has taken its place."""

    open: Callable[[], Store]
    place: Callable[[], object]


class Reader:
    """Runs reads one after another on a thread of its own and keeps the store open between them.

    Errors are the store's; a missing database is StoreUnusable. After any error but StoreBusy the
    store is opened anew for the next read, so that recovery needs nobody.
    """

    def __init__(self, source: Source, clock: Clock, name: str = "reader") -> None:
        """Read from `source`, which is opened by the first read."""
        self._source = source
        self._clock = clock
        self._name = name
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._store: Store | None = None
        self._place: object = None
        self._openings = 0
        self._failing = ""
        self._waiting = 0
        self._version: Version | None = None
        self._checked_ns = 0
        self._checking: asyncio.Task[Version] | None = None

    async def run(self, read: Callable[[Store], R]) -> R:
        """Return what `read` returns for the store.

        Raises:
            StoreError: the database failed or is missing, did not answer in time, or too many
                reads wait for it already.
        """
        if self._waiting >= WAITING_MAX:
            raise StoreBusy("too many reads wait for the database already")
        self._waiting += 1
        call = asyncio.get_running_loop().run_in_executor(self._executor, self._read, read)
        call.add_done_callback(self._left)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await asyncio.shield(call)
        except TimeoutError:
            raise StoreBusy(f"the database did not answer within {TIMEOUT_S} s") from None

    async def version(self) -> Version:
        """Return the version of the content, which is asked for at most every 25 ms.

        Raises:
            StoreError: as `run`.
        """
        now_ns = self._clock.monotonic_ns()
        if self._version is not None and now_ns - self._checked_ns < FRESH_NS:
            return self._version
        if self._checking is None:
            self._checking = asyncio.create_task(self._check(), name="store version")
            self._checking.add_done_callback(_heard)
        return await asyncio.shield(self._checking)

    async def close(self) -> None:
        """Close the store after the read under way."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._drop)
        self._executor.shutdown(wait=False)

    async def _check(self) -> Version:
        try:
            self._version = await self.run(self._look)
        except StoreError:
            self._version = None
            raise
        finally:
            self._checked_ns = self._clock.monotonic_ns()
            self._checking = None
        return self._version

    def _left(self, call: "asyncio.Future[R]") -> None:
        self._waiting -= 1
        _heard(call)

    def _look(self, store: Store) -> Version:
        return Version(self._openings, store.version())

    def _read(self, read: Callable[[Store], R]) -> R:
        """On the thread of the store: read, and note whether the database works."""
        try:
            found = read(self._opened())
        except StoreBusy as error:
            if self._is_news("busy"):
                # The text says it all.
                log.error("database_busy", reader=self._name, error=str(error))  # noqa: TRY400
            raise
        except StoreError as error:
            self._drop()
            if self._is_news(str(error)):
                log.error("database_failed", reader=self._name, error=str(error))  # noqa: TRY400
            raise
        if self._failing:
            log.warning("database_works_again", reader=self._name)
            self._failing = ""
        return found

    def _is_news(self, failing: str) -> bool:
        """Return whether this has not been told since the database last worked."""
        before, self._failing = self._failing, failing
        return before != failing

    def _opened(self) -> Store:
        place = self._source.place()
        if self._store is not None and place == self._place:
            return self._store
        self._drop()
        try:
            self._store = self._source.open()
        except SettingsError as error:
            raise StoreUnusable(str(error)) from error
        self._place = place
        self._openings += 1
        return self._store

    def _drop(self) -> None:
        store, self._store = self._store, None
        if store is None:
            return
        try:
            store.close()
        except LiqctlError as error:
            log.warning("database_not_closed", reader=self._name, error=str(error))


def _heard(call: "asyncio.Future[R]") -> None:
    """Take note of an error that nobody waits for any more: who asked was told of the timeout."""
    if not call.cancelled():
        call.exception()
