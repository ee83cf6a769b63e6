"""A keeper with its API, and thousands of WebSocket clients of whom some never read.

`python -m tests.server.crowd --clients 5000 --seconds 180` prints one line of JSON: the memory of
the server, and how quickly the keeper decided with the clients and without them.
"""

import argparse
import asyncio
import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory

from liqctl.cli.bench_websocket import HANDSHAKE
from liqctl.server.limits import FILES_BESIDE, allow_files

DEAF_SHARE = 10
CONNECTING = 50
WATCHED = 20
LOOK_S = 1.0
MEMORY_MB_MAX = 300
PING, TEXT = 0x89, 0x81
STEP_MS = 500
SYMBOLS = {"SOL": 150.0, "BTC": 65_000.0, "ETH": 3_200.0}
FALL_A_STEP = 0.00005


class Reading(asyncio.Protocol):
    """A client that reads, answers pings, and may note what it hears."""

    deaf = False

    def __init__(self, crowd: "Crowd") -> None:
        self.crowd = crowd
        self.heard: list[int] | None = None
        self._rest = b""
        self._shaken = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(HANDSHAKE)

    def data_received(self, data: bytes) -> None:
        data = self._rest + data
        if not self._shaken:
            head, end, data = data.partition(b"\r\n\r\n")
            if not end:
                self._rest = head
                return
            self._shaken = True
            self.crowd.counts["greeted"] += 1
            if self.deaf:
                self.transport.pause_reading()
        self._rest = self._taken(data)

    def _taken(self, data: bytes) -> bytes:
        """Take whole frames; return the rest."""
        at, end = 0, len(data)
        while end - at >= 4:
            length, body = data[at + 1], at + 2
            if length == 126:
                length, body = int.from_bytes(data[at + 2 : at + 4]), at + 4
            if body + length > end:
                break
            if data[at] == TEXT:
                self.crowd.counts["messages"] += 1
                if self.heard is not None:
                    self._note(data[body : body + length])
            elif data[at] == PING:
                # The mask of a client may be any number; nought leaves everything as it is.
                pong = bytes((0x8A, 0x80 | length)) + bytes(4)
                self.transport.write(pong + data[body : body + length])
            at = body + length
        return data[at:]

    def _note(self, text: bytes) -> None:
        message = json.loads(text)
        if message["type"] == "gap":
            self.crowd.counts["gaps"] += 1
        elif message["type"] not in {"hello", "heartbeat"}:
            assert self.heard is not None
            self.heard.append(message["seq"])

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.lost(self)


class Deaf(Reading):
    """A client that takes the handshake and never reads again."""

    deaf = True


@dataclass(slots=True)
class Crowd:
    """Clients of one server; whoever does not read is let go sooner or later, and comes again."""

    port: int
    inside: set[Reading] = field(default_factory=set)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(
            ("greeted", "messages", "gaps", "deaf_lost", "readers_lost"), 0
        )
    )
    leaving: bool = False

    def lost(self, client: Reading) -> None:
        self.inside.discard(client)
        if not self.leaving:
            self.counts["deaf_lost" if client.deaf else "readers_lost"] += 1

    async def enter(self, kind: type[Reading], count: int) -> None:
        loop = asyncio.get_running_loop()
        for number in range(count):
            sock = socket.socket()
            sock.setblocking(False)
            if kind.deaf:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            await loop.sock_connect(sock, ("127.0.0.1", self.port))
            _, client = await loop.create_connection(lambda: kind(self), sock=sock)
            self.inside.add(client)
            if number % CONNECTING == 0:
                await asyncio.sleep(0.02)

    def leave(self) -> None:
        self.leaving = True
        for each in list(self.inside):
            each.transport.abort()


def path_of(seconds: float) -> Iterator[str]:
    """Yield the rows of prices that fall slowly all the time, so that there is always work."""
    for step in range(int(seconds * 1_000 / STEP_MS)):
        for symbol, price in SYMBOLS.items():
            yield f"{step * STEP_MS},{symbol},{price * (1 - FALL_A_STEP) ** step:.4f}"


@contextmanager
def keeper(place: Path, seconds: float, clients: int) -> Iterator[subprocess.Popen[str]]:
    """Run a daemon on an embedded chain that serves its API, for so many seconds."""
    path = place / "path.csv"
    path.write_text("unix_ms_offset,symbol,price\n" + "\n".join(path_of(seconds)) + "\n")
    room = str(clients + clients // 5)
    environment = {
        **os.environ,
        "DATABASE_URL": f"sqlite:{place}/k.db",
        "LIQCTL_SERVER_PORT": str(_free_port()),
        "LIQCTL_SERVER_CONNECTIONS": room,
        "LIQCTL_SERVER_CONNECTIONS_PER_ADDRESS": room,
    }
    command = ("watch", "--localnet", "--serve", "--positions", "4000", "--json", "--path", path)
    # Files, not pipes: nobody reads them meanwhile.
    with (place / "out").open("w") as out, (place / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "liqctl", *map(str, command), "--duration", str(int(seconds))],
            env=environment,
            stdout=out,
            stderr=log,
            text=True,
        )
        process.port = int(environment["LIQCTL_SERVER_PORT"])  # type: ignore[attr-defined]
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def _free_port() -> int:
    with socket.socket() as each:
        each.bind(("127.0.0.1", 0))
        return int(each.getsockname()[1])


