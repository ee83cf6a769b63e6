"""What an event costs on its way to WebSocket clients: to a thousand of them, and to one in time."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from liqctl.errors import present

if TYPE_CHECKING:
    from starlette.applications import Starlette


CLIENTS = 1_000
ROUNDS = 15
EVENTS = 100
CONNECTING = 100
WAIT_S = 30.0
PAUSE_S = 0.06
NUDGED, POLLED, BARE, BROADCAST = "nudged", "polled", "bare", "broadcast"
PROMISED = {POLLED: ("by polling", 300_000.0), NUDGED: ("told by the keeper", 50_000.0)}
BODY = '{"type":"price_update","venue":"reference","symbol":"SOL","price":150000000,"slot":1}'
EVENT = b'"price_update"'
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: bGlxY3RsIGJlbmNobWFyaw==\r\n\r\n"
)


class Listener(asyncio.Protocol):
    """The least that is a WebSocket client: it shakes hands and tells when an event has come."""

    def __init__(self, told: Callable[[], None]) -> None:
        """Call `told` at each reading that holds an event."""
        self._told = told
        self.greeted = asyncio.Event()
        self.lost = asyncio.Event()
        self.bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the upgrade."""
        self.transport = cast("asyncio.Transport", transport)
        self.transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        """Take an event, or the greeting that follows the answer to the handshake."""
        self.bytes += len(data)
        if EVENT in data:
            self._told()
        elif b'"hello"' in data:
            self.greeted.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - any end is the end
        """Tell that the server has let go."""
        self.lost.set()


@asynccontextmanager
async def listeners(
    port: int, count: int, told: Callable[[], None]
) -> AsyncIterator[list[Listener]]:
    """Connect so many clients, a hundred at a time, and let go of them at the end."""
    loop = asyncio.get_running_loop()
    made: list[Listener] = []
    try:
        while len(made) < count:
            batch = [Listener(told) for _ in range(min(CONNECTING, count - len(made)))]
            async with asyncio.timeout(WAIT_S):
                for each in batch:
                    await loop.create_connection(lambda each=each: each, "127.0.0.1", port)  # type: ignore[misc]
                made += batch
                for each in batch:
                    await each.greeted.wait()
        yield made
    finally:
        for each in made:
            each.transport.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class Streamed:
    """Microseconds: medians between the first and the last client, by server; sorted latencies.

    A latency is the time from a commit until one client has the event.
    """

    spread_us: dict[str, float]
    latency_us: dict[str, list[int]]


def streamed(place: Path, clients: int, rounds: int, events: int) -> Streamed:
    """Measure `liqctl serve` with many clients and with one, and its rivals with as many.

    The rivals are a bare Starlette endpoint with a queue for each client, on the same server, and
    a bare server of the package websockets with its own broadcast. Every server has a process of
    its own, and all clients live in this one.
    """
    from liqctl.server.limits import FILES_BESIDE, allow_files  # noqa: PLC0415 - not for --help

    allow_files(clients + FILES_BESIDE)
    spreads, latencies = {}, {}
    with TemporaryDirectory(dir=place, prefix=".liqctl-bench-") as folder:
        url = database(folder)
        for kind in (NUDGED, POLLED, BARE, BROADCAST):
            with serving(kind, url, clients) as server:
                if kind in PROMISED:
                    latencies[kind] = sorted(asyncio.run(_latencies(server, events)))
                if kind != POLLED:
                    spreads[kind] = asyncio.run(_spread(server, clients, rounds))
    return Streamed(spread_us=spreads, latency_us=latencies)


async def _spread(server: "Served", clients: int, rounds: int) -> float:
    from statistics import median  # noqa: PLC0415 - 20 ms, not for --help

    from liqctl.ports import SystemClock  # noqa: PLC0415 - 30 ms, not for --help

    clock = SystemClock()
    times: list[int] = []
    complete = asyncio.Event()

    def told() -> None:
        times.append(clock.monotonic_ns())
        if len(times) == clients:
            complete.set()

    spreads = []
    async with listeners(server.port, clients, told):
        for _ in range(rounds + 1):
            times.clear()
            complete.clear()
            await asyncio.sleep(PAUSE_S)
            server.cause()
            async with asyncio.timeout(WAIT_S):
                await complete.wait()
            spreads.append((times[-1] - times[0]) / 1_000)
    return median(spreads[1:])  # the first round warms up


