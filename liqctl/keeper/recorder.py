"""What the keeper knows, written for others: events, queue rows, insurance, state. Off the hot path."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from typing import TypeVar

import structlog

from liqctl.core.engine import Engine
from liqctl.core.events import (
    Cause,
    Dequeued,
    FundMoved,
    Notice,
    OutcomeSeen,
    PriceMoved,
    Queued,
    Result,
)
from liqctl.core.insurance import InsuranceState
from liqctl.core.queue import Entry
from liqctl.core.record import FailureRow, InsuranceSample, QueueRow, QueueState
from liqctl.core.status import state_name
from liqctl.errors import StoreError
from liqctl.keeper.context import Context
from liqctl.keeper.frames import (
    Frame,
    fund_frame,
    left_frame,
    price_frame,
    queued_frame,
    state_frame,
)
from liqctl.keeper.metrics import Vitals

log = structlog.get_logger(__name__)

FLUSH_S = 0.2
STATE_NS = 1_000_000_000
PRICE_EVENT_MS = 1_000
PENDING_MAX = 10_000
EVENTS_KEPT = 200_000
PRUNE_MS = 60_000

Row = TypeVar("Row")


class Recorder:
    """Gathers notices in bounded memory and writes them five times a second, its state once.

    Of each market at most one price a second becomes an event: the first after a pause at once,
    the last of a rush when the second is over.

    When the database fails, what is gathered stays and is tried again; the keeper signs nothing
    meanwhile, because every attempt needs a commit of its own.
    """

    def __init__(
        self, context: Context, engine: Engine, summary: Callable[[], str], vitals: Vitals
    ) -> None:
        """Write for `engine`; `summary` is what other programs read as the keeper's state, JSON."""
        self._context = context
        self._vitals = vitals
        self._venue = context.venue
        self._store = context.store
        self._clock = context.clock
        self._engine = engine
        self._summary = summary
        self._events: deque[tuple[str, str, int]] = deque(maxlen=PENDING_MAX)
        self._failures: deque[FailureRow] = deque(maxlen=PENDING_MAX)
        self._samples: deque[InsuranceSample] = deque(maxlen=PENDING_MAX)
        self._price_event_ms: dict[str, int] = {}
        self._prices_waiting: dict[str, PriceMoved] = {}
        self._mirrored: dict[str, Entry] = {}
        self._left: set[str] = set()
        self._pruned_ms = 0
        self._stated_ns = 0
        self._forgotten = False
        self._failing_since_ns: int | None = None
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
                    self._event(queued_frame(self._venue.id, notice), now_ms)
                case Dequeued():
                    self._left.add(notice.position)
                    frame = left_frame(self._venue.id, notice.position, notice.reason)
                    self._event(frame, now_ms)
                case FundMoved():
                    self._note_fund(notice, now_ms)
                case _:
                    pass

    def note_outcome(self, outcome: OutcomeSeen, symbol: str) -> None:
        """Take in how a decision ended; only failures before the wire become rows here."""
        # A lost database is told as that: what could not be recorded was never tried.
        ended = "unrecorded" if outcome.cause is Cause.STORE else outcome.result
        self.counts[f"outcome_{ended}"] += 1
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

    def failing_ms(self, now_ns: int) -> int | None:
        """Return for how long the store has been failing, None while it works."""
        since_ns = self._failing_since_ns
        return None if since_ns is None else (now_ns - since_ns) // 1_000_000

    async def run(self) -> None:
        """Write again and again; ends only by cancellation."""
        while True:
            slept_ns = self._clock.monotonic_ns()
            await self._clock.sleep(FLUSH_S)
            now_ns = self._clock.monotonic_ns()
            self._vitals.slept(now_ns - slept_ns - round(FLUSH_S * 1e9), now_ns)
            due = now_ns - self._stated_ns >= STATE_NS
            if not (due or self._gathered()):
                continue
            # Cut off in the middle, nobody would know whether a row had been written.
            self._flushing = asyncio.create_task(self.flush(state=due), name="flush")
            await asyncio.shield(self._flushing)

    def _gathered(self) -> bool:
        """Whether there is anything to write."""
        self._release_prices()
        rows = self._events or self._failures or self._samples
        return bool(rows) or any(self._moves())

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
        put, name = self._store.store.put_state, state_name(self._venue.id)
        await self._store.run(put, name, self._summary(), self._clock.unix_ms())
        self._stated_ns = self._clock.monotonic_ns()

    async def flush(self, *, state: bool = True) -> None:
        """Write what has gathered; a database that fails is reported once and tried again."""
        self._release_prices()
        try:
            await self._forget_old_rows()
            await self._flush_queue()
            await self._flush_rows()
            await self._prune()
            if state:
                await self._put_state()
        except StoreError as error:
            self.counts["store_errors"] += 1
            if self._failing_since_ns is None:
                self._failing_since_ns = self._clock.monotonic_ns()
                log.error("store_failed", error=str(error))  # noqa: TRY400 - the text says it all
        else:
            if self._failing_since_ns is not None:
                log.warning("store_works_again")
            self._failing_since_ns = None

    async def _forget_old_rows(self) -> None:
        """Delete the venue's queue of an earlier run, once: this one finds its own candidates."""
        if self._forgotten:
            return
        rows = await self._store.run(self._store.store.queue)
        venue = self._venue.id
        old = [row.position for row in rows if row.order is None and row.venue == venue]
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
        changed, removed = self._moves()
        if changed or removed:
            rows = [row for entry in changed if (row := self._row(entry)) is not None]
            await self._store.run(self._store.store.put_queue, rows, removed)
            self._note_queue(changed, removed)
            self._mirrored.update((entry.position, entry) for entry in changed)
            for position in removed:
                del self._mirrored[position]

    def _moves(self) -> tuple[list[Entry], list[str]]:
        """Return the candidates that are not as they were written, and who is none any more."""
        queue, mirrored = self._engine.queue, self._mirrored
        held = filter(None, map(queue.get, queue.positions()))
        # An entry that changed is another object.
        changed = [entry for entry in held if mirrored.get(entry.position) is not entry]
        return changed, [position for position in mirrored if position not in queue]

    def _note_queue(self, changed: list[Entry], removed: list[str]) -> None:
        """Tell whose state is another one now, and who left without a word of the engine."""
        now_ms = self._clock.unix_ms()
        for position in removed:
            if position not in self._left:
                self._event(left_frame(self._venue.id, position, "settled"), now_ms)
        self._left.clear()
        for entry in changed:
            before = self._mirrored.get(entry.position)
            state = QueueState.WAITING if before is None else before.state
            if entry.state is not state:
                self._event(state_frame(self._venue.id, entry), now_ms)

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
        steady_ms = self._context.steady.ms()
        last_ms = self._price_event_ms.get(notice.market)
        soon = last_ms is not None and steady_ms - last_ms < PRICE_EVENT_MS
        if notice.refusal is None and soon:
            self._prices_waiting[notice.market] = notice
            return
        self._prices_waiting.pop(notice.market, None)
        self._price_event_ms[notice.market] = steady_ms
        self._event(price_frame(self._venue.id, notice), now_ms)

    def _release_prices(self) -> None:
        """Let prices that came too soon after another become events when their time has come."""
        if not self._prices_waiting:
            return
        waiting, self._prices_waiting = self._prices_waiting, {}
        for notice in waiting.values():
            self._note_price(notice, self._clock.unix_ms())

    def _note_fund(self, notice: FundMoved, now_ms: int) -> None:
        changed = self.fund is None or self.fund.balance != notice.fund.balance
        self.fund, self.fund_slot = notice.fund, notice.slot
        if changed:
            self._samples.append(self._sample(notice.fund, notice.slot))
            self._event(fund_frame(self._venue.id, notice), now_ms)

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

    def _event(self, frame: Frame, now_ms: int) -> None:
        if len(self._events) == PENDING_MAX:
            self.counts["events_dropped"] += 1
        self._events.append((*frame, now_ms))
