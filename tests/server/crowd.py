"""A keeper with its API, and thousands of WebSocket clients of whom some never read.

`python -m tests.server.crowd --clients 5000 --seconds 180` prints one line of JSON: the memory of
the server, and how quickly the keeper decided in three equal runs: alone, beside the clients, and
with the same clients at a relay that is one client of the API. Clients are on other machines in
life. What they and the sending to them take of the processors here shows with the relay as well;
what they cost the keeper through its API and its database shows beside them only.
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
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import quantiles
from tempfile import TemporaryDirectory
from typing import Any

from liqctl.cli.bench_websocket import HANDSHAKE
from liqctl.core.status import read_status
from liqctl.server.limits import FILES_BESIDE, allow_files
from tests.server.guarded import free_port
from tests.server.steady import steady_path

DEAF_SHARE = 10
NICENESS = 19
CONNECTING = 50
WATCHED = 20
LOOK_S = 1.0
PATIENCE_S = 30.0  # less than the server's, so that so many are always inside
SETTLE_S = 60.0  # everybody is inside, and what was due at once is liquidated
ENTERING_S = 150.0
PHASES = ("alone", "beside", "relayed")
MEMORY_MB_MAX = 300
SLOWER_SHARE_MAX = 0.1
PING, TEXT = 0x89, 0x81
PACE_MS = 1_000
LINES_SHARE = 0.43  # of the positions, those whose line a falling market comes to

Figures = dict[str, Any]
UNTRUE = ("double_liquidations", "unrecorded", "not_on_chain", "different")


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
    """A client that takes the handshake and never reads again, not even that it was let go."""

    deaf = True


@dataclass(slots=True)
class Crowd:
    """Clients of one server; who does not read answers no ping, is let go, and comes again."""

    port: int
    inside: dict[Reading, None] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=lambda: Counter(gaps=0, readers_lost=0))
    leaving: bool = False

    def lost(self, client: Reading) -> None:
        self.inside.pop(client, None)
        if not (self.leaving or client.deaf):
            self.counts["readers_lost"] += 1

    async def enter(self, kind: type[Reading], count: int) -> None:
        loop = asyncio.get_running_loop()
        for number in range(count):
            sock = socket.socket()
            sock.setblocking(False)
            if kind.deaf:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            await loop.sock_connect(sock, ("127.0.0.1", self.port))
            _, client = await loop.create_connection(lambda: kind(self), sock=sock)
            self.inside[client] = None
            if number % CONNECTING == 0:
                await asyncio.sleep(0.02)

    async def renew(self, share: float) -> None:
        """Let this share of those who do not read come again, the oldest first."""
        deaf = [each for each in self.inside if each.deaf]
        for each in deaf[: round(len(deaf) * share)]:
            del self.inside[each]
            each.transport.abort()
            await self.enter(Deaf, 1)
            self.counts["deaf_renewed"] += 1

    def leave(self) -> None:
        self.leaving = True
        for each in list(self.inside):
            each.transport.abort()


@dataclass(frozen=True, slots=True, kw_only=True)
class Daemon:
    """A keeper on an embedded chain, with its API."""

    process: subprocess.Popen[bytes]
    port: int
    place: Path

    @property
    def database(self) -> Path:
        """Return its file."""
        return self.place / "k.db"

    @property
    def api(self) -> int:
        """Return the process of the API."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        (serving,) = [c for c in children if b"serve" in Path(f"/proc/{c}/cmdline").read_bytes()]
        return int(serving)

    def summary(self) -> dict[str, object]:
        """End it; return its last word."""
        self.process.terminate()
        self.process.wait(60)
        last = (self.place / "out").read_text().splitlines()[-1:]
        return dict(json.loads(last[0])) if last else {}