async def _latencies(server: "Served", events: int) -> list[int]:
    from liqctl.ports import SystemClock, SystemRng  # noqa: PLC0415 - 30 ms, not for --help

    clock, rng = SystemClock(), SystemRng()
    came = asyncio.Event()
    times = []
    async with listeners(server.port, 1, came.set):
        for _ in range(events):
            # At any moment between two looks at the database.
            await asyncio.sleep(PAUSE_S * (1 + rng.random()))
            came.clear()
            server.cause()
            recorded_ns = clock.monotonic_ns()
            async with asyncio.timeout(WAIT_S):
                await came.wait()
            times.append((clock.monotonic_ns() - recorded_ns) // 1_000)
    return times


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A server in a process of its own: where it listens, and how an event comes about there."""

    port: int
    pid: int
    cause: Callable[[], None]


@contextmanager
def serving(kind: str, url: str, connections: int) -> Iterator[Served]:
    """Run a server with room for so many connections until the block ends."""
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    command = [sys.executable, "-m", "liqctl.cli.bench_websocket", kind, url, str(connections)]
    with (
        closing(open_store(url)) as store,
        subprocess.Popen(  # noqa: S603 - ourselves
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        stdin = present(process.stdin, "the server has no input")
        lines = present(process.stdout, "the server has no output")
        port = int(next(filter(str.strip, lines)))  # the empty ones are signs of life

        def record() -> None:
            store.append_event("price_update", BODY, 1)

        def tell() -> None:
            stdin.write("\n")
            stdin.flush()

        def record_and_tell() -> None:
            record()
            tell()

        causes = {POLLED: record, NUDGED: record_and_tell, BARE: tell, BROADCAST: tell}
        try:
            yield Served(port=port, pid=process.pid, cause=causes[kind])
        finally:
            process.kill()  # a rival with clients does not end by itself


def database(folder: str) -> str:
    """Return the URL of a new database."""
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    url = f"sqlite:{folder}/bench.db"
    open_store(url).close()
    return url


def main(kind: str, url: str, connections: str) -> None:
    """Serve on a free port, which is printed, until SIGTERM."""
    from liqctl.ports import SystemClock, SystemRng  # noqa: PLC0415 - in this process only
    from liqctl.server.options import Limits, ServeOptions  # noqa: PLC0415 - in this process only
    from liqctl.server.run import World, run, serve_app  # noqa: PLC0415 - in this process only

    def ready(address: str) -> None:
        print(address.rpartition(":")[2], flush=True)

    count = int(connections)
    limits = Limits(connections=count, connections_per_address=count)
    options = ServeOptions(database_url=url, port=0, limits=limits)
    if kind == BROADCAST:
        asyncio.run(_broadcasting(ready))
    elif kind == BARE:
        news = asyncio.Event()
        serve_app(_bare(news), options, ready, news=news)
    else:
        world = World(clock=SystemClock(), rng=SystemRng(), ready=ready)
        run(options, world, supervised=kind == NUDGED)


def _bare(news: asyncio.Event) -> "Starlette":
    """Return the usual way to serve events: a queue for each client, and a task that empties it."""
    from starlette.applications import Starlette  # noqa: PLC0415 - in this process only
    from starlette.routing import WebSocketRoute  # noqa: PLC0415 - in this process only
    from starlette.websockets import WebSocket  # noqa: PLC0415 - in this process only

    queues: set[asyncio.Queue[str]] = set()

    async def spread() -> None:
        while True:
            await news.wait()
            news.clear()
            for queue in queues:
                queue.put_nowait(BODY)

    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text('{"type":"hello"}')
        queue: asyncio.Queue[str] = asyncio.Queue(64)
        queues.add(queue)
        while True:
            await socket.send_text(await queue.get())

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        spreading = asyncio.create_task(spread(), name="spread")
        yield
        spreading.cancel()

    return Starlette(routes=[WebSocketRoute("/ws", ws)], lifespan=lifespan)


async def _broadcasting(ready: Callable[[str], None]) -> None:
    """Serve events by the package websockets alone, which sends a frame to all clients in a loop."""
    from websockets.asyncio.server import ServerConnection, broadcast, serve  # noqa: PLC0415

    from liqctl.server.nudge import follow_keeper  # noqa: PLC0415 - in this process only

    news, clients = asyncio.Event(), set[ServerConnection]()

    async def greet(client: ServerConnection) -> None:
        await client.send('{"type":"hello"}')
        clients.add(client)
        await client.wait_closed()

    async with serve(greet, "127.0.0.1", 0, compression=None, backlog=CLIENTS) as server:
        await follow_keeper(news, lambda: None)
        ready(f"http://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
        while True:
            await news.wait()
            news.clear()
            broadcast(clients, BODY)


if __name__ == "__main__":
    main(*sys.argv[1:])
