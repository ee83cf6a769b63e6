"""The store on SQLite: one writer, commits that survive a loss of power.

A store may be made on any thread; after that its methods are for one thread at a time, in the
daemon the single thread of the store's executor.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from types import SimpleNamespace
from typing import Any

import aiosql

from liqctl.core.intent import Attempt, Claim, Ending, IntentRequest, IntentState
from liqctl.core.record import (
    DROPPED,
    EventRow,
    Exclusion,
    FailureRow,
    InsuranceSample,
    Liquidation,
    QueueOrder,
    QueueRow,
    Totals,
)
from liqctl.errors import StoreError, StoreUnusable, invariant
from liqctl.store import columns
from liqctl.store.connection import connect, damaged, translated
from liqctl.store.version import SCHEMA_VERSION, needs_migration

PRUNE_BATCH = 10_000
SPLIT = 10**9


@cache
def _queries() -> Any:  # noqa: ANN401 - a function for each statement in the file
    """Return the statements; reading them takes some 10 ms."""
    text = resources.files("liqctl.store").joinpath("queries.sql").read_text(encoding="utf-8")
    return aiosql.from_str(text, "sqlite3")


class SqliteStore:
    """The Store in one SQLite file."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        """Take over a connection to a database of this version; see `open`."""
        self._connection = connection
        self._path = path
        self._sql = _queries()

    @classmethod
    def open(
        cls, path: str, *, create: bool, read_only: bool, busy_timeout_ms: int
    ) -> "SqliteStore":
        """Return the store in the file `path` (or `:memory:`), checked and migrated.

        Raises:
            SettingsError: the file is missing and must not be created.
            StoreUnusable: not a database of ours, damaged, read-only, or newer than the program.
            StoreBusy: locked for the whole busy timeout.
        """
        connection = connect(
            path, create=create, read_only=read_only, busy_timeout_ms=busy_timeout_ms
        )
        try:
            with translated(path):
                _make_current(connection, path, read_only=read_only)
        except BaseException:
            connection.close()
            raise
        return cls(connection, path)

    def close(self) -> None:
        """Release the database."""
        with translated(self._path):
            self._connection.close()

    def claim(self, request: IntentRequest, owner: str, now_ms: int, lease_ms: int) -> Claim | None:
        """Return the intent under a fresh lease; None while it is leased, in flight or HELD."""
        generation = columns.stored_amount(request.generation)
        with self._writing() as db:
            latest = self._sql.latest_intent(db, request=request, generation=generation)
            if latest is None or latest["state"] in {"DONE", "GONE", "FAILED"}:
                step = 1 if latest is None else latest["step"] + 1
                key = columns.intent_key(request, step)
                intent_id = self._sql.insert_intent(
                    db,
                    request=request,
                    generation=generation,
                    step=step,
                    key=key,
                    owner=owner,
                    now_ms=now_ms,
                    lease_until=now_ms + lease_ms,
                )
                return Claim(
                    intent_id=intent_id,
                    key=key,
                    owner=owner,
                    fence=1,
                    attempts=0,
                    read_slot_min=self._read_slot_min(intent_id),
                )
            if latest["has_live"]:
                return None
            claim = self._take(latest["id"], owner, now_ms, lease_ms)
            if claim is not None:
                self._sql.refresh_decision(db, intent_id=claim.intent_id, request=request)
            return claim

    def adopt(self, intent_id: int, owner: str, now_ms: int, lease_ms: int) -> Claim | None:
        """Return a claim on an existing unfinished intent, or None if it is leased."""
        with self._writing():
            return self._take(intent_id, owner, now_ms, lease_ms)

    def _take(self, intent_id: int, owner: str, now_ms: int, lease_ms: int) -> Claim | None:
        row = self._sql.take_intent(
            self._connection,
            intent_id=intent_id,
            owner=owner,
            now_ms=now_ms,
            lease_until=now_ms + lease_ms,
        )
        if row is None:
            return None
        return Claim(
            intent_id=intent_id,
            key=row["key"],
            owner=owner,
            fence=row["fence"],
            attempts=row["attempts"],
            read_slot_min=self._read_slot_min(intent_id),
        )

    def _read_slot_min(self, intent_id: int) -> int:
        return int(self._sql.read_slot_min(self._connection, intent_id=intent_id)["slot"])

    def renew(self, claim: Claim, now_ms: int, lease_ms: int) -> bool:
        """Extend the lease; False when it has ended or is somebody else's."""
        with self._writing() as db:
            until = now_ms + lease_ms
            return bool(self._sql.renew_lease(db, claim=claim, now_ms=now_ms, lease_until=until))

    def release(self, claim: Claim, now_ms: int) -> None:
        """Give up the lease; nothing happens when it is not ours any more."""
        with self._writing() as db:
            self._sql.release_lease(db, claim=claim, now_ms=now_ms)

    def end_intent(self, claim: Claim, state: IntentState, reason: str, now_ms: int) -> bool:
        """End or hold an intent without a live attempt; False when the claim is not ours."""
        with self._writing() as db:
            return bool(
                self._sql.end_claimed_intent(
                    db, claim=claim, state=state, reason=reason, now_ms=now_ms
                )
            )

    def reopen_held(self, now_ms: int, *, position: str | None = None) -> int:
        """Return HELD intents (of one position) to OPEN; how many."""
        with self._writing() as db:
            return int(self._sql.reopen_held(db, position=position, now_ms=now_ms))

    def record_attempt(self, claim: Claim, attempt: Attempt, now_ms: int) -> bool:
        """Commit a SIGNED attempt and open its intent; False when the claim is not ours."""
        invariant(attempt.intent_id == claim.intent_id, "an attempt belongs to the claimed intent")
        with self._writing() as db:
            if not self._sql.insert_attempt(db, claim=claim, attempt=attempt, now_ms=now_ms):
                return False
            self._sql.open_intent(db, intent_id=claim.intent_id, now_ms=now_ms)
        return True

    def mark_sent(self, signature: str, now_ms: int) -> None:
        """Count a send; SIGNED becomes SENT, a terminal attempt stays as it is."""
        with self._writing() as db:
            if not self._sql.mark_sent(db, signature=signature, now_ms=now_ms):
                self._require(signature)

    def mark_seen(self, signature: str, slot: int, level: str) -> None:
        """Note what a node reported below finalized; a terminal attempt stays as it is."""
        with self._writing() as db:
            if not self._sql.mark_seen(db, signature=signature, slot=slot, level=level):
                self._require(signature)

    def mark_unseen(self, signature: str) -> None:
        """Return a SEEN attempt to SENT; any other stays as it is."""
        with self._writing() as db:
            if not self._sql.mark_unseen(db, signature=signature):
                self._require(signature)

    def _require(self, signature: str) -> str:
        """Return the state of an attempt that must exist."""
        row = self._sql.attempt_state(self._connection, signature=signature)
        if row is None:
            raise StoreError(f"the database {self._path} knows no attempt {signature}")
        return str(row["state"])

    def end_attempt(
        self,
        signature: str,
        ending: Ending,
        *,
        liquidation: Liquidation | None,
        failure: FailureRow | None,
        intent_state: IntentState | None,
        now_ms: int,
    ) -> None:
        """Make an attempt terminal with everything that follows from it, in one commit.

        The same ending again only fills in what was not known the first time.
        """
        if liquidation is not None:
            invariant(liquidation.signature == signature, "a liquidation has its attempt's name")
        with self._writing() as db:
            repeated = self._require(signature) == ending.state
            row = self._sql.end_attempt(db, signature=signature, ending=ending, now_ms=now_ms)
            if liquidation is not None:
                self._put_liquidation(liquidation)
            self._sql.fill_liquidation_fee(
                db, signature=signature, fee_lamports=ending.fee_lamports
            )
            if repeated:
                return
            if failure is not None:
                self._sql.insert_failure(db, row=failure)
            if intent_state is None:
                self._sql.free_intent(db, intent_id=row["intent_id"], now_ms=now_ms)
            else:
                self._sql.end_intent(
                    db,
                    intent_id=row["intent_id"],
                    state=intent_state,
                    reason="" if failure is None else failure.failure_class,
                    now_ms=now_ms,
                )

    def _put_liquidation(self, row: Liquidation) -> None:
        health = columns.stored_health(row.health_factor_before)
        amount = _amounts(row, columns.LIQUIDATION_AMOUNTS)
        if self._sql.insert_liquidation(self._connection, row=row, amount=amount, health=health):
            self._sql.append_event(
                self._connection,
                kind="liquidation",
                body_json=columns.liquidation_event(row),
                now_ms=row.created_at,
            )

    def live_attempts(self) -> list[Attempt]:
        """Return every attempt that is not terminal, oldest first."""
        with self._reading() as db:
            return [columns.attempt_of(row) for row in self._sql.live_attempts(db)]

    def unpriced_attempts(self, limit: int) -> list[Attempt]:
        """Return final attempts whose fee no node has told yet, newest first."""
        with self._reading() as db:
            found = self._sql.unpriced_attempts(db, limit=max(0, limit))
            return [columns.attempt_of(row) for row in found]

    def price_attempt(
        self, signature: str, fee_lamports: int, liquidation: Liquidation | None
    ) -> None:
        """Fill in what the ledger told later; what is known already stays."""
        with self._writing() as db:
            self._sql.price_attempt(db, signature=signature, fee_lamports=fee_lamports)
            if liquidation is not None:
                amount = _amounts(liquidation, columns.LIQUIDATION_AMOUNTS)
                self._sql.correct_liquidation(db, row=liquidation, amount=amount)

    def intent_of(self, signature: str) -> tuple[IntentRequest, int, str] | None:
        """Return request, id and state of the intent that an attempt belongs to."""
        with self._reading() as db:
            row = self._sql.intent_of(db, signature=signature)
        return None if row is None else (columns.request_of(row), row["id"], row["state"])

    def spent_lamports(self, since_ms: int) -> int:
        """Return fees of final attempts plus the maximum cost of live ones, signed since then."""
        with self._reading() as db:
            return int(self._sql.spent_lamports(db, since_ms=since_ms)["lamports"])

    def record_failure(self, failure: FailureRow) -> None:
        """Append a failure."""
        with self._writing() as db:
            self._sql.insert_failure(db, row=failure)

    def append_event(self, kind: str, body_json: str, now_ms: int) -> int:
        """Append to the ordered stream and return its `seq`."""
        with self._writing() as db:
            return int(self._sql.append_event(db, kind=kind, body_json=body_json, now_ms=now_ms))

    def events_since(self, seq: int, limit: int) -> list[EventRow]:
        """Return events after `seq`, oldest first."""
        with self._reading() as db:
            found = self._sql.events_since(db, seq=seq, limit=max(0, limit))
            return [columns.event_of(row) for row in found]

    def last_seq(self) -> int:
        """Return the newest `seq` ever given, pruned or not; 0 before the first."""
        with self._reading() as db:
            return int(self._sql.last_seq(db)["seq"])

    def prune_events(self, keep: int) -> int:
        """Delete the oldest events beyond the newest `keep`, 10,000 at most; return how many."""
        with self._writing() as db:
            return int(self._sql.prune_events(db, keep=max(0, keep), batch=PRUNE_BATCH))

    def record_insurance(self, sample: InsuranceSample) -> None:
        """Append a balance of the fund."""
        with self._writing() as db:
            amount = _amounts(sample, columns.INSURANCE_AMOUNTS)
            self._sql.insert_insurance(db, row=sample, amount=amount)

    def insurance_history(self, limit: int) -> list[InsuranceSample]:
        """Return the latest samples, oldest first."""
        with self._reading() as db:
            newest_first = [
                columns.sample_of(row)
                for row in self._sql.insurance_history(db, limit=max(0, limit))
            ]
        return newest_first[::-1]

    def put_queue(self, rows: Sequence[QueueRow], removed: Sequence[str]) -> None:
        """Write rows and delete removed positions, except those with an order waiting."""
        with self._writing() as db:
            for position in removed:
                self._sql.remove_queue_row(db, position=position)
            for row in rows:
                self._sql.put_queue_row(db, row=row, **_queue_columns(row))

    def order_queue(self, rows: Sequence[QueueRow]) -> int:
        """Write rows with an order (ENQUEUE unless they name one); return how many.

        Of a row that exists, what the keeper keeps (state, reason, tries, times) stays.
        """
        with self._writing() as db:
            for row in rows:
                order = row.order or QueueOrder.ENQUEUE
                self._sql.order_queue_row(db, row=row, order=order, **_queue_columns(row))
        return len(rows)

    def set_order(self, position: str, order: QueueOrder) -> bool:
        """Set an order on an existing row; False when there is none."""
        with self._writing() as db:
            return bool(self._sql.set_order(db, position=position, order=order))

    def version(self) -> int:
        """Return a number that is another one after a commit of another connection."""
        with self._reading() as db:
            return int(db.execute("PRAGMA data_version").fetchone()[0])

    def take_orders(self, now_ms: int) -> list[QueueRow]:
        """Return rows with an order and carry out what outlasts the rows, in one commit."""
        with self._reading() as db:
            if not [*self._sql.rows_with_orders(db)]:
                return []
        with self._writing() as db:
            found = [columns.queue_row_of(row) for row in self._sql.rows_with_orders(db)]
            for row in found:
                if row.order is QueueOrder.DROP:
                    self._put_exclusion(
                        Exclusion(position=row.position, reason=DROPPED, since_ms=now_ms)
                    )
                elif row.order is QueueOrder.RETRY:
                    self._sql.remove_state(db, name=columns.exclusion_name(row.position))
            self._sql.delete_dropped(db)
            self._sql.clear_orders(db)
        return found

    def exclude(self, exclusion: Exclusion) -> None:
        """Keep an exclusion in place of an earlier one; a retry that waits is cancelled."""
        with self._writing() as db:
            for held in [columns.exclusion_of(row) for row in self._sql.exclusion_rows(db)]:
                if not held.holds(exclusion.since_ms):
                    self._sql.remove_state(db, name=columns.exclusion_name(held.position))
            self._put_exclusion(exclusion)
            self._sql.cancel_order(db, position=exclusion.position, order=QueueOrder.RETRY)

    def include(self, position: str) -> bool:
        """Forget an exclusion, and a drop that waits; False when there was neither."""
        with self._writing() as db:
            cancelled = self._sql.cancel_order(db, position=position, order=QueueOrder.DROP)
            removed = self._sql.remove_state(db, name=columns.exclusion_name(position))
        return bool(cancelled or removed)

    def exclusions(self) -> list[Exclusion]:
        """Return what is excluded, by position; some may have run out."""
        with self._reading() as db:
            return [columns.exclusion_of(row) for row in self._sql.exclusion_rows(db)]

    def _put_exclusion(self, exclusion: Exclusion) -> None:
        self._sql.put_state(
            self._connection,
            name=columns.exclusion_name(exclusion.position),
            value_json=columns.exclusion_json(exclusion),
            now_ms=exclusion.since_ms,
        )

    def queue(self) -> list[QueueRow]:
        """Return all rows, least health first."""
        with self._reading() as db:
            return [columns.queue_row_of(row) for row in self._sql.queue_rows(db)]

    def recent_liquidations(
        self, *, symbol: str | None = None, position: str | None = None, limit: int = 50
    ) -> list[Liquidation]:
        """Return the newest liquidations first."""
        with self._reading() as db:
            query = {"symbol": symbol, "limit": max(0, limit)}
            if position is None:
                found = self._sql.recent_liquidations(db, **query)
            else:
                found = self._sql.liquidations_of(db, position=position, **query)
            return [columns.liquidation_of(row) for row in found]

    def recent_failures(self, *, position: str | None = None, limit: int = 50) -> list[FailureRow]:
        """Return the newest failures first."""
        with self._reading() as db:
            if position is None:
                found = self._sql.recent_failures(db, limit=max(0, limit))
            else:
                found = self._sql.failures_of(db, position=position, limit=max(0, limit))
            return [columns.failure_of(row) for row in found]

    def totals(self) -> Totals:
        """Return counts and sums over everything recorded, all from one moment."""
        with self._snapshot() as db:
            sums = self._sql.liquidation_sums(db)
            oversized = [*self._sql.oversized_amounts(db)]
            failures = self._sql.failure_counts(db)
            fees = self._sql.fees_lamports(db)
        return Totals(
            full=sums["full_count"],
            partial=sums["liquidations"] - sums["full_count"],
            failed=failures["all_count"] - failures["lost_race_count"],
            lost_races=failures["lost_race_count"],
            rewards=_whole(sums["rewards_high"], sums["rewards_low"])
            + _text_sum(oversized, "liquidator_reward"),
            bad_debt=_whole(sums["bad_debt_high"], sums["bad_debt_low"])
            + _text_sum(oversized, "bad_debt"),
            fees_lamports=fees["lamports"],
        )

    def put_state(self, name: str, value_json: str, now_ms: int) -> None:
        """Write one named piece of the keeper's state for other programs to read."""
        with self._writing() as db:
            self._sql.put_state(db, name=name, value_json=value_json, now_ms=now_ms)

    def state(self, name: str) -> tuple[str, int] | None:
        """Return a named piece of state and when it was written."""
        with self._reading() as db:
            row = self._sql.state(db, name=name)
        return None if row is None else (row["value_json"], row["at_ms"])

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with translated(self._path):
            yield self._connection

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        yield from self._transaction("BEGIN")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock for the block: all of it is committed and on disk, or nothing."""
        yield from self._transaction("BEGIN IMMEDIATE")

    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        db = self._connection
        with translated(self._path):
            db.execute(begin)
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")


def _make_current(connection: sqlite3.Connection, path: str, *, read_only: bool) -> None:
    outdated = needs_migration(connection, path)
    if read_only and outdated:
        raise StoreUnusable(
            f"the database {path} is empty or older than schema {SCHEMA_VERSION}; "
            "`liqctl watch` brings it up to date"
        )
    if read_only:
        return
    finding = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if finding != "ok":
        raise damaged(path, finding)
    if outdated:
        from liqctl.store.schema import migrate  # noqa: PLC0415 - sqlite-utils takes 180 ms

        migrate(connection)


def _amounts(record: object, names: Sequence[str]) -> SimpleNamespace:
    return SimpleNamespace(**{name: columns.stored_amount(getattr(record, name)) for name in names})


def _queue_columns(row: QueueRow) -> dict[str, object]:
    return {"size": columns.stored_amount(row.size), "health": columns.stored_health(row.health)}


def _whole(high: int, low: int) -> int:
    return high * SPLIT + low


def _text_sum(found: Sequence[columns.Row], column: str) -> int:
    return sum(int(row[column]) for row in found if isinstance(row[column], str))
