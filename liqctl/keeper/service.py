"""The keeper: wiring, the decide loop, supervision and the orderly end."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from liqctl.chain.stream import Subscriptions
from liqctl.core.breaker import BreakerRules
from liqctl.core.engine import Engine
from liqctl.core.events import (
    AccountsSeen,
    Cause,
    CheckDue,
    Decision,
    Notice,
    OutcomeSeen,
    Queued,
    Result,
    SnapshotSeen,
    Wanted,
)
from liqctl.core.guards import Limits, sol_price_of
from liqctl.core.queue import Pacing, Queue
from liqctl.core.sending import Rules
from liqctl.core.sending_events import Stop
from liqctl.core.status import Status, status_text
from liqctl.errors import LiqctlError, RpcError, invariant
from liqctl.keeper.blockhash import RecentBlockhash
from liqctl.keeper.book import ColumnBook
from liqctl.keeper.context import Context
from liqctl.keeper.doubting import guard_of
from liqctl.keeper.draft import Drafter, Fees
from liqctl.keeper.executor import Executor
from liqctl.keeper.feeds import Feeds, Intervals
from liqctl.keeper.gate import Gate
from liqctl.keeper.hermes_feed import HermesFeed
from liqctl.keeper.holds import Holds
from liqctl.keeper.mailbox import Mailbox
from liqctl.keeper.metrics import Vitals
from liqctl.keeper.mirror import Mirror, Pace
from liqctl.keeper.orders import Orders
from liqctl.keeper.purse import Purse
from liqctl.keeper.reading import FreshRead
from liqctl.keeper.recorder import Recorder
from liqctl.keeper.settle import Settler
from liqctl.keeper.shadow import Shadow
from liqctl.keeper.status import Parts, status_of
from liqctl.ports import Venue

log = structlog.get_logger(__name__)

IDLE_S = 0.25
WORKERS_S_MAX = 3.0
DRAIN_S_MAX = 5.0
WRITE_S_MAX = 1.0
MIRROR_S_MAX = 0.5
RECENT_NS = 1_500_000_000
START_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Everything about a keeper that is a number."""

    intervals: Intervals = field(default_factory=Intervals)
    limits: Limits = field(default_factory=Limits)
    fees: Fees = field(default_factory=Fees)
    pacing: Pacing = field(default_factory=Pacing)
    breaker: BreakerRules = field(default_factory=BreakerRules)
    pace: Pace = field(default_factory=Pace)
    queue_capacity: int = 10_000
    settle_ms: int = 500
    rebroadcast_ms: int = 2_000
    shadow_rate: float = 0.0


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
        self.engine = Engine(
            context.venue, ColumnBook(), queue, guard_of(context.venue, tuning.limits)
        )
        self.feeds = Feeds(
            context,
            self.mailbox,
            prices=streams.prices if streams else None,
            accounts=streams.accounts if streams else None,
            intervals=tuning.intervals,
        )
        self.hermes = None
        if context.hermes is not None:
            wanted = self.engine.prices.wanted
            self.hermes = HermesFeed(context.hermes, self.mailbox, context.clock, wanted)
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
            engine=self.engine,
        )
        self._vitals = Vitals(context.clock.monotonic_ns())
        self.recorder = Recorder(
            context, self.engine, lambda: status_text(self.status()), self._vitals
        )
        self.mirror = Mirror(context, self.engine, context.fleet.is_deciding, tuning.pace)
        self.purse = Purse(context, liquidator, tuning.limits)
        self.shadow = Shadow(context, self.engine, liquidator, tuning.shadow_rate)
        self._intervals = tuning.intervals
        self._sends = gate is not None
        self.orders = Orders(context, self.holds, self.mailbox, self.recorder.counts)
        self._working: set[str] = set()
        context.fleet.join(lambda: len(self._working), self.settler.unconfirmed)
        self._workers: set[asyncio.Task[None]] = set()
        self._started_ns = context.clock.monotonic_ns()
        self._told: tuple[int, Status] | None = None

    async def start(self) -> None:
        """Take up what an earlier run left in the air, then read everything once.

        Raises:
            StoreError: the store cannot be read.
            RpcError: the node does not answer.
        """
        taken = await self.settler.recover()
        if taken:
            log.info("recovered", attempts=taken)
        await self.orders.take()
        await self.feeds.load()
        # A node may have taken its time: what people have set aside meanwhile is not begun.
        await self.orders.take()
        self.absorb()
        self.started_slot = self.engine.slot
        known = {market.symbol for market, _ in self.engine.markets()}
        limits = self._limits
        named = limits.market_prices.keys() | limits.markets_allowed | limits.markets_denied
        for symbol in sorted(named - known):
            log.warning("market_unknown", symbol=symbol, venue=self._context.venue.id)

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
                tasks.create_task(self.mirror.run(), name="mirror"),
                tasks.create_task(self.purse.run(), name="purse"),
                tasks.create_task(self.orders.run(), name="orders"),
                tasks.create_task(self._sample_fund(), name="insurance"),
                tasks.create_task(self._decide(tasks), name="decide"),
            ]
            if self.hermes is not None:
                parts.append(tasks.create_task(self.hermes.run(), name="hermes"))
            if self._drafter is not None:
                prices = self._drafter.prices
                parts.append(tasks.create_task(prices.run(), name="priority_prices"))
            if self.shadow.draws:
                parts.append(tasks.create_task(self.shadow.run(), name="shadow"))
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
        await self.mirror.end(MIRROR_S_MAX)
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
        heeding = asyncio.create_task(self.orders.heed_switch(), name="switch")
        every = (starting, stopping, heeding)
        try:
            await asyncio.wait(every, return_when=asyncio.FIRST_COMPLETED)
            if heeding.done():
                await heeding  # it ends by an error only
            if starting.done():
                await starting
                return True
        except LiqctlError:
            await self.settler.drain(0)
            raise
        finally:
            for task in every:
                task.cancel()
            await asyncio.wait(every)
        self._context.store.hurry()
        await self.settler.drain(0)
        return False

    @property
    def venue(self) -> Venue:
        """The venue that is watched."""
        return self._context.venue

    def status(self) -> Status:
        """Return what there is to see of the keeper now."""
        parts = Parts(
            context=self._context,
            engine=self.engine,
            settler=self.settler,
            recorder=self.recorder,
            mirror=self.mirror,
            feeds=self.feeds.state,
            hermes=self.hermes,
            holds=self.holds,
            purse=self.purse,
            vitals=self._vitals,
            intervals=self._intervals,
            shadow=self.shadow,
            sends=self._sends,
            in_flight=self.in_flight(),
            started_ns=self._started_ns,
        )
        now_ns = self._context.clock.monotonic_ns()
        self._told = now_ns, status_of(parts, now_ns)
        return self._told[1]

    def recent_status(self) -> Status:
        """Return the status that was told last, where it is recent, without computing another."""
        if self._told is not None:
            told_ns, told = self._told
            if self._context.clock.monotonic_ns() - told_ns < RECENT_NS:
                return told
        return self.status()

    def absorb(self) -> None:
        """Apply everything in the mailbox to the engine and spread what follows."""
        began_ns, depth = self._context.clock.monotonic_ns(), self.mailbox.depth
        for event in self.mailbox.drain():
            if isinstance(event, AccountsSeen):
                self.mirror.note(event)
            before = self.engine.positions
            notices = self.engine.apply(event, self._context.steady.ms())
            self.recorder.note(notices)
            self._spread(notices)
            if isinstance(event, AccountsSeen) and before:
                # However a price came, it may turn a crowd; what a first reading finds had turned.
                turned = sum(isinstance(notice, Queued) for notice in notices)
                self.holds.turned(turned, self.engine.positions)
            if isinstance(event, CheckDue | SnapshotSeen):
                self._attend()
        now_ns = self._context.clock.monotonic_ns()
        self._vitals.absorbed(depth, began_ns, now_ns, self.engine.slot)

    def _attend(self) -> None:
        """Follow every price account, and whatever else the markets' terms name."""
        markets, prices = [market for market, _ in self.engine.markets()], self.engine.prices
        prices.attend(markets, self.engine.view)
        self.feeds.follow(market.price_account for market in markets)
        self.feeds.follow(prices.push_accounts)

    async def ask_beside(self) -> None:
        """Read once what prices are compared with; for one pass, which follows nothing.

        Raises:
            RpcError: the node did not answer. A price service that does not is only logged.
        """
        self._attend()
        if self.engine.prices.push_accounts:
            await self.feeds.read(self.engine.prices.push_accounts)
        if self.hermes is not None:
            await self.hermes.once()
        self.absorb()

    def in_flight(self) -> int:
        """Return how many positions are being worked on or have an attempt in the air."""
        return len(self._working | self.settler.positions())

    def _sol_price_e6(self) -> int | None:
        return sol_price_of(self.engine.mark_prices_e6(), self._limits)

    async def _held(self, position: str, read: FreshRead) -> str | None:
        """Return why nothing may be signed now for a position, by the switch as it stands now.

        The prices of the fresh read are looked at again, beside what other sources say by now.

        Raises:
            StoreError: the switch cannot be read.
        """
        await self.holds.look()
        exclusion = self.engine.exclusion(position, self._context.steady.ms())
        excluded = None if exclusion is None else exclusion.text
        return (
            self.holds.reason()
            or excluded
            or self.engine.objection(position, read.view, read.now_s)
        )

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
        while self._context.fleet.busy() < self._limits.in_flight_max:
            decision = self.engine.next(now_ms)
            if decision is None:
                return
            address = decision.position.address
            if decision.doubt is not None:
                stop = Stop(result=Result.REFUSED, cause=Cause.ORACLE, reason=decision.doubt)
                self._stopped(self._context.outcome_seen(address, stop), decision)
                continue
            if address in self.settler.positions():
                continue
            self._working.add(address)
            self.shadow.offer(address)
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
            self._stopped(self._context.broken_off(address, error), decision)
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

    async def _sample_fund(self) -> None:
        while True:
            await self._context.clock.sleep(self._intervals.insurance_ms / 1_000)
            self.recorder.sample_fund()
