"""Everything of one seed before its first step: cluster, nodes, network, databases, seats."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from liqctl.core.guards import Limits
from liqctl.keeper.feeds import Intervals
from liqctl.localnet.genesis import PROGRAM_ID
from liqctl.sim.clock import SimClock
from liqctl.sim.cluster import Cluster, ClusterConfig
from liqctl.sim.door import Door, DoorLog
from liqctl.sim.evidence import Books
from liqctl.sim.faults import StoreFaults, Tally
from liqctl.sim.journal import Journal
from liqctl.sim.life import Seat
from liqctl.sim.loop import VirtualLoop
from liqctl.sim.market import Market, MarketConfig
from liqctl.sim.network import Network
from liqctl.sim.node import Node, NodeConfig
from liqctl.sim.planted import START_UNIX_MS, keeper_key, planted
from liqctl.sim.serving import serve_node
from liqctl.sim.swarm import Swarm, rng_for
from liqctl.sim.truth import Bench
from liqctl.store.sqlite import SqliteStore
from liqctl.venues.reference import ReferenceVenue

RAM_DISK = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
PORT = 8899
STEPS_MAX = 3_000_000
RECONCILE_MS = 6_000


@dataclass(slots=True)
class Stage:
    """The world of one seed."""

    swarm: Swarm
    loop: VirtualLoop
    network: Network
    cluster: Cluster
    market: Market
    nodes: list[Node]
    log: DoorLog
    tally: Tally
    bench: Bench
    clock: SimClock
    seats: list[Seat] = field(default_factory=list)
    books: list[Books] = field(default_factory=list)
    operators: dict[Path, SqliteStore] = field(default_factory=dict)

    def now_s(self) -> float:
        """Return the virtual time."""
        return self.loop.time()

    def close(self) -> None:
        """Release everything."""
        self.loop.close()
        self.network.close()
        for store in self.operators.values():
            store.close()


@contextmanager
def set_up(swarm: Swarm) -> Iterator[Stage]:
    """Yield the stage of a seed; its databases live in a folder that goes with it."""
    ram = RAM_DISK if RAM_DISK.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="liqctl-sim-", dir=ram))
    try:
        stage = _stage(swarm)
        try:
            _seat_keepers(stage, folder)
            yield stage
        finally:
            stage.close()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _stage(swarm: Swarm) -> Stage:
    seed = swarm.seed
    loop = VirtualLoop(seed, steps_max=STEPS_MAX)
    network = Network(loop, rng_for(seed, "network"))
    genesis = planted().selection(rng_for(seed, "genesis"), swarm.positions)
    cluster = Cluster(rng_for(seed, "cluster"), genesis, _cluster_config(swarm))
    tally = Tally()
    cluster.on_fault = tally.fault
    clock = SimClock(loop, START_UNIX_MS)
    log = DoorLog()
    market = Market(cluster, rng_for(seed, "market"), _market_config(swarm))
    for kind in sorted(tally.kinds):
        tally.begin(kind, counted=False)
    nodes = [
        Node(
            cluster,
            f"node{number}",
            rng_for(seed, f"node {number}"),
            node_config(swarm, number),
            now_ms=clock.unix_ms,
        )
        for number in range(swarm.endpoints)
    ]
    return Stage(
        swarm=swarm,
        loop=loop,
        network=network,
        cluster=cluster,
        market=market,
        nodes=nodes,
        log=log,
        tally=tally,
        bench=Bench(cluster, ReferenceVenue(PROGRAM_ID), genesis.rivals[0]),
        clock=clock,
    )


def serve(stage: Stage, on_send: Callable[[str, str], None]) -> None:
    """Put every node on its host; called inside the loop's world."""
    for number, node in enumerate(stage.nodes):
        door = Door(node, stage.network, stage.log, on_send)
        serve_node(stage.network, host_of(number), PORT, door)


def host_of(node: int) -> str:
    """Return the host of a node."""
    return f"127.0.0.{11 + node}"


def _cluster_config(swarm: Swarm) -> ClusterConfig:
    faults = swarm.cluster
    return ClusterConfig(
        window_blocks=swarm.window_blocks,
        finalize_blocks=swarm.finalize_blocks,
        skipped=faults.skipped_slot,
        dropped=faults.dropped,
        late=faults.late,
        fork=faults.fork,
        fork_depth_max=faults.fork_depth_max,
        lands_again=faults.lands_again,
        unconfirmed=faults.unconfirmed,
    )


