"""Who listens to the stream of events: each client with a bounded queue, none waits for another."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import msgspec
from websockets.frames import Frame as WebSocketFrame
from websockets.frames import Opcode

from liqctl.core.record import EventRow
from liqctl.server.frames import frame

# Whoever was away for less than this is told by memory, and need not wait for the database.
RECENT_MAX = 1_000

_ENCODER = msgspec.json.Encoder()


class Line(Protocol):
    """The way to one client; nothing here ever waits but `cleared`."""

    @property
    def is_clear(self) -> bool:
        """Whether the client is there and keeps up with what was written."""
        ...

    def write(self, wire: bytes) -> None:
        """Hand over whole WebSocket frames; for nothing if the connection is closing."""
        ...

    def when_clear(self, call: Callable[[], None]) -> None:
        """Call this from now on whenever a client that had stopped reading has read on."""
        ...

    async def cleared(self) -> bool:
        """Return True as soon as the line is clear; False when the client is gone."""
        ...


@dataclass(frozen=True, slots=True)
class Frame:
    """One event as it goes over the wire, encoded once for all clients."""

    seq: int
    kind: str
    symbol: str | None
    wire: bytes

    @classmethod
    def of(cls, row: EventRow) -> "Frame":
        """Return an event as it is sent."""
        body = frame(row)
        symbol = body.get("symbol")
        return cls(row.seq, row.kind, symbol if isinstance(symbol, str) else None, _wire(body))


@dataclass(frozen=True, slots=True, kw_only=True)
class Wants:
    """What a client asked for: types of events, symbols of markets; None for all.

    What belongs to no market is not held back by the symbols.
    """

    types: frozenset[str] | None = None
    symbols: frozenset[str] | None = None

    def take(self, each: Frame) -> bool:
        """Return whether the client gets a frame."""
        if self.types is not None and each.kind not in self.types:
            return False
        return self.symbols is None or each.symbol is None or each.symbol in self.symbols


class Client:
    """One connection: what it wants, what waits for it, and how far it has been told.

    `position` is the last event that was put here or passed over.
    """

    __slots__ = ("_held", "_limit", "_overflow", "_waiting", "line", "position", "wants")

    def __init__(self, line: Line, wants: Wants, limit: int, overflow: Callable[[], None]) -> None:
        """Write to `line`; let `limit` messages wait, and call `overflow` when there are more."""
        self.line = line
        self.wants = wants
        self.position = 0
        self._limit = limit
        self._overflow = overflow
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._held = 0
        line.when_clear(self._resume)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, neither here nor on the line."""
        return not self._waiting and self.line.is_clear

    def put(self, wire: bytes, count: int = 1) -> bool:
        """Write `count` messages or let them wait; False when too many wait for a slow client.

        A batch is taken whole as long as there is room for one message: a burst of events must
        not cost a client its connection because of how they were read from the store.
        """
        if self.is_idle:
            self.line.write(wire)
        elif self._held < self._limit:
            self._waiting.append((count, wire))
            self._held += count
        else:
            self._overflow()
            return False
        return True

    def _resume(self) -> None:
        while self._waiting and self.line.is_clear:
            count, wire = self._waiting.popleft()
            self._held -= count
            self.line.write(wire)


class Hub:
    """Spreads events to every client that has caught up; `seq` is the last one spread.

    Until `begin` was called `seq` is None. `era` grows when the numbers of events begin anew.
    `failing` tells why nothing comes.
    """

    def __init__(self) -> None:
        """Start with nobody listening."""
        self.seq: int | None = None
        self.era = 0
        self.begun = asyncio.Event()
        self.failing: str | None = None
        self.counts: Counter[str] = Counter()
        self._clients: set[Client] = set()
        self._recent: deque[Frame] = deque(maxlen=RECENT_MAX)

    def __len__(self) -> int:
        """Return how many clients have caught up."""
        return len(self._clients)

    def begin(self, seq: int) -> None:
        """Take note that the events after `seq` are the next ones."""
        self.seq = seq
        self.begun.set()

    def join(self, client: Client) -> None:
        """Spread to a client from now on, which must have been told of everything up to `seq`."""
        self._clients.add(client)

    def leave(self, client: Client) -> None:
        """Spread no more to a client; one that never joined is no error."""
        self._clients.discard(client)

    def recent(self, after: int) -> list[Frame] | None:
        """Return all events after `after`, or None when not all of them are in memory."""
        if self.seq is None or after > self.seq:
            return None
        missed = self.seq - after
        if missed > len(self._recent):
            return None
        return list(self._recent)[len(self._recent) - missed :]

    def publish(self, rows: Sequence[EventRow]) -> None:
        """Give the next events to every client that wants them; the numbers must be in a row."""
        batch = [Frame.of(row) for row in rows]
        self._recent.extend(batch)
        before, self.seq = batch[0].seq - 1, batch[-1].seq
        self.counts["events"] += len(batch)
        made: dict[Wants, tuple[bytes, int]] = {}
        for client in list(self._clients):
            if client.position > before:
                wire, count = wanted(batch, client.wants, client.position)
            elif client.wants in made:
                wire, count = made[client.wants]
            else:
                wire, count = made[client.wants] = wanted(batch, client.wants, before)
            client.position = max(client.position, batch[-1].seq)
            if count:
                self._put(client, wire, count)

    def skip(self, seq: int) -> None:
        """Go on after `seq`: what was before is gone, which is a gap for whoever was not told."""
        self._go_on(seq, [each for each in self._clients if each.position < seq])

    def restart(self, seq: int) -> None:
        """Go on after `seq` of another stream, which is a gap for everybody."""
        self.era += 1
        self._go_on(seq, list(self._clients))

    def beat(self, now_ms: int) -> None:
        """Show every client that has read everything that the server is alive."""
        seq = self.seq or 0
        # Not the error itself: it may name a file.
        word = "ok" if self.failing is None else "failing"
        wire = message("heartbeat", seq, at_ms=now_ms, database=word)
        for client in list(self._clients):
            if client.is_idle and client.position <= seq:
                self._put(client, wire)

    def _go_on(self, seq: int, untold: Sequence[Client]) -> None:
        self.seq = seq
        self._recent.clear()
        for client in untold:
            wire = gap(since=client.position, seq=seq)
            client.position = seq
            self._put(client, wire)

    def _put(self, client: Client, wire: bytes, count: int = 1) -> None:
        if not client.put(wire, count):
            self.counts["too_slow"] += 1
            self._clients.discard(client)


def wanted(batch: Sequence[Frame], wants: Wants, after: int) -> tuple[bytes, int]:
    """Return those of a batch that a client gets after `after`, in one piece, and how many."""
    taken = [each.wire for each in batch if each.seq > after and wants.take(each)]
    return b"".join(taken), len(taken)


def gap(*, since: int, seq: int) -> bytes:
    """Return the message that events after `since` are gone; the next ones follow `seq`."""
    return message("gap", seq, since=since)


def message(kind: str, seq: int, **body: object) -> bytes:
    """Return a message that is no event."""
    return _wire({"type": kind, "seq": seq, **body})


def _wire(body: object) -> bytes:
    return WebSocketFrame(Opcode.TEXT, _ENCODER.encode(body)).serialize(mask=False)
