"""Candidates ordered by health: each position once, in-flight ones out of reach, bounded."""

import heapq
from dataclasses import dataclass, replace

from liqctl.core.record import QueueState

NEVER_MS = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Pacing:
    """How failures of one position space out its next tries; times in milliseconds."""

    backoff_ms: int = 1_000
    backoff_ms_max: int = 60_000
    tries_max: int = 5
    quarantine_ms: int = 120_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One candidate. `tick_ns` is when the notice that made it liquidatable arrived.

    `tries` ended by a failure of its own, `waits` by something that was not its fault.
    """

    position: str
    health: float
    size: int
    state: QueueState = QueueState.WAITING
    reason: str = ""
    tries: int = 0
    waits: int = 0
    next_try_ms: int = 0
    since_ms: int = 0
    tick_ns: int = 0


class Queue:
    """A min-heap over (health, larger size first, address) with one entry a position.

    Entries that changed leave their old key in the heap; it is skipped when it surfaces and the
    heap is rebuilt when more than half of it is such keys.
    """

    def __init__(self, *, capacity: int = 10_000, pacing: Pacing | None = None) -> None:
        """Hold at most `capacity` candidates."""
        self._capacity = capacity
        self._pacing = pacing or Pacing()
        self._entries: dict[str, Entry] = {}
        self._heap: list[tuple[float, int, str]] = []
        self._worst: list[_LeastUrgent] = []
        self.evicted = 0

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, position: str) -> bool:
        return position in self._entries

    def entries(self) -> list[Entry]:
        """Return a snapshot, most urgent first."""
        return sorted(self._entries.values(), key=_urgency)

    def positions(self) -> list[str]:
        """Return the positions in no order."""
        return list(self._entries)

    def get(self, position: str) -> Entry | None:
        """Return the entry of a position."""
        return self._entries.get(position)

    def put(
        self, position: str, *, health: float, size: int, now_ms: int, tick_ns: int = 0
    ) -> bool:
        """Queue a position or move it by its new health; False when the queue is full of worse.

        A position in flight or in quarantine keeps its state; only its health is noted.
        """
        old = self._entries.get(position)
        if old is None:
            new = Entry(
                position=position, health=health, size=size, since_ms=now_ms, tick_ns=tick_ns
            )
            if len(self._entries) >= self._capacity and not self._evict_for(new):
                return False
        elif (old.health, old.size) == (health, size):
            return True
        else:
            new = replace(old, health=health, size=size)
        self._store(new)
        return True

    def remove(self, position: str) -> bool:
        """Forget a candidate that recovered or closed; one in flight stays until it is settled."""
        entry = self._entries.get(position)
        if entry is None or entry.state is QueueState.IN_FLIGHT:
            return False
        del self._entries[position]
        return True

    def take(self, now_ms: int) -> Entry | None:
        """Return the most urgent candidate whose time has come and put it in flight."""
        waiting: list[tuple[float, int, str]] = []
        taken = None
        while self._heap and taken is None:
            key = heapq.heappop(self._heap)
            entry = self._entries.get(key[2])
            if entry is None or _urgency(entry) != key or entry.state is QueueState.IN_FLIGHT:
                continue
            if entry.next_try_ms > now_ms:
                waiting.append(key)
                continue
            taken = replace(entry, state=QueueState.IN_FLIGHT, reason="")
            self._entries[taken.position] = taken
        for key in waiting:
            heapq.heappush(self._heap, key)
        return taken

    def settle(self, position: str) -> None:
        """Take a position out of flight for good: liquidated, closed or healthy."""
        self._entries.pop(position, None)

    def postpone(
        self,
        position: str,
        reason: str,
        now_ms: int,
        *,
        counts: bool = True,
        jitter_permille: int = 0,
    ) -> None:
        """Take a position out of flight for a time that doubles with each further end of its kind.

        Failures of its own count: after several of them it is quarantined. What is not its fault
        (a guard, a node, another keeper) only makes it wait. Its `tick_ns` is used up: how long
        a later try takes says nothing about the notice.
        """
        entry = self._entries.get(position)
        if entry is None:
            return
        pacing = self._pacing
        tries, waits = entry.tries + counts, entry.waits + (not counts)
        state, doublings = QueueState.WAITING, (tries if counts else waits) - 1
        delay_ms = min(pacing.backoff_ms << min(doublings, 32), pacing.backoff_ms_max)
        if counts and tries >= pacing.tries_max:
            state, delay_ms, tries = QueueState.QUARANTINED, pacing.quarantine_ms, 0
        delay_ms += delay_ms * jitter_permille // 2_000
        self._store(
            replace(
                entry,
                state=state,
                reason=reason,
                tries=tries,
                waits=waits,
                next_try_ms=now_ms + delay_ms,
                tick_ns=0,
            )
        )

    def retry(self, position: str) -> bool:
        """Lift backoff and quarantine; False when the position is not a candidate or in flight."""
        entry = self._entries.get(position)
        if entry is None or entry.state is QueueState.IN_FLIGHT:
            return False
        self._store(
            replace(entry, state=QueueState.WAITING, reason="", tries=0, waits=0, next_try_ms=0)
        )
        return True

    def hurry(self, position: str, tick_ns: int) -> bool:
        """End a pause, because what it waited for has come to pass; False as for `retry`.

        What the position failed at before stays counted, and a quarantine stays; how often it
        waited does not count any more.
        """
        entry = self._entries.get(position)
        if entry is None or entry.state is not QueueState.WAITING:
            return False
        self._store(replace(entry, reason="", waits=0, next_try_ms=0, tick_ns=tick_ns))
        return True

    def exclude(
        self, position: str, reason: str, *, until_ms: int = NEVER_MS, taken: bool = False
    ) -> bool:
        """Set a candidate aside until a time, a `retry` or until it recovers; False as for `retry`.

        One that `take` gave out a moment ago (`taken`) leaves flight with that.
        """
        entry = self._entries.get(position)
        if entry is None or (entry.state is QueueState.IN_FLIGHT and not taken):
            return False
        self._store(
            replace(entry, state=QueueState.QUARANTINED, reason=reason, next_try_ms=until_ms)
        )
        return True

    def next_try_ms(self) -> int | None:
        """Return the earliest time at which a candidate may be taken."""
        times = [
            e.next_try_ms for e in self._entries.values() if e.state is not QueueState.IN_FLIGHT
        ]
        return min(times, default=None)

    def _store(self, entry: Entry) -> None:
        self._entries[entry.position] = entry
        heapq.heappush(self._heap, _urgency(entry))
        heapq.heappush(self._worst, _LeastUrgent(entry))
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = [_urgency(e) for e in self._entries.values()]
            heapq.heapify(self._heap)
        if len(self._worst) > 2 * len(self._entries) + 64:
            self._worst = [_LeastUrgent(e) for e in self._entries.values()]
            heapq.heapify(self._worst)

    def _evict_for(self, new: Entry) -> bool:
        """Drop the least urgent candidate that is not in flight, if the new one is more urgent."""
        in_flight: list[_LeastUrgent] = []
        evicted = False
        while self._worst:
            least = self._worst[0].entry
            entry = self._entries.get(least.position)
            if entry is None or _urgency(entry) != _urgency(least):
                heapq.heappop(self._worst)
            elif entry.state is QueueState.IN_FLIGHT:
                in_flight.append(heapq.heappop(self._worst))
            else:
                evicted = _urgency(new) < _urgency(least)
                break
        if evicted:
            del self._entries[heapq.heappop(self._worst).entry.position]
            self.evicted += 1
        for each in in_flight:
            heapq.heappush(self._worst, each)
        return evicted


@dataclass(frozen=True, slots=True)
class _LeastUrgent:
    """An entry as it was, sorted the other way round."""

    entry: Entry

    def __lt__(self, other: "_LeastUrgent") -> bool:
        return _urgency(other.entry) < _urgency(self.entry)


def _urgency(entry: Entry) -> tuple[float, int, str]:
    return entry.health, -entry.size, entry.position
