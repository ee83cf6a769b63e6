"""Parts of the stream without sockets: a line that a test reads, and a reader without threads."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from liqctl.errors import StoreError
from liqctl.ports import Store
from liqctl.server.hub import Client, Hub, Wants
from liqctl.server.resume import catch_up
from liqctl.server.tail import Tail
from liqctl.testing import ManualClock, MemoryStore

R = TypeVar("R")


ALL = Wants()
NONE: Iterator[int] = iter(())


def messages(wire: bytes) -> Iterator[dict[str, Any]]:
    """Yield the messages of whole frames that nobody masked."""
    while wire:
        assert wire[0] == 0x81  # a text in one frame
        length, start = wire[1], 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(wire[2:start])
        yield json.loads(wire[start : start + length])
        wire = wire[start + length :]


class TestLine:
    """A client that reads everything at once, unless it is told to stop."""

    __test__ = False

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.writes = 0
        self._reads = True
        self._open = True
        self._changed = asyncio.Event()
        self._call: Callable[[], None] = lambda: None

    @property
    def is_clear(self) -> bool:
        return self._reads and self._open

    def write(self, wire: bytes) -> None:
        if self._open:
            self.writes += 1
            self.heard += messages(wire)

    def when_clear(self, call: Callable[[], None]) -> None:
        self._call = call

    async def cleared(self) -> bool:
        await asyncio.sleep(0)
        while self._open and not self._reads:
            self._changed.clear()
            await self._changed.wait()
        return self._open

    def stop(self) -> None:
        self._reads = False

    def read_on(self) -> None:
        self._reads = True
        self._changed.set()
        self._call()

    def close(self) -> None:
        self._open = False
        self._changed.set()

    async def closed(self) -> None:
        while self._open:
            self._changed.clear()
            await self._changed.wait()

    def seen(self, kind: str) -> list[dict[str, Any]]:
        """Return the messages of one type."""
        return [each for each in self.heard if each["type"] == kind]


class TestReader:
    """Reads a store in this thread; `pauses` are how often others may run before and after."""

    __test__ = False

    def __init__(self, store: Store, pauses: Iterator[int] = NONE) -> None:
        self.store = store
        self.error: StoreError | None = None
        self.reads = 0
        self._pauses = pauses

    async def run(self, read: Callable[[Store], R]) -> R:
        await self._pause()
        if self.error is not None:
            raise self.error
        self.reads += 1
        found = read(self.store)
        await self._pause()
        return found

    async def _pause(self) -> None:
        for _ in range(1 + next(self._pauses, 0)):
            await asyncio.sleep(0)


class SilentChanges:
    """A store that tells nothing: a keeper's news is all there is."""

    async def changed(self, timeout_s: float) -> bool:
        await asyncio.sleep(60)
        return False

    async def close(self) -> None:
        return


class World:
    """A store, a hub that follows it, and clients that come and go."""

    def __init__(self, store: MemoryStore | None = None, pauses: Iterator[int] = NONE) -> None:
        self.store = store or MemoryStore()
        self.reader = TestReader(self.store, pauses)
        self.clock = ManualClock()
        self.hub = Hub()
        self.news = asyncio.Event()
        self.tail = Tail(self.reader, SilentChanges(), self.news, self.hub, self.clock)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["World"]:
        following = asyncio.create_task(self.tail.run())
        await spin()
        try:
            yield self
        finally:
            following.cancel()
            await asyncio.wait([following])

    async def recorded(self, count: int = 1, symbol: str = "SOL") -> None:
        record(self.store, count, symbol)
        await self.told()

    async def told(self) -> None:
        self.news.set()
        await spin()

    async def resumed(self, since: int, wants: Wants = ALL) -> TestLine:
        line = TestLine()
        client = Client(line, wants, 64, lambda: None)
        assert await catch_up(client, since, self.hub, self.reader)
        return line


def record(store: Store, count: int = 1, symbol: str = "SOL") -> None:
    for _ in range(count):
        store.append_event("price_update", json.dumps({"symbol": symbol}), 1)


def seqs(line: TestLine) -> list[int]:
    """Return the numbers of the events that a client has heard."""
    return [each["seq"] for each in line.heard if each["type"] not in {"gap", "heartbeat"}]


def gaps(line: TestLine) -> list[tuple[int, int]]:
    return [(each["since"], each["seq"]) for each in line.seen("gap")]


async def until_heard(line: TestLine) -> None:
    while not line.heard:  # noqa: ASYNC110 - no step more than needed
        await asyncio.sleep(0)


async def spin(rounds: int = 50) -> None:
    """Let everything else run."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Return when it has come to that; eight seconds are enough for anything here."""
    for _ in range(800):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")
