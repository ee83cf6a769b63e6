"""`liqctl localnet`: an embedded chain on a port, with markets, traders and moving prices."""

import asyncio
import json
import os
import shlex
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Json, NoColor
from liqctl.errors import SettingsError

if TYPE_CHECKING:
    from liqctl.cli.render import Screen
    from liqctl.localnet.scenario import Scenario, ScenarioConfig
    from liqctl.localnet.server import LocalnetServer

PORT_MAX = 65_535
HOLD = b"hold"

app = command_app()


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """How the chain is offered, and when it ends."""

    port: int
    ws_port: int | None
    keypair: Path | None
    duration_s: float | None
    follow_stdin: bool
    as_json: bool


@app.command(
    epilog="Examples: liqctl localnet --keypair-out key.json; liqctl localnet --port 0 --json"
)
def localnet(
    *,
    positions: Annotated[
        int,
        typer.Option(
            "--positions", min=0, max=1_000_000, help="How many positions the traders open."
        ),
    ] = 2_000,
    markets: Annotated[
        int, typer.Option("--markets", min=1, max=8, help="How many markets there are.")
    ] = 3,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            max=2**63 - 1,
            help="What traders and prices grow from; the same seed gives the same run.",
        ),
    ] = 1,
    path: Annotated[
        str,
        typer.Option(
            "--path",
            metavar="crash|calm|FILE",
            help="How prices move; FILE is a CSV: unix_ms_offset,symbol,price[,confidence].",
        ),
    ] = "crash",
    slot_ms: Annotated[
        int, typer.Option("--slot-ms", min=1, max=60_000, help="Milliseconds in a slot.")
    ] = 400,
    start_delay: Annotated[
        int,
        typer.Option(
            "--start-delay",
            min=0,
            max=86_400,
            metavar="SECONDS",
            help="When prices begin to move, unless a WebSocket client connects earlier.",
        ),
    ] = 10,
    rivals: Annotated[
        int,
        typer.Option("--rivals", min=0, max=20, help="Other keepers that win a part of the races."),
    ] = 0,
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=PORT_MAX, help="For JSON-RPC; 0 takes a free one."),
    ] = 8899,
    ws_port: Annotated[
        int | None,
        typer.Option(
            "--ws-port",
            min=0,
            max=PORT_MAX,
            help="For WebSocket; the one after --port unless given.",
        ),
    ] = None,
    keypair_out: Annotated[
        Path | None,
        typer.Option(
            "--keypair-out",
            metavar="FILE",
            help="Write a liquidator's key and give it 100 SOL; a key file that is there already"
            " is kept, and its address gets them.",
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="SECONDS", min=0, help="End by itself after this long."),
    ] = None,
    accounts: Annotated[
        Path | None,
        typer.Option(
            "--accounts",
            metavar="DIR",
            help="Load account dumps too, as `solana account --output json` writes them.",
        ),
    ] = None,
    as_json: Json = False,
    no_color: NoColor = False,
    exit_with_stdin: Annotated[
        bool,
        typer.Option(
            "--exit-with-stdin", hidden=True, help="End with standard input; `hold` stops prices."
        ),
    ] = False,
) -> None:
    """Run an embedded chain with markets and traders."""
    from solders.pubkey import Pubkey  # noqa: PLC0415 - 30 ms, not for --help

    from liqctl.cli.render import Screen  # noqa: PLC0415 - 40 ms, not for --help
    from liqctl.localnet.scenario import ScenarioConfig  # noqa: PLC0415 - 150 ms, not for --help
    from liqctl.ports import SystemClock  # noqa: PLC0415 - 30 ms, not for --help

    liquidator = None if keypair_out is None else Pubkey.from_string(_liquidator(keypair_out, seed))
    config = ScenarioConfig(
        positions=positions,
        markets=markets,
        seed=seed,
        path=path,
        slot_ms=slot_ms,
        rivals=rivals,
        start_unix_s=SystemClock().unix_ms() // 1000,
        start_delay_slots=start_delay * 1000 // slot_ms,
        accounts=accounts,
        liquidator=liquidator,
    )
    running = Running(
        port=port,
        ws_port=ws_port,
        keypair=keypair_out,
        duration_s=duration,
        follow_stdin=exit_with_stdin,
        as_json=as_json,
    )
    _run(Screen(no_color=no_color), config, running)


def _run(screen: "Screen", config: "ScenarioConfig", running: Running) -> None:
    from liqctl.localnet.scenario import Scenario  # noqa: PLC0415 - 150 ms, not for --help

    with _progress(screen, config.positions, quiet=running.as_json) as progress:
        scenario = Scenario(config, progress=progress)
    asyncio.run(_serve(screen, scenario, running))