@contextmanager
def daemon(place: Path, seconds: float, clients: int) -> Iterator[Daemon]:
    """Run a keeper that serves, and whose work comes at an even pace."""
    path, positions = place / "path.csv", int(seconds * 1_000 / PACE_MS / LINES_SHARE) + 100
    path.write_text(steady_path(positions, PACE_MS, seconds))
    room, port = str(clients + clients // DEAF_SHARE), free_port()
    command = ("watch", "--localnet", "--serve", "--positions", positions, "--json", "--path", path)
    # Files, not pipes: nobody reads them meanwhile.
    with (place / "out").open("w") as out, (place / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "liqctl", *map(str, command), "--duration", str(int(seconds))],
            env={
                **os.environ,
                "DATABASE_URL": f"sqlite:{place / 'k.db'}",
                "LIQCTL_SERVER_PORT": str(port),
                "LIQCTL_SERVER_CONNECTIONS": room,
                "LIQCTL_SERVER_CONNECTIONS_PER_ADDRESS": room,
            },
            stdout=out,
            stderr=log,
        )
        try:
            yield Daemon(process=process, port=port, place=place)
        finally:
            process.kill()
            process.wait(60)


async def until_serving(there: Daemon) -> None:
    while there.process.poll() is None:
        with closing(socket.socket()) as each:
            if each.connect_ex(("127.0.0.1", there.port)) == 0:
                return
        await asyncio.sleep(LOOK_S)
    raise RuntimeError("the keeper has ended")


def memory_mb(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) // 1_024