def child_of(pid: int) -> int | None:
    """Return the process of the API."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    serving = [c for c in children if b"serve" in Path(f"/proc/{c}/cmdline").read_bytes()]
    return int(serving[0]) if serving else None


def memory_mb(pid: int, name: str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) // 1_024


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def until_listening(port: int, alive: Callable[[], bool]) -> None:
    while alive():
        with closing(socket.socket()) as each:
            if each.connect_ex(("127.0.0.1", port)) == 0:
                return
        await asyncio.sleep(0.2)
    raise RuntimeError("the keeper has ended")


@asynccontextmanager
async def crowded(port: int, clients: int) -> AsyncIterator[Crowd]:
    crowd = Crowd(port)
    try:
        await crowd.enter(Deaf, clients // DEAF_SHARE)
        await crowd.enter(Reading, clients - clients // DEAF_SHARE)
        yield crowd
    finally:
        crowd.leave()
        await asyncio.sleep(LOOK_S)


async def measure(clients: int, seconds: float) -> dict[str, object]:
    """Return figures of a third of the time without clients, a third with them, and one without."""
    allow_files(clients + FILES_BESIDE)
    calm_s, extra_s = seconds / 3, 90
    found: dict[str, object] = {"clients": clients, "seconds": seconds}
    with TemporaryDirectory() as folder:
        place = Path(folder)
        print(place, file=sys.stderr)
        with keeper(place, 2 * calm_s + seconds + extra_s, clients) as process:
            port: int = process.port  # type: ignore[attr-defined]
            await until_listening(port, lambda: process.poll() is None)
            await asyncio.sleep(10)  # the first liquidations of positions that were due at once
            spans = {"without": [], "with": []}  # type: dict[str, list[tuple[int, int]]]
            spans["without"].append(await _span(calm_s))
            async with crowded(port, clients) as crowd:
                found |= await _with(crowd, process.pid, clients, seconds, spans)
            spans["without"].append(await _span(calm_s))
            for name, of in spans.items():
                found |= {f"{key}_{name}": n for key, n in latencies(place / "k.db", of).items()}
        found["summary"] = "verified_on_chain"
    return found


async def _with(
    crowd: Crowd, pid: int, clients: int, seconds: float, spans: dict[str, list[tuple[int, int]]]
) -> dict[str, object]:
    """Stay for so long; whoever was let go for not reading is replaced."""
    api = child_of(pid)
    assert api is not None
    readers = [each for each in crowd.inside if not each.deaf]
    watched = readers[:: max(1, len(readers) // WATCHED)]
    for each in watched:
        each.heard = []
    began_ms, began_cpu, end = _now_ms(), cpu_s(api), time.monotonic() + seconds
    most_mb, fewest = 0, clients
    while time.monotonic() < end:
        await asyncio.sleep(LOOK_S)
        fewest = min(fewest, len(crowd.inside))
        await crowd.enter(Deaf, clients - len(crowd.inside))
        most_mb = max(most_mb, memory_mb(api, "VmRSS"))
    spans["with"].append((began_ms, _now_ms()))
    holes = sum(b - a != 1 for each in watched for a, b in zip(each.heard, each.heard[1:]))  # type: ignore[arg-type, index]
    return {
        "api_memory_mb_max": most_mb,
        "api_cpu_share": round((cpu_s(api) - began_cpu) / seconds, 2),
        "events_heard": max(len(each.heard or ()) for each in watched),
        "holes": holes,
        "fewest_inside": fewest,
        **crowd.counts,
        "same_api": child_of(pid) == api,
    }


async def _span(seconds: float) -> tuple[int, int]:
    began_ms = _now_ms()
    await asyncio.sleep(seconds)
    return began_ms, _now_ms()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def latencies(file: Path, spans: list[tuple[int, int]]) -> dict[str, int]:
    """Return how quickly was decided what was recorded within the spans."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        rows = db.execute("SELECT created_at, decision_latency_us FROM liquidations").fetchall()
    times = [us for at_ms, us in rows if us and any(a <= at_ms < b for a, b in spans)]
    if len(times) < 2:
        return {"decisions": len(times)}
    cuts = quantiles(times, n=100, method="inclusive")
    return {"decisions": len(times), "p50_us": int(cuts[49]), "p99_us": int(cuts[98])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=180)
    given = parser.parse_args()
    print(json.dumps(asyncio.run(measure(given.clients, given.seconds))))  # noqa: T201 - a script


if __name__ == "__main__":
    main()
