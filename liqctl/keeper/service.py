"""The keeper: wiring, the decide loop, supervision and the orderly end."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from liqctl.chain.stream import Subscriptions
from liqctl.core.account import Seen
from liqctl.core.breaker import BreakerRules
from liqctl.core.engine import Engine
from liqctl.core.events import (
    AccountsSeen,
    Cause,
    CheckDue,
    Decision,
    ExclusionsSeen,
    Notice,
    Ordered,
    OutcomeSeen,
    Queued,
    Result,
    Wanted,
)
from liqctl.core.guards import Limits, sol_price_of
from liqctl.core.queue import Pacing, Queue
from liqctl.core.record import Exclusion, QueueRow
from liqctl.core.sending import Rules
from liqctl.errors import GuardError, LiqctlError, RpcError, StoreError, invariant
from liqctl.keeper.blockhash import RecentBlockhash
from liqctl.keeper.book import ColumnBook
from liqctl.keeper.context import Context
from liqctl.keeper.draft import Drafter, Fees
from liqctl.keeper.executor import Executor
from liqctl.keeper.feeds import Feeds, Intervals
from liqctl.keeper.gate import Gate
from liqctl.keeper.holds import Holds, Switch
from liqctl.keeper.mailbox import Mailbox
from liqctl.keeper.recorder import Recorder
from liqctl.keeper.settle import Settler
from liqctl.keeper.status import Parts, Status, status_of
from liqctl.ports import Store

log = structlog.get_logger(__name__)

IDLE_S = 0.25
ORDERS_S = 0.5
WORKERS_S_MAX = 3.0
DRAIN_S_MAX = 5.0
WRITE_S_MAX = 1.0
START_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Everything about a keeper that is a number."""

    intervals: Intervals = field(default_factory=Intervals)
    limits: Limits = field(default_factory=Limits)
    fees: Fees = field(default_factory=Fees)
    pacing: Pacing = field(default_factory=Pacing)
    breaker: BreakerRules = field(default_factory=BreakerRules)
    queue_capacity: int = 10_000
    settle_ms: int = 500
    rebroadcast_ms: int = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """The two subscription connections."""

    prices: Subscriptions
    accounts: Subscriptions


