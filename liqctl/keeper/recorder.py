"""What the keeper knows, written for others: events, queue rows, insurance, state. Off the hot path."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable
from typing import TypeVar

import structlog

from liqctl.core.engine import Engine
from liqctl.core.events import Dequeued, FundMoved, Notice, OutcomeSeen, PriceMoved, Queued, Result
from liqctl.core.insurance import InsuranceState
from liqctl.core.queue import Entry
from liqctl.core.record import FailureRow, InsuranceSample, QueueRow
from liqctl.errors import StoreError
from liqctl.keeper.context import Context

log = structlog.get_logger(__name__)

FLUSH_S = 0.25
STATE_NS = 1_000_000_000
PRICE_EVENT_MS = 1_000
PENDING_MAX = 10_000
EVENTS_KEPT = 200_000
PRUNE_MS = 60_000

Row = TypeVar("Row")


class Recorder:
    """Gathers notices in bounded memory and writes them four times a second, its state once.

    When the database fails, what is gathered stays and is tried again; the keeper signs nothing
    meanwhile, because every attempt needs a commit of its own.
    """

    def __init__(
        self, context: Context, engine: Engine, summary: Callable[[], dict[str, object]]
    ) -> None:
        """Write for `engine`; `summary` is what other programs read as the keeper's state."""
        self._venue = context.venue
        self._store = context.store
        self._clock = context.clock
        self._engine = engine
        self._summary = summary
        self._events: deque[tuple[str, str, int]] = deque(maxlen=PENDING_MAX)
        self._failures: deque[FailureRow] = deque(maxlen=PENDING_MAX)
        self._samples: deque[InsuranceSample] = deque(maxlen=PENDING_MAX)
        self._price_event_ms: dict[str, int] = {}
        self._mirrored: dict[str, Entry] = {}
        self._pruned_ms = 0
        self._stated_ns = 0
        self._forgotten = False
        self._failing = False
        self._flushing: asyncio.Task[None] | None = None
        self.fund: InsuranceState | None = None
        self.fund_slot = 0
        self.counts: Counter[str] = Counter()

    def note(self, notices: list[Notice]) -> None:
        """Take in what the engine said."""
        now_ms = self._clock.unix_ms()
        for notice in notices:
            match notice:
                case PriceMoved():
                    self._note_price(notice, now_ms)
                case Queued():
                    self.counts["queued"] += 1
                    self._event("queue", now_ms, **_queued(notice))
                case Dequeued():
                    body = {"position_id": notice.position, "reason": notice.reason}
                    self._event("queue", now_ms, change="removed", **body)
                case FundMoved():
                    self._note_fund(notice, now_ms)
                case _:
                    pass

    def note_outcome(self, outcome: OutcomeSeen, symbol: str) -> None:
        """Take in how a decision ended; only failures before the wire become rows here."""
        self.counts[f"outcome_{outcome.result}"] += 1
        if outcome.result is Result.REFUSED:
            self.counts[f"refused_{outcome.reason}"] += 1
        if outcome.result is Result.FAILED:
            failure_class, _, detail = outcome.reason.partition(":")
            self._failures.append(
                FailureRow(
                    position_pubkey=outcome.position,
                    symbol=symbol,
                    failure_class=failure_class,
                    detail=detail or failure_class,
                    signature=None,
                    slot=outcome.slot or None,
                    at_ms=self._clock.unix_ms(),
                )
            )

    def sample_fund(self) -> None:
        """Keep the present balance as a point of the history."""
        if self.fund is not None:
            self._samples.append(self._sample(self.fund, self.fund_slot))

    async def run(self) -> None:
        """Write again and again; ends only by cancellation."""
        while True:
            await self._clock.sleep(FLUSH_S)
            # Cut off in the middle, nobody would know whether a row had been written.
            due = self._clock.monotonic_ns() - self._stated_ns >= STATE_NS
            self._flushing = asyncio.create_task(self.flush(state=due), name="flush")
            await asyncio.shield(self._flushing)

    async def end(self, timeout_s: float) -> None:
        """Write what is left, for at most this long; call it when `run` was cancelled."""
        try:
            async with asyncio.timeout(timeout_s):
                if self._flushing is not None:
                    await self._flushing
                await self.flush()
        except TimeoutError:
            log.warning("events_not_written", count=len(self._events))

    async def _put_state(self) -> None:
        summary = json.dumps(self._summary())
        put = self._store.store.put_state
        await self._store.run(put, "keeper", summary, self._clock.unix_ms())
        self._stated_ns = self._clock.monotonic_ns()

    async def flush(self, *, state: bool = True) -> None:
        """Write what has gathered; a database that fails is reported once and tried again."""
        try:
            await self._forget_old_rows()
            await self._flush_rows()
            await self._flush_queue()
            await self._prune()
            if state:
                await self._put_state()
        except StoreError as error:
            self.counts["store_errors"] += 1
            if not self._failing:
                log.error("store_failed", error=str(error))  # noqa: TRY400 - the text says it all
            self._failing = True
        else:
            if self._failing:
                log.warning("store_works_again")
            self._failing = False

    async def _forget_old_rows(self) -> None:
        """Delete the queue of an earlier run, once: this one finds its own candidates."""
        if self._forgotten:
            return
        rows = await self._store.run(self._store.store.queue)
        old = [row.position for row in rows if row.order is None]
        await self._store.run(self._store.store.put_queue, [], old)
        self._forgotten = True

    async def _flush_rows(self) -> None:
        store = self._store.store
        await self._write_all(self._events, lambda event: store.append_event(*event))
        await self._write_all(self._failures, store.record_failure)
        await self._write_all(self._samples, store.record_insurance)

    async def _write_all(self, rows: deque[Row], write: Callable[[Row], object]) -> None:
        """Write rows one by one; one that could not be written is the first again."""
        while rows:
            row = rows.popleft()
            try:
                await self._store.run(write, row)
            except StoreError:
                if len(rows) < PENDING_MAX:
                    rows.appendleft(row)
                raise

    async def _prune(self) -> None:
        """Drop the oldest events beyond what is kept, now and then."""
        now_ms = self._clock.unix_ms()
        if now_ms - self._pruned_ms >= PRUNE_MS:
            self._pruned_ms = now_ms
            await self._store.run(self._store.store.prune_events, EVENTS_KEPT)

    async def _flush_queue(self) -> None:
        present = {entry.position: entry for entry in self._engine.queue.entries()}
        changed = [e for p, e in present.items() if self._mirrored.get(p) != e]
        removed = [p for p in self._mirrored if p not in present]
        if changed or removed:
            rows = [row for entry in changed if (row := self._row(entry)) is not None]
            await self._store.run(self._store.store.put_queue, rows, removed)
            self._mirrored = present

    def _row(self, entry: Entry) -> QueueRow | None:
        position = self._engine.position(entry.position)
        if position is None:
            return None
        return QueueRow(
            position=entry.position,
            owner=position.owner,
            venue=self._venue.id,
            symbol=self._venue.symbol(position, self._engine.view),
            side=position.side.value,
            size=position.size,
            health=entry.health,
            state=entry.state,
            reason=entry.reason,
            tries=entry.tries,
            next_try_ms=entry.next_try_ms,
            since_ms=entry.since_ms,
        )

    def _note_price(self, notice: PriceMoved, now_ms: int) -> None:
        last_ms = self._price_event_ms.get(notice.market, 0)
        if notice.refusal is None and now_ms - last_ms < PRICE_EVENT_MS:
            return
        self._price_event_ms[notice.market] = now_ms
        self._event(
            "price_update",
            now_ms,
            symbol=notice.symbol,
            price=notice.price_e6,
            slot=notice.slot,
            refusal=notice.refusal,
        )

    def _note_fund(self, notice: FundMoved, now_ms: int) -> None:
        changed = self.fund is None or self.fund.balance != notice.fund.balance
        self.fund, self.fund_slot = notice.fund, notice.slot
        if changed:
            self._samples.append(self._sample(notice.fund, notice.slot))
            self._event("insurance_fund", now_ms, balance=notice.fund.balance, slot=notice.slot)

    def _sample(self, fund: InsuranceState, slot: int) -> InsuranceSample:
        return InsuranceSample(
            venue=self._venue.id,
            address=fund.address,
            balance=fund.balance,
            bad_debt_covered=fund.bad_debt_covered,
            bad_debt_uncovered=fund.bad_debt_uncovered,
            slot=slot,
            at_ms=self._clock.unix_ms(),
        )

    def _event(self, frame_type: str, now_ms: int, **body: object) -> None:
        if len(self._events) == PENDING_MAX:
            self.counts["events_dropped"] += 1
        self._events.append((frame_type, json.dumps({"type": frame_type, **body}), now_ms))


def _queued(notice: Queued) -> dict[str, object]:
    verdict = notice.assessment
    return {
        "change": "added",
        "position_id": notice.position.address,
        "symbol": verdict.symbol,
        "kind": verdict.kind,
        "equity": verdict.equity,
        "maintenance_margin": verdict.maintenance_margin,
    }