def files_of(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def crowded(port: int, clients: int) -> AsyncIterator[Crowd]:
    crowd = Crowd(port)
    try:
        await crowd.enter(Reading, clients - clients // DEAF_SHARE)
        await crowd.enter(Deaf, clients // DEAF_SHARE)
        while crowd.counts["greeted"] < clients:  # noqa: ASYNC110 - a second more is no matter
            await asyncio.sleep(LOOK_S)
        yield crowd
    finally:
        crowd.leave()
        await asyncio.sleep(LOOK_S)


def measure(clients: int, seconds: float) -> Figures:
    """Return figures of three equal runs of a keeper: alone, beside the clients, with the relay.

    Each is a program of its own, whose clients cannot take back the priority that they gave up.
    """
    found: Figures = {"clients": clients, "seconds": seconds}
    for when in PHASES:
        given = ("--clients", str(clients), "--seconds", str(seconds), "--phase", when)
        done = subprocess.run(
            [sys.executable, "-m", "tests.server.crowd", *given],
            stdout=subprocess.PIPE,
            check=True,
        )
        one = json.loads(done.stdout)
        for name in UNTRUE:
            found[name] = found.get(name, 0) + one.pop(name)
        found |= one
    found["violations"] = list(violations(found))
    return found


async def phase(when: str, clients: int, seconds: float) -> Figures:
    """Return figures of one keeper in the same span of its life, whatever is beside it."""
    allow_files(clients + FILES_BESIDE)
    found: Figures = {}
    with (
        TemporaryDirectory() as folder,
        daemon(Path(folder), seconds + ENTERING_S, clients) as there,
    ):
        await until_serving(there)
        begin_s, pace = time.monotonic() + SETTLE_S, Pace()
        with relay_of(there, when) as port:
            # On a machine of their own clients would take nothing of the keeper's.
            os.nice(NICENESS)
            async with crowded(port, 0 if when == "alone" else clients) as crowd:
                await asyncio.sleep(max(0.0, begin_s - time.monotonic()))
                with pace.watching(there):
                    if when == "beside":
                        found |= await _with(crowd, there.api, clients, seconds)
                    else:
                        await asyncio.sleep(seconds)
                found[f"messages_{when}"] = crowd.counts["messages"]
        summary = there.summary()
        found |= {name: summary[name] for name in UNTRUE}
        found |= {f"{name}_{when}": value for name, value in pace.figures(there).items()}
    return found


@contextmanager
def relay_of(there: Daemon, when: str) -> Iterator[int]:
    """Yield the port where clients go in; a relay runs in every phase, so that all are alike."""
    command = [sys.executable, "-m", "tests.server.relay", str(there.port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            yield port if when == "relayed" else there.port
        finally:
            process.kill()


@dataclass(slots=True)
class Pace:
    """How quickly a keeper works within a span of time."""

    began_ms: int = 0
    ended_ms: int = 0
    batches: Counter[int] = field(default_factory=Counter)

    @contextmanager
    def watching(self, there: Daemon) -> Iterator[None]:
        """Take in what happens within the block."""
        self.began_ms, before = time.time_ns() // 1_000_000, batches_of(there)
        yield
        self.ended_ms, self.batches = time.time_ns() // 1_000_000, batches_of(there) - before

    def figures(self, there: Daemon) -> Figures:
        """Return how long batches of news took to be judged, and decisions to be sent, at most."""
        with closing(sqlite3.connect(there.database)) as db:
            rows = db.execute(
                "SELECT decision_latency_us FROM liquidations"
                " WHERE created_at >= ? AND created_at < ? AND decision_latency_us > 0",
                (self.began_ms, self.ended_ms),
            ).fetchall()
        times = [us for (us,) in rows]
        cuts = quantiles(times, n=100, method="inclusive") if len(times) > 1 else [0.0] * 99
        return {
            "decisions": len(times),
            "decision_p50_us": int(cuts[49]),
            "decision_p99_us": int(cuts[98]),
            "batches": self.batches.total(),
            "batch_p99_us": quantile_us(self.batches, 0.99),
        }


def batches_of(there: Daemon) -> Counter[int]:
    """Return by their upper bound in microseconds how many batches of news there have been."""
    with closing(sqlite3.connect(there.database)) as db:
        ((text,),) = db.execute(
            "SELECT value_json FROM state WHERE name LIKE 'keeper:%'"
        ).fetchall()
    took = read_status(text).pulse.batch_us
    bounds = (*took.bounds, 10 * took.bounds[-1])
    below = (0, *took.counts)
    return Counter(
        {
            bound: upto - less
            for bound, upto, less in zip(bounds, (*took.counts, took.count), below, strict=True)
        }
    )


def quantile_us(batches: Counter[int], share: float) -> int:
    """Return a quantile, on a straight line within its bucket as Prometheus does."""
    rank, lower = share * batches.total(), 0
    for bound in sorted(batches):
        if rank <= batches[bound]:
            return round(lower + (bound - lower) * rank / batches[bound])
        rank, lower = rank - batches[bound], bound
    return lower


def violations(found: Figures) -> Iterator[str]:
    """Yield what was promised and not kept."""
    if found["api_memory_mb_max"] > MEMORY_MB_MAX:
        yield f"MEMORY {found['api_memory_mb_max']} MB"
    for name in ("holes", "gaps", "readers_lost", *UNTRUE):
        if found[name]:
            yield f"{name.upper()} {found[name]}"
    without_us = max(found[f"decision_p99_us_{when}"] for when in ("alone", "relayed"))
    if found["decision_p99_us_beside"] > (1 + SLOWER_SHARE_MAX) * without_us:
        yield f"SLOWER p99 of decisions {found['decision_p99_us_beside']} us, else {without_us} us"


async def _with(crowd: Crowd, api: int, clients: int, seconds: float) -> Figures:
    """Stay for so long; whoever was let go for not reading is replaced."""
    readers = [each for each in crowd.inside if not each.deaf]
    watched = readers[:: max(1, len(readers) // WATCHED)]
    heard: list[list[int]] = [[] for _ in watched]
    for each, numbers in zip(watched, heard, strict=True):
        each.heard = numbers
    began_cpu, began_own, end = cpu_s(api), time.process_time(), time.monotonic() + seconds
    most_mb, fewest = 0, clients
    while time.monotonic() < end:
        await asyncio.sleep(LOOK_S)
        await crowd.renew(LOOK_S / PATIENCE_S)
        most_mb = max(most_mb, memory_mb(api))
        fewest = min(fewest, files_of(api))
    return {
        "api_memory_mb_max": most_mb,
        "connections_min": fewest,
        "api_cpu_share": round((cpu_s(api) - began_cpu) / seconds, 2),
        "clients_cpu_share": round((time.process_time() - began_own) / seconds, 2),
        "events": max(map(len, heard)),
        "holes": sum(b - a != 1 for numbers in heard for a, b in pairwise(numbers)),
        **crowd.counts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--phase", choices=PHASES, help="only this one, without a verdict")
    given = parser.parse_args()
    if given.phase is None:
        found = measure(given.clients, given.seconds)
    else:
        found = asyncio.run(phase(given.phase, given.clients, given.seconds))
    print(json.dumps(found))  # noqa: T201 - a script


if __name__ == "__main__":
    main()
