"""What a keeper writes, call after call, from a seed; each call is one commit at most."""

import hashlib
import random
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import cast

import aiosql

from liqctl.core.intent import Attempt, AttemptState, Claim, Ending, IntentState
from liqctl.core.record import QueueOrder
from liqctl.ports import Store
from liqctl.store.open import open_store
from liqctl.store.sqlite import SqliteStore
from tests.store.records import attempt, failure, liquidation, queue_row, request, sample

LEASE_MS = 20_000
CHECKPOINT_PAGES = 24
# What a keeper calls, and how often in comparison.
CALLS = (
    ["claim", "record", "sent", "seen", "unseen", "end", "side", "reopen", "checkpoint"],
    [6, 8, 6, 3, 1, 8, 8, 0.4, 0.4],
)


class Workload:
    """A keeper's life on one database: `calls` writes, restarts among them.

    `checkpoint_pages` is how long the log may get; the product's 1,000 pages would hardly ever
    be reached here, and checkpoints are where damage could be done. `script` names the first
    calls.
    """

    def __init__(
        self,
        path: Path,
        seed: int,
        *,
        pragma: str = "",
        checkpoint_pages: int = CHECKPOINT_PAGES,
        script: Sequence[str] = (),
    ) -> None:
        self._path = path
        self._chance = random.Random(seed)
        self._pragma = pragma
        self._checkpoint_pages = checkpoint_pages
        self._script = [*script]
        self._now_ms = 1
        self._claims: list[Claim] = []
        self._live: list[Attempt] = []
        self.store: Store = self.open()

    @property
    def connection(self) -> sqlite3.Connection:
        return cast("SqliteStore", self.store)._connection

    def open(self) -> Store:
        self.store = open_store(f"sqlite:{self._path}")
        self.connection.execute(f"PRAGMA wal_autocheckpoint = {self._checkpoint_pages}")
        if self._pragma:
            self.connection.execute(self._pragma)
        return self.store

    def next_call(self) -> Callable[[], object]:
        """Return the next call; making it twice after a failure is allowed and must be safe."""
        self._now_ms += 1
        chance, now_ms = self._chance, self._now_ms
        name = self._script.pop(0) if self._script else chance.choices(*CALLS)[0]
        if name == "claim" or (name == "record" and not self._claims):
            return lambda: self._claim(now_ms)
        if name == "record":
            return self._record(now_ms)
        if name in {"sent", "seen", "unseen", "end"}:
            return self._progress(name, now_ms)
        if name == "reopen":
            return self._reopen
        if name == "checkpoint":
            return lambda: self.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        return self._side(now_ms)

    def _claim(self, now_ms: int) -> None:
        claim = self.store.claim(request(f"p{now_ms}"), "me", now_ms, LEASE_MS)
        if claim is not None:
            self._claims.append(claim)

    def _record(self, now_ms: int) -> Callable[[], object]:
        claim = self._claims[-1]
        raw = self._chance.randbytes(self._chance.choice([200, 700, 1_232, 5_000]))
        row = attempt(claim, f"s{now_ms}", claim.attempts + 1, position=f"p{now_ms}", raw=raw)

        def call() -> None:
            if self.store.record_attempt(claim, row, now_ms):
                self._live.append(row)
            self._claims.remove(claim)

        return call

    def _progress(self, name: str, now_ms: int) -> Callable[[], object]:
        if not self._live:
            return lambda: self._claim(now_ms)
        row, store = self._chance.choice(self._live), self.store
        if name == "sent":
            return lambda: store.mark_sent(row.signature, now_ms)
        if name == "seen":
            return lambda: store.mark_seen(row.signature, now_ms, "confirmed")
        if name == "unseen":
            return lambda: store.mark_unseen(row.signature)
        landed = self._chance.random() < 0.6

        def end() -> None:
            self._end(row, now_ms, landed=landed)
            self._live.remove(row)

        return end

    def _end(self, row: Attempt, now_ms: int, *, landed: bool) -> None:
        state = AttemptState.FINALIZED_OK if landed else AttemptState.FINALIZED_ERR
        self.store.end_attempt(
            row.signature,
            Ending(state=state, final_slot=now_ms, fee_lamports=5_000, error_json=""),
            liquidation=liquidation(row.signature, created_at=now_ms) if landed else None,
            failure=None if landed else failure(signature=row.signature),
            intent_state=IntentState.DONE if landed else None,
            now_ms=now_ms,
        )

    def _side(self, now_ms: int) -> Callable[[], object]:
        store, chance = self.store, self._chance
        rows = [queue_row(f"q{chance.randrange(40)}", chance.random()) for _ in range(3)]
        return chance.choice(
            [
                lambda: store.put_queue(rows, [f"q{now_ms % 40}"]),
                lambda: store.order_queue(rows[:1]),
                lambda: store.set_order(rows[0].position, QueueOrder.DROP),
                lambda: store.take_orders(now_ms),
                lambda: store.append_event("queue", f'"{"x" * (now_ms % 3_000)}"', now_ms),
                lambda: store.prune_events(20),
                lambda: store.record_insurance(sample(now_ms)),
                lambda: store.record_failure(failure(at_ms=now_ms)),
                lambda: store.put_state("keeper", f'{{"n":{now_ms}}}', now_ms),
            ]
        )

    def _reopen(self) -> None:
        self.store.close()
        self.open()


def content_of(store: Store) -> bytes:
    """Return a digest of everything in the database and its schema, but not of when it was made."""
    connection = cast("SqliteStore", store)._connection
    digest = hashlib.blake2b()
    schema = connection.execute("SELECT name, type, sql FROM sqlite_schema ORDER BY name")
    tables = [(name, kind, sql) for name, kind, sql in schema]
    for name, kind, sql in tables:
        digest.update(repr((name, sql)).encode())
        if kind == "table" and name != "_sqlite_migrations":
            for row in connection.execute(f'SELECT * FROM "{name}"'):  # noqa: S608 - its own names
                digest.update(repr(tuple(row)).encode())
    return digest.digest()


@contextmanager
def queries_parsed_once() -> Iterator[None]:
    """Spare thousands of openings the 10 ms in which each reads the same SQL file anew."""
    original = aiosql.from_str
    aiosql.from_str = cache(original)  # type: ignore[assignment]
    try:
        yield
    finally:
        aiosql.from_str = original