def _liquidator(path: Path, seed: int) -> str:
    """Return the address of the key in the file; a file that is not there gets the seed's key.

    Raises:
        SettingsError: the file is there and is no key file of ours, or it cannot be written.
    """
    from liqctl.chain.wallet import load_signer  # noqa: PLC0415 - 30 ms, not for --help
    from liqctl.localnet.scenario import liquidator_key  # noqa: PLC0415 - 150 ms, not for --help

    offered = liquidator_key(seed)
    if os.path.lexists(path):
        return load_signer(f"file:{path}").address
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SettingsError(f"cannot write the key file {path}: {error.strerror}") from error
    with os.fdopen(handle, "w", encoding="ascii") as file:
        json.dump(list(bytes(offered)), file)
    return str(offered.pubkey())


@contextmanager
def _progress(
    screen: "Screen", positions: int, *, quiet: bool
) -> Iterator[Callable[[int], None] | None]:
    """Show how many positions are open, on a terminal only."""
    if quiet or not screen.err.is_terminal:
        yield None
        return
    from rich.progress import Progress  # noqa: PLC0415 - on a terminal only

    with Progress(console=screen.err, transient=True) as bar:
        task = bar.add_task("opening positions", total=positions)
        yield lambda opened: bar.update(task, completed=opened)


async def _serve(screen: "Screen", scenario: "Scenario", running: Running) -> None:
    from liqctl.localnet.server import (  # noqa: PLC0415 - 60 ms, not for --help
        LocalnetServer,
        ServerConfig,
    )
    from liqctl.ports import SystemClock  # noqa: PLC0415 - 30 ms, not for --help

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    config = ServerConfig(port=running.port, ws_port=running.ws_port)
    async with LocalnetServer(scenario.world, SystemClock(), config) as server:
        if running.follow_stdin:
            await _follow_stdin(scenario, stop)
        _announce(screen, scenario, server, running)
        with suppress(TimeoutError):
            async with asyncio.timeout(running.duration_s):
                await stop.wait()


class _Parent(asyncio.Protocol):
    """Standard input from a parent: lines of one word, and an end that is the end of all."""

    def __init__(self, scenario: "Scenario", stop: asyncio.Event) -> None:
        self._scenario = scenario
        self._stop = stop

    def data_received(self, data: bytes) -> None:
        if HOLD in data.split():
            self._scenario.hold()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - any end is the end
        self._stop.set()


async def _follow_stdin(scenario: "Scenario", stop: asyncio.Event) -> None:
    kind = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        raise SettingsError("--exit-with-stdin needs a pipe on standard input")
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: _Parent(scenario, stop), sys.stdin)


def _announce(
    screen: "Screen", scenario: "Scenario", server: "LocalnetServer", running: Running
) -> None:
    if running.as_json:
        screen.json(_ready(scenario, server, running))
        return
    addresses = scenario.addresses
    rows: list[tuple[str, object]] = [
        ("RPC", server.url),
        ("WebSocket", server.ws_url),
        ("program", addresses.program),
        ("insurance fund", addresses.insurance_fund),
        ("mint", addresses.mint),
        *((f"market {symbol}", address) for symbol, address in addresses.markets.items()),
        ("positions", f"{scenario.config.positions:,} of seed {scenario.config.seed}"),
    ]
    for name, value in rows:
        screen.print(f"{name:<16}{value}")
    screen.print("")
    screen.print("In another terminal:")
    for line in _hints(server, addresses.program, running.keypair):
        screen.print(f"  {line}")
    screen.print("")
    screen.print("Ctrl-C ends the chain; nothing of it is kept.")


def _hints(server: "LocalnetServer", program: str, keypair: Path | None) -> Iterator[str]:
    """Yield commands to try on this chain."""
    from liqctl.chain.urls import websocket_url  # noqa: PLC0415 - with the chain only

    follows = websocket_url(server.url) == server.ws_url
    where = f"-u {server.url}{'' if follows else f' --ws {server.ws_url}'} --program-id {program}"
    yield f"liqctl scan {where} --dry-run"
    if keypair is None:
        yield f"liqctl watch {where} --dry-run"
    else:
        yield f"liqctl watch {where} -k {shlex.quote(str(keypair))}"


def _ready(scenario: "Scenario", server: "LocalnetServer", running: Running) -> dict[str, object]:
    """Return what `--json` prints once, when the chain is there."""
    addresses = scenario.addresses
    return {
        "type": "ready",
        "rpc_url": server.url,
        "ws_url": server.ws_url,
        "program_id": addresses.program,
        "idl": str(scenario.idl_path),
        "markets": [
            {
                "symbol": one.symbol,
                "market": addresses.markets[one.symbol],
                "price_account": str(one.price_account),
            }
            for one in scenario.specs
        ],
        "insurance_fund": addresses.insurance_fund,
        "mint": addresses.mint,
        "keypair": None if running.keypair is None else str(running.keypair),
        "positions": scenario.config.positions,
        "seed": scenario.config.seed,
    }
