"""Faults of the store and of a keeper's own life, and the tally of all faults by kind and edge."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from liqctl.errors import StoreBusy, StoreError, StoreUnusable
from liqctl.sim.journal import LIVE, Journal, Move, Watch
from liqctl.sim.swarm import Dice, OwnFaults

READS = frozenset(
    {
        "live_attempts",
        "intent_of",
        "spent_lamports",
        "state",
        "queue",
        "recent_liquidations",
        "recent_failures",
        "events_since",
        "last_seq",
        "totals",
        "insurance_history",
        "unpriced_attempts",
        "version",
        "exclusions",
        "positions",
        "position",
        "prices",
        "liquidations",
        "attempts",
        "attempt_counts",
        "failure_classes",
        "daily",
        "latencies_us",
        "states",
        "firing",
        "alerts",
        "due_deliveries",
        "deliveries",
    }
)
COMMIT_UNKNOWN = "commit_unknown"
STORE_KINDS = ("disk_full", "locked", "read_only")
BEFORE_SIGNED = "claimed"
# What a cluster does every day, or what only follows from a fault that is counted by itself.
NO_FAULTS = frozenset({"skipped_slot", "rolled_back_block", "refused_by_leader"})


class Tally:
    """Counts faults by kind, and by kind and edge.

    A fault hits an edge when it came, or went on, while the attempt stood in the state that the
    edge leaves; before its first state, while the intent was claimed.
    """

    def __init__(self) -> None:
        """Start at zero."""
        self.kinds: Counter[str] = Counter()
        self.edges: Counter[str] = Counter()
        self._lasting: Counter[str] = Counter()
        self._journals: list[Journal] = []
        self._met: dict[str, set[str]] = {}
        self._claimed: dict[tuple[str, int], set[str]] = {}

    def follow(self, journal: Journal) -> None:
        """Count the edges of a database too."""
        self._journals.append(journal)
        journal.listeners.append(partial(self._moved, journal.path))

    def fault(self, kind: str) -> None:
        """Count a fault."""
        if kind in NO_FAULTS:
            return
        self.kinds[kind] += 1
        for journal in self._journals:
            for signature in journal.live:
                self._met.setdefault(signature, set()).add(kind)
        for met in self._claimed.values():
            met.add(kind)

    def begin(self, kind: str, *, counted: bool = True) -> None:
        """Count a fault that goes on until `end`; one that is counted already only goes on."""
        if counted:
            self.fault(kind)
        self._lasting[kind] += 1

    def end(self, kind: str) -> None:
        """End a fault that went on."""
        self._lasting[kind] -= 1

    def in_flight(self) -> bool:
        """Return whether any attempt is live now."""
        return any(journal.live for journal in self._journals)

    def _moved(self, path: str, move: Move) -> None:
        place = (path, move.intent_id)
        if move.table == "attempt":
            met = self._met.pop(move.key, set())
            if not move.before:
                met = self._claimed.pop(place, set())
            for kind in sorted(met):
                self.edges[f"{kind} {move.before or BEFORE_SIGNED}->{move.after}"] += 1
            if move.after in LIVE:
                self._met[move.key] = self._present()
        elif move.table == "lease" or not move.before:
            self._claimed.setdefault(place, self._present())
        elif move.after != "OPEN":
            self._claimed.pop(place, None)

    def _present(self) -> set[str]:
        return {kind for kind, count in self._lasting.items() if count > 0}


class StoreFaults:
    """What one keeper's database does wrong now; `calm` ends it all."""

    def __init__(self, own: OwnFaults, dice: Dice, tally: Tally) -> None:
        """Draw from `dice` at each call."""
        self._own = own
        self._dice = dice
        self._tally = tally
        self._calm = False
        self.outage: str | None = None

    def calm(self) -> None:
        """End the faults for good."""
        self._calm, self.outage = True, None

    def before(self, name: str) -> None:
        """Raise what the store would raise instead of doing the call."""
        if self._calm:
            return
        kind = self.outage
        if kind is None and self._dice.chance(self._own.store):
            kind = self._dice.pick(STORE_KINDS)
        if kind is None or (name in READS and kind != "locked"):
            return
        self._tally.fault(f"store_{kind}")
        raise _error(kind)

    def after(self, name: str) -> None:
        """Raise although the call was done: nobody knows whether it was committed."""
        if not self._calm and name not in READS and self._dice.chance(self._own.commit_unknown):
            self._tally.fault(COMMIT_UNKNOWN)
            raise StoreError("the connection broke during the commit")


def _error(kind: str) -> StoreError:
    match kind:
        case "locked":
            return StoreBusy("the database is locked by another process")
        case "read_only":
            return StoreUnusable("the database is read-only")
        case _:
            return StoreError("the disk of the database is full")


class StoreTap:
    """The real store behind faults and a journal; every attribute is the store's own."""

    def __init__(self, store: Any, faults: StoreFaults, watch: Watch) -> None:  # noqa: ANN401 - any Store
        """Stand between a keeper and its store."""
        self._store = store
        self._faults = faults
        self._watch = watch

    def close(self) -> None:
        """Release the database; that never fails."""
        self._store.close()

    def __getattr__(self, name: str) -> Callable[..., object]:
        """Return the store's method with faults before and after it."""
        method = getattr(self._store, name)

        def call(*args: object, **named: object) -> object:
            self._faults.before(name)
            try:
                answer: object = method(*args, **named)
            except BaseException:
                self._watch.rolled_back()
                raise
            self._watch.committed()
            self._faults.after(name)
            return answer

        call.__name__ = name
        setattr(self, name, call)
        return call