def node_config(swarm: Swarm, number: int) -> NodeConfig:
    """Return what a node does; the first alone lacks history and lies, where one does."""
    faults = swarm.node
    return NodeConfig(
        refused_429=faults.refused_429,
        reset=faults.reset,
        answer_lost=faults.answer_lost,
        outage=faults.outage,
        outage_s_max=faults.outage_s_max,
        lag_blocks=faults.lag_blocks,
        minority=faults.minority,
        own_root=faults.own_root,
        stray_windows=faults.stray_windows,
        amnesia=faults.amnesia,
        history_blocks=faults.pruned_blocks if faults.pruned else None,
        no_history=faults.no_history and number == 0,
        root_lag_blocks=faults.root_lag_blocks,
        index_lag_blocks=faults.index_lag_blocks,
        lie=faults.lie if number == 0 else 0.0,
        lies_about=faults.lies_about,
        unfiltered=faults.unfiltered if number == 0 else 0.0,
        push=faults.push,
        delay_ms_max=faults.delay_ms_max,
    )


def _market_config(swarm: Swarm) -> MarketConfig:
    faults = swarm.market
    return MarketConfig(
        path=faults.path,
        pace=faults.pace,
        publish_blocks=faults.publish_blocks,
        prices=faults.prices,
        accounts=faults.accounts,
        rivals=faults.rivals,
        traders=faults.traders,
        visits=faults.visits,
        pauses=faults.pauses,
    )


def _seat_keepers(stage: Stage, folder: Path) -> None:
    """Give every keeper its name, database, key and settings."""
    swarm = stage.swarm
    shared = _books(stage, folder / "shared.db", 0)
    seats = [("keeper0", shared, False)]
    for number in range(1, swarm.keepers):
        alone = swarm.separate_store and number == swarm.keepers - 1
        books = _books(stage, folder / "alone.db", 1) if alone else shared
        seats.append((f"keeper{number}", books, False))
    if swarm.dry_keeper:
        seats.append(("dry", _books(stage, folder / "dry.db", 2), True))
    for name, books, dry in seats:
        stage.seats.append(_seat(stage, name, books, dry=dry))
        books.keepers = (*books.keepers, name)


def _books(stage: Stage, database: Path, number: int) -> Books:
    database.write_bytes(_template())
    books = Books(
        path=str(database),
        liquidator=str(keeper_key(number).pubkey()),
        journal=Journal(str(database)),
        limits=_limits(stage.swarm),
    )
    stage.books.append(books)
    stage.tally.follow(books.journal)
    # Beside being the operator's, a connection that stays open keeps the log from being emptied
    # by every keeper that closes, as it would not be on a host with a second program.
    stage.operators[database] = SqliteStore.open(
        str(database), create=False, read_only=False, busy_timeout_ms=0
    )
    return books


def _limits(swarm: Swarm) -> Limits:
    return Limits(
        hour_lamports=swarm.hour_lamports,
        balance_lamports_min=swarm.balance_lamports_min,
        profit_floor_permille=swarm.profit_floor_permille,
        in_flight_max=swarm.in_flight_max,
    )


def _seat(stage: Stage, name: str, books: Books, *, dry: bool) -> Seat:
    swarm, number = stage.swarm, len(stage.seats)
    urls = [f"http://{host_of(node)}:{PORT}" for node in range(swarm.endpoints)]
    first = number % swarm.endpoints
    own = rng_for(swarm.seed, f"store {name}")
    return Seat(
        name=name,
        loop=stage.loop,
        clock=SimClock(stage.loop, START_UNIX_MS),
        dice=rng_for(swarm.seed, f"keeper {name}"),
        urls=tuple(urls[first:] + urls[:first]),
        ws_url=f"ws://{host_of(first)}:{PORT + 1}",
        program=PROGRAM_ID,
        database=Path(books.path),
        journal=books.journal,
        faults=StoreFaults(swarm.own, own, stage.tally),
        key=keeper_key(stage.books.index(books)),
        dry=dry,
        intervals=Intervals(
            check_ms=swarm.check_interval_ms,
            cache_ms=swarm.check_interval_ms,
            reconcile_ms=RECONCILE_MS,
        ),
        limits=books.limits,
        settle_ms=swarm.settle_ms,
    )


@cache
def _template() -> bytes:
    """Return an empty database of the present schema, made once in a process."""
    with tempfile.TemporaryDirectory(prefix="liqctl-sim-") as folder:
        path = Path(folder) / "template.db"
        SqliteStore.open(str(path), create=True, read_only=False, busy_timeout_ms=0).close()
        return path.read_bytes()