class Keeper:
    """Watches one venue and liquidates; `run` is the daemon, `load` and `engine` serve one pass.

    Without a gate nothing can be signed or sent. `liquidator` is whom a dry run simulates for.
    """

    def __init__(
        self,
        context: Context,
        *,
        gate: Gate | None,
        liquidator: str | None,
        streams: Streams | None,
        tuning: Tuning,
        stop_file: Path | None = None,
    ) -> None:
        """Wire the parts; nothing runs and nothing is read yet."""
        self._context = context
        self._limits = tuning.limits
        self.liquidator = liquidator
        self.started_slot = 0
        self.mailbox = Mailbox()
        queue = Queue(capacity=tuning.queue_capacity, pacing=tuning.pacing)
        jump_bps_max = tuning.limits.price_jump_bps_max
        self.engine = Engine(context.venue, ColumnBook(), queue, price_jump_bps_max=jump_bps_max)
        self.feeds = Feeds(
            context,
            self.mailbox,
            prices=streams.prices if streams else None,
            accounts=streams.accounts if streams else None,
            intervals=tuning.intervals,
        )
        self._blockhash = RecentBlockhash(context.chain, context.clock, lambda: self.engine.slot)
        self._drafter = (
            None
            if liquidator is None
            else Drafter(context, self._blockhash, liquidator, tuning.fees)
        )
        self.holds = Holds(context, tuning.breaker, stop_file)
        rules = Rules(limits=tuning.limits, rebroadcast_ms=tuning.rebroadcast_ms)
        self.settler = Settler(
            context,
            gate,
            self._settled,
            interval_ms=tuning.settle_ms,
            rules=rules,
            sol_price=self._sol_price_e6,
        )
        self.executor = Executor(
            context,
            self.settler,
            gate=gate,
            drafter=self._drafter,
            hold=self._held,
            known_slot=lambda: self.engine.slot,
        )
        self.recorder = Recorder(context, self.engine, lambda: self.status().as_json())
        self._insurance_s = tuning.intervals.insurance_ms / 1_000
        self._orders_version: int | None = None
        self._working: set[str] = set()
        self._workers: set[asyncio.Task[None]] = set()
        self._started_ns = context.clock.monotonic_ns()

    async def start(self) -> None:
        """Take up what an earlier run left in the air, then read everything once.

        Raises:
            StoreError: the store cannot be read.
            RpcError: the node does not answer.
        """
        taken = await self.settler.recover()
        if taken:
            log.info("recovered", attempts=taken)
        await self._apply_orders()
        await self.feeds.load()
        self.absorb()
        self.started_slot = self.engine.slot

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then settle or leave on record what is in the air.

        Raises:
            BaseExceptionGroup: a part of the keeper died; everything has stopped.
        """
        if not await self._started(stop):
            return
        async with asyncio.TaskGroup() as tasks:
            parts = [
                tasks.create_task(self.feeds.run(), name="feeds"),
                tasks.create_task(self.settler.run(), name="settler"),
                tasks.create_task(self._blockhash.run(), name="blockhash"),
                tasks.create_task(self.recorder.run(), name="recorder"),
                tasks.create_task(self._take_orders(), name="orders"),
                tasks.create_task(self._sample_fund(), name="insurance"),
                tasks.create_task(self._decide(tasks), name="decide"),
            ]
            if self._drafter is not None:
                prices = self._drafter.prices
                parts.append(tasks.create_task(prices.run(), name="priority_prices"))
            stopping = tasks.create_task(stop.wait(), name="stop")
            await asyncio.wait([stopping, *parts], return_when=asyncio.FIRST_COMPLETED)
            ended = [part.get_name() for part in parts if part.done()]
            invariant(not ended, f"a part of the keeper ended by itself: {', '.join(ended)}")
            self._context.store.hurry()
            log.info("stopping", in_flight=len(self.settler.positions()))
            for part in parts:
                part.cancel()
            if self._workers:
                _, late = await asyncio.wait(self._workers, timeout=WORKERS_S_MAX)
                for worker in late:
                    worker.cancel()
        await self.settler.drain(DRAIN_S_MAX)
        self.absorb()
        await self.recorder.end(WRITE_S_MAX)
        log.info("stopped", left_in_flight=len(self.settler.positions()))

    async def _start_patiently(self) -> None:
        """Start, although a node answers wrongly or not at all for some seconds."""
        for pause_s in START_PAUSES_S:
            try:
                return await self.start()
            except RpcError as error:
                log.warning("read_failed", error=str(error), again_in_s=pause_s)
                await self._context.clock.sleep(pause_s)
        return await self.start()

    async def _started(self, stop: asyncio.Event) -> bool:
        """Start, unless `stop` is set meanwhile: a node that hangs must not hold up the end."""
        starting = asyncio.create_task(self._start_patiently(), name="start")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([starting, stopping], return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                await starting
                return True
        except LiqctlError:
            await self.settler.drain(0)
            raise
        finally:
            starting.cancel()
            stopping.cancel()
            await asyncio.wait([starting, stopping])
        await self.settler.drain(0)
        return False

    def status(self) -> Status:
        """Return what there is to see of the keeper now."""
        parts = Parts(
            engine=self.engine,
            settler=self.settler,
            recorder=self.recorder,
            feeds=self.feeds.state,
            holds=self.holds,
            in_flight=self.in_flight(),
            started_ns=self._started_ns,
        )
        return status_of(parts, self._context.clock.monotonic_ns())

    def absorb(self) -> None:
        """Apply everything in the mailbox to the engine and spread what follows."""
        for event in self.mailbox.drain():
            notices = self.engine.apply(event, self._context.steady.ms())
            self.recorder.note(notices)
            self._spread(notices)
            if isinstance(event, AccountsSeen) and event.received_ns:
                turned = sum(isinstance(notice, Queued) for notice in notices)
                self.holds.turned(turned, self.engine.positions)
            if isinstance(event, CheckDue):
                markets = [market for market, _ in self.engine.markets()]
                self.feeds.follow(market.price_account for market in markets)

    def in_flight(self) -> int:
        """Return how many positions are being worked on or have an attempt in the air."""
        return len(self._working | self.settler.positions())

    def _sol_price_e6(self) -> int | None:
        return sol_price_of(self.engine.mark_prices_e6(), self._limits)

    async def _held(self, position: str, view: Mapping[str, Seen]) -> str | None:
        """Return why nothing may be signed now for a position, by the switch as it stands now.

        The view is what was read afresh: a price in it may have jumped.

        Raises:
            StoreError: the switch cannot be read.
        """
        await self.holds.look()
        exclusion = self.engine.exclusion(position, self._context.steady.ms())
        excluded = None if exclusion is None else exclusion.text
        jumped = "price_jumped" if self.engine.price_jumped(view) else None
        return self.holds.reason() or excluded or jumped

    async def _decide(self, tasks: asyncio.TaskGroup) -> None:
        """Drain the mailbox at the keeper's own pace and start what is due."""
        while True:
            await self.mailbox.wait(IDLE_S)
            self.absorb()
            self._start_due(tasks)

    def _start_due(self, tasks: asyncio.TaskGroup) -> None:
        if self.holds.reason() is not None:
            return
        now_ms = self._context.steady.ms()
        while len(self._working) + self.settler.unconfirmed() < self._limits.in_flight_max:
            decision = self.engine.next(now_ms)
            if decision is None:
                return
            address = decision.position.address
            if address in self.settler.positions():
                continue
            self._working.add(address)
            worker = tasks.create_task(self._work(decision), name=f"work {address}")
            self._workers.add(worker)
            worker.add_done_callback(self._workers.discard)

    async def _work(self, decision: Decision) -> None:
        """Carry one decision out; a typed error is an outcome, anything else ends the keeper."""
        address = decision.position.address
        try:
            execution = await self.executor.run(decision, self.engine.view)
        except LiqctlError as error:
            log.warning("decision_failed", position=address, error=str(error))
            outcome = OutcomeSeen(
                position=address,
                result=Result.FAILED,
                cause=_cause_of(error),
                reason=f"{_failure_class(error)}:{error}",
                jitter_permille=int(self._context.rng.random() * 1_000),
            )
            self._stopped(outcome, decision)
            return
        finally:
            self._working.discard(address)
        if execution.read is not None:
            self.mailbox.put(AccountsSeen(seen=tuple(execution.read.view.values())))
        if execution.outcome is not None:
            self._stopped(execution.outcome, decision)

    def _stopped(self, outcome: OutcomeSeen, decision: Decision) -> None:
        """A decision ended before anything was sent."""
        self.recorder.note_outcome(outcome, decision.assessment.symbol)
        log.info(
            "decision_stopped",
            position=outcome.position,
            result=outcome.result.value,
            reason=outcome.reason,
        )
        self.holds.ended(outcome)
        self.mailbox.put(outcome)

    def _settled(self, outcome: OutcomeSeen) -> None:
        """An attempt ended; what it changed is read again before it is judged again."""
        self.holds.ended(outcome)
        self.mailbox.put(outcome)
        if outcome.cause is Cause.RETRY and self._drafter is not None:
            self._drafter.forget_units()
        fund = self._context.venue.insurance_address()
        touched = [outcome.position, *([fund] if fund is not None else [])]
        self.feeds.want(touched, min_context_slot=outcome.slot)

    def _spread(self, notices: list[Notice]) -> None:
        for notice in notices:
            if isinstance(notice, Wanted):
                self.feeds.want(notice.addresses)

    async def _take_orders(self) -> None:
        """Do what people ordered through the store; a failing store is reported by the recorder."""
        while True:
            await self._context.clock.sleep(ORDERS_S)
            try:
                await self._apply_orders()
            except StoreError:
                self.recorder.counts["store_errors"] += 1

    async def _apply_orders(self) -> None:
        """Do what others wrote since the last look; the kill switch counts whatever else fails."""
        store, now_ms = self._context.store, self._context.clock.unix_ms()
        known = self._orders_version
        switch, orders = await store.run(_look, store.store, self.holds, known, now_ms)
        self.holds.note(switch)
        if isinstance(orders, StoreError):
            raise orders
        if orders is None:
            return
        self._orders_version, rows, exclusions = orders
        for row in rows:
            if row.order is not None:
                self.mailbox.put(Ordered(position=row.position, order=row.order))
        self.mailbox.put(ExclusionsSeen(exclusions=tuple(exclusions)))

    async def _sample_fund(self) -> None:
        while True:
            await self._context.clock.sleep(self._insurance_s)
            self.recorder.sample_fund()


Orders = tuple[int, list[QueueRow], list[Exclusion]]


def _look(
    store: Store, holds: Holds, known_version: int | None, now_ms: int
) -> tuple[Switch, Orders | StoreError | None]:
    """Return the switch, and the orders unless nobody has written since that version."""
    switch = holds.read(store)
    try:
        version = store.version()
        if version == known_version:
            return switch, None
        return switch, (version, store.take_orders(now_ms), store.exclusions())
    except StoreError as error:
        return switch, error


def _cause_of(error: LiqctlError) -> Cause:
    match error:
        case StoreError():
            return Cause.STORE
        case RpcError():
            return Cause.RPC
        case _:
            return Cause.GUARD


def _failure_class(error: LiqctlError) -> str:
    """Return one word for what kind of thing failed."""
    match error:
        case StoreError():
            return "store"
        case GuardError():
            return "guard"
        case _:
            return type(error).__name__.lower().removesuffix("error")
