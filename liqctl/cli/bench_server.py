"""What a page of liquidations costs over HTTP, beside the least that can answer with the same rows."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from liqctl.errors import present

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from liqctl.core.record import Liquidation

ROWS = 100
CONNECTIONS = 8
REQUESTS = 1_000
ROUNDS = 5
PATH = f"/liquidations/recent?limit={ROWS}"
OURS, BARE = "liqctl", "bare"


def page_us(place: Path, rounds: int = ROUNDS) -> tuple[float, float]:
    """Return the least a page of 100 liquidations takes in microseconds: by `liqctl serve`, and bare.

    The rival is a Starlette application with one route, which encodes the rows with msgspec for
    every request and reads no database. Both run in processes of their own, on the same server
    with the same limits, and are asked in turn from this one over 8 connections.
    """
    with TemporaryDirectory(dir=place, prefix=".liqctl-bench-") as folder:
        url = f"sqlite:{folder}/bench.db"
        _fill(url)
        with _server(OURS, url) as ours, _server(BARE, url) as bare:
            return asyncio.run(_measure((ours, bare), rounds))


async def _measure(ports: tuple[int, int], rounds: int) -> tuple[float, float]:
    from liqctl.ports import SystemClock  # noqa: PLC0415 - 30 ms, not for --help

    clock = SystemClock()
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds + 1):
        for port, found in zip(ports, times, strict=True):
            started_ns = clock.monotonic_ns()
            async with asyncio.TaskGroup() as group:
                for _ in range(CONNECTIONS):
                    group.create_task(_ask(port, REQUESTS // CONNECTIONS))
            if number:  # the first round warms both up
                found.append((clock.monotonic_ns() - started_ns) / REQUESTS / 1_000)
    return min(times[0]), min(times[1])


async def _ask(port: int, count: int) -> None:
    """Ask one after the other on one connection; read each answer whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
    request = f"GET {PATH} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()
    for _ in range(count):
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.partition(b"content-length: ")[2].partition(b"\r\n")[0]
        await reader.readexactly(int(length))
    writer.close()
    await writer.wait_closed()


@contextmanager
def _server(kind: str, url: str) -> Iterator[int]:
    """Run a server in a process of its own and yield its port."""
    command = [sys.executable, "-m", "liqctl.cli.bench_server", kind, url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - ourselves
        try:
            yield int(present(process.stdout, "the server has no output").readline())
        finally:
            process.terminate()


def _fill(url: str) -> None:
    """Record liquidations as a keeper does."""
    from liqctl.cli.bench_record import bench_attempt, bench_claim  # noqa: PLC0415 - with the store
    from liqctl.core.intent import AttemptState, Ending, IntentState  # noqa: PLC0415 - with the core
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    ending = Ending(state=AttemptState.FINALIZED_OK, final_slot=1, fee_lamports=5_000)
    with closing(open_store(url)) as store:
        for number in range(ROWS):
            claim = bench_claim(store, number)
            attempt = bench_attempt(claim, number)
            store.record_attempt(claim, attempt, 1)
            store.end_attempt(
                attempt.signature,
                ending,
                liquidation=_liquidation(attempt.signature),
                failure=None,
                intent_state=IntentState.DONE,
                now_ms=1,
            )


def _liquidation(signature: str) -> "Liquidation":
    from liqctl.core.record import Liquidation  # noqa: PLC0415 - with the core only

    return Liquidation(
        position_pubkey="position",
        owner_pubkey="owner",
        symbol="SOL",
        liquidated_size=15_922_089_947,
        liquidation_price=149_718_150,
        liquidator_pubkey="liquidator",
        liquidator_reward=5_959_565,
        bad_debt=0,
        health_factor_before=0.98,
        is_full_liquidation=False,
        timestamp=1_700_000_000,
        created_at=1_700_000_000_000,
        venue="reference",
        signature=signature,
        slot=1,
        fee_lamports=5_000,
        fund_delta=5_959_565,
        bad_debt_uncovered=0,
        generation=1,
        decision_latency_us=9_000,
    )


def main(kind: str, url: str) -> None:
    """Serve on a free port, which is printed, until SIGTERM."""
    from liqctl.ports import SystemClock, SystemRng  # noqa: PLC0415 - in this process only
    from liqctl.server.options import ServeOptions  # noqa: PLC0415 - in this process only
    from liqctl.server.run import World, run, serve_app  # noqa: PLC0415 - in this process only

    def ready(address: str) -> None:
        print(address.rpartition(":")[2], flush=True)

    options = ServeOptions(database_url=url, port=0)
    if kind == OURS:
        run(options, World(clock=SystemClock(), rng=SystemRng(), ready=ready))
    else:
        serve_app(_bare(url), options, ready)


def _bare(url: str) -> "Starlette":
    """Return the least that can answer with the rows: one route, encoded anew for each request."""
    import msgspec  # noqa: PLC0415 - in this process only
    from starlette.applications import Starlette  # noqa: PLC0415 - in this process only
    from starlette.requests import Request  # noqa: PLC0415 - in this process only
    from starlette.responses import Response  # noqa: PLC0415 - in this process only
    from starlette.routing import Route  # noqa: PLC0415 - in this process only

    from liqctl.core.record import LiquidationQuery  # noqa: PLC0415 - in this process only
    from liqctl.server.views import liquidation_view  # noqa: PLC0415 - in this process only
    from liqctl.store.open import open_store  # noqa: PLC0415 - in this process only

    with closing(open_store(url, create=False, read_only=True)) as store:
        views = [liquidation_view(row) for row in store.liquidations(LiquidationQuery(limit=ROWS))]

    async def recent(request: Request) -> Response:
        limit = int(request.query_params["limit"])
        body = msgspec.json.encode({"items": views[:limit]})
        return Response(body, media_type="application/json")

    return Starlette(routes=[Route("/liquidations/recent", recent)])


if __name__ == "__main__":
    main(*sys.argv[1:])
