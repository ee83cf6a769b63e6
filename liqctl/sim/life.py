"""One life of a keeper: the product's own parts, wired as `watch` wires them, on a simulated host."""

import asyncio
import signal
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from solders.keypair import Keypair

from liqctl.chain.client import Chain
from liqctl.chain.member import Endpoint
from liqctl.chain.pool import Pool
from liqctl.chain.rpc import HttpRpc, RpcLimits
from liqctl.chain.stream import Subscriptions
from liqctl.chain.wallet import KeySigner
from liqctl.core.breaker import BreakerRules
from liqctl.core.guards import Limits
from liqctl.core.queue import Pacing
from liqctl.errors import LiqctlError, SettingsError
from liqctl.keeper.alerting import Alerting, AlertRules
from liqctl.keeper.context import Context
from liqctl.keeper.feeds import Intervals
from liqctl.keeper.gate import Gate
from liqctl.keeper.mirror import Pace
from liqctl.keeper.service import Keeper, Streams, Tuning
from liqctl.keeper.storage import StoreThread
from liqctl.ports import Store
from liqctl.sim.clock import SimClock
from liqctl.sim.faults import StoreFaults, StoreTap
from liqctl.sim.journal import Journal, Watch
from liqctl.sim.loop import VirtualLoop
from liqctl.sim.process import Process
from liqctl.sim.swarm import Dice
from liqctl.store.sqlite import SqliteStore
from liqctl.venues.registry import open_venue

# Shorter than in the field, so that the end of a pause lies within the time after the faults.
PACING = Pacing(backoff_ms=1_000, backoff_ms_max=4_000, tries_max=5, quarantine_ms=8_000)
BREAKER = BreakerRules(pause_ms=4_000, pause_ms_max=8_000)
# Rarer than in the field: what it writes decides nothing, and takes most of a seed's time.
PACE = Pace(tick_ms=2_000, plan_ms=20_000, round_ms=40_000, near=4)
RPC_LIMITS = RpcLimits(timeout_s=10.0, snapshot_timeout_s=20.0)
BUSY_TIMEOUT_MS = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seat:
    """Where a keeper sits: its name, host, key, database and settings. Its lives come and go."""

    name: str
    loop: VirtualLoop
    clock: SimClock
    dice: Dice
    urls: tuple[str, ...]
    ws_url: str
    program: str
    database: Path
    journal: Journal
    faults: StoreFaults
    key: Keypair
    dry: bool
    intervals: Intervals
    limits: Limits
    settle_ms: int

    @property
    def stop_file(self) -> Path:
        """The file whose presence stops the keepers of the database."""
        return self.database.with_name(f"{self.database.stem}.STOP")


@dataclass(slots=True)
class Life:
    """One process of a keeper, from its start to its death or end."""

    seat: Seat
    number: int
    process: Process = field(init=False)
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    asked_at_s: float | None = None
    frozen_s: float = 0.0
    cause: str = "kill_at_await"
    keeper: Keeper | None = None

    def __post_init__(self) -> None:
        """Make the process; nothing runs yet."""
        self.process = Process(self.seat.name)

    def start(self) -> asyncio.Task[None]:
        """Run it; the task ends when the keeper does, and never when the process is killed."""
        return self.seat.loop.spawn(self.process, self._live(), name=f"{self.seat.name} main")

    def terminate(self) -> None:
        """Send SIGTERM, as an operator or a service manager does."""
        if self.asked_at_s is None and signal.SIGTERM in self.process.signals:
            self.asked_at_s = self.seat.loop.time()
        self.process.signal(signal.SIGTERM)

    async def _live(self) -> None:
        """Run the keeper to its end.

        Raises:
            LiqctlError: it could not start, or a part of it failed; the program's exit code tells.
        """
        seat, loop = self.seat, asyncio.get_running_loop()
        thread = StoreThread(self._store())
        try:
            async with self._rpc() as rpc:
                chain = Chain(rpc)
                await _check_home(chain, thread, seat.clock.unix_ms())
                context = Context(
                    venue=open_venue("reference", seat.program),
                    chain=chain,
                    store=thread,
                    clock=seat.clock,
                    rng=seat.dice,
                    owner=self.owner,
                )
                self.keeper = self._keeper(context)
                loop.add_signal_handler(signal.SIGTERM, self.stop.set)
                loop.add_signal_handler(signal.SIGUSR1, self.keeper.holds.pull)
                await self._run_watched(self.keeper, context)
        finally:
            await thread.close()

    async def _run_watched(self, keeper: Keeper, context: Context) -> None:
        """Run the keeper with its alerts recorded, as `liqctl watch` does."""
        alerting = Alerting(
            context.store,
            context.clock,
            [keeper.recent_status],
            owner=context.owner,
            rules=AlertRules(),
        )
        async with asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(alerting.run(), name="alerts")
            await keeper.run(self.stop)
            watching.cancel()

    @property
    def owner(self) -> str:
        """The name under which this life holds leases."""
        return f"{self.seat.name}.{self.number}"

    def _store(self) -> Store:
        """Open the database; the connection closes with the process, whatever it was doing."""
        seat = self.seat
        store = SqliteStore.open(
            str(seat.database), create=True, read_only=False, busy_timeout_ms=BUSY_TIMEOUT_MS
        )
        connection = store._connection  # noqa: SLF001 - the simulator stands where the system stands
        self.process.at_death.append(connection.close)
        watch = Watch(
            connection,
            seat.journal,
            keeper=seat.name,
            life=self.owner,
            now=seat.loop.time,
        )
        return cast("Store", StoreTap(store, seat.faults, watch))  # by __getattr__

    def _rpc(self) -> Pool:
        seat = self.seat
        ends: list[Endpoint] = [
            HttpRpc(url, seat.clock, seat.dice, limits=RPC_LIMITS) for url in seat.urls
        ]
        return Pool(ends, ends, seat.clock, seat.dice)

    def _keeper(self, context: Context) -> Keeper:
        seat = self.seat
        signer = KeySigner(seat.key)
        return Keeper(
            context,
            gate=None if seat.dry else Gate(context.chain, signer, context.clock),
            liquidator=signer.address,
            streams=Streams(
                prices=Subscriptions(seat.ws_url, seat.clock, seat.dice),
                accounts=Subscriptions(seat.ws_url, seat.clock, seat.dice),
            ),
            tuning=Tuning(
                intervals=seat.intervals,
                limits=seat.limits,
                pacing=PACING,
                breaker=BREAKER,
                settle_ms=seat.settle_ms,
                pace=PACE,
            ),
            stop_file=seat.stop_file,
        )


async def _check_home(chain: Chain, thread: StoreThread, now_ms: int) -> None:
    """Tie the database to the cluster at the first start, check it at every later one."""
    quoted = f'"{await chain.genesis_hash()}"'
    known = await thread.run(thread.store.state, "genesis")
    if known is None:
        await thread.run(thread.store.put_state, "genesis", quoted, now_ms)
    elif known[0] != quoted:
        raise SettingsError("the database belongs to another cluster")


def bug_in(error: BaseException) -> str | None:
    """Return what in an error is not one of the product's own kinds, or None."""
    for leaf in _leaves(error):
        if not isinstance(leaf, LiqctlError):
            return f"{type(leaf).__name__}: {leaf}"
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
