"""A chain in a child process that does what a test tells it, and the program as its users run it."""

import asyncio
import base64
import contextlib
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solders.pubkey import Pubkey
from typer.testing import CliRunner

from liqctl.cli import app
from liqctl.localnet.account import CLOSED, AccountState
from liqctl.localnet.ledger import Commitment
from liqctl.localnet.paths import Quote
from liqctl.localnet.scenario import CALM, Scenario, ScenarioConfig, liquidator_key
from liqctl.localnet.server import LocalnetServer, ServerConfig
from liqctl.ports import SystemClock
from tests.localnet.program_world import DISCRIMINATORS, Price

ROOT = Path(__file__).parents[2]
PROGRAM = Path(sys.executable).with_name("liqctl")
POSITIONS = 60
SLOT_MS = 100
NEVER = 10**9
POSITION = DISCRIMINATORS["Position"]


@dataclass(frozen=True, kw_only=True)
class Run:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON documents on stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """A running chain with the reference program; SOL stands at 150, BTC at 65,000, ETH at 3,200."""

    child: subprocess.Popen[str]
    ready: dict[str, Any]

    @property
    def where(self) -> list[str]:
        """The options that lead to it."""
        return ["-u", self.ready["rpc_url"]]

    def tell(self, **order: Any) -> dict[str, Any]:
        """Have something done; it is visible at every commitment when this returns."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(json.dumps(order) + "\n")
        self.child.stdin.flush()
        answer: dict[str, Any] = json.loads(self.child.stdout.readline())
        return answer

    def price(self, symbol: str, ppm: int) -> None:
        """Go on publishing the start price times `ppm` millionths."""
        self.tell(do="price", symbol=symbol, ppm=ppm)

    def raw_price(self, symbol: str, *, age_s: int = 0, **fields: Any) -> None:
        """Stop publishing a symbol and leave one last account with these fields."""
        self.tell(do="raw_price", symbol=symbol, age_s=age_s, fields=fields)

    def account(self, address: str, body: bytes | None, owner: str | None = None) -> None:
        """Put any bytes at an address; None closes it."""
        text = None if body is None else base64.b64encode(body).decode()
        self.tell(do="account", address=address, body=text, owner=owner)

    def read(self, address: str) -> bytes:
        """Return the bytes of an account."""
        return base64.b64decode(self.tell(do="read", address=address)["body"])


@contextmanager
def chain(*, seed: int = 1, module: str = "tests.cli.chain_fixture") -> Iterator[Chain]:
    """Run a chain until the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", module, str(seed)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as child:
        assert child.stdout is not None
        try:
            yield Chain(child=child, ready=json.loads(child.stdout.readline()))
        finally:
            child.kill()


class Started(subprocess.Popen[str]):
    """A command that goes on until told to end, or until a test has failed."""

    def __exit__(self, failure: type[BaseException] | None, *rest: Any) -> None:
        if failure is not None:
            self.kill()
        super().__exit__(failure, *rest)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """A directory with a key and a database, in which the program is run."""

    place: Path
    chain: Chain

    @property
    def key(self) -> Path:
        """The liquidator's key file, made when first asked for; it has 100 SOL."""
        path = self.place / "key.json"
        if not path.exists():
            path.write_text(json.dumps(list(bytes(liquidator_key(1)))))
            path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        return path

    @property
    def database(self) -> Path:
        """Where the program keeps its records unless told otherwise."""
        return self.place / "liquidation_engine.db"

    @property
    def signing(self) -> list[str]:
        """The options that lead to the chain and the key."""
        return [*self.chain.where, "-k", str(self.key)]

    def run(self, *arguments: object, **environment: str) -> Run:
        """Run a command on the chain, in this interpreter."""
        return inside(self.place, *arguments, *self.chain.where, **environment)

    def start(self, *arguments: object, **options: Any) -> "Started":
        """Start a command that goes on."""
        return Started(
            [str(PROGRAM), *map(str, arguments)],
            cwd=self.place,
            env=environment_of(self.place),
            text=True,
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                **options,
            },
        )


def environment_of(place: Path, **changes: str) -> dict[str, str]:
    """Return a small environment in which no setting of ours is hidden."""
    kept = {n: v for n, v in os.environ.items() if n in {"PATH", "LANG", "PYTHONPATH"}}
    return {**kept, "HOME": str(place), "COLUMNS": "120", **changes}


def inside(place: Path, *arguments: object, **environment: str) -> Run:
    """Run a command to its end in a directory, in this interpreter, which is ten times as quick."""
    with contextlib.chdir(place):
        done = CliRunner().invoke(
            app,
            [*map(str, arguments)],
            prog_name="liqctl",
            env=environment_of(place, **environment),
        )
    assert "Traceback" not in done.stderr, done.stderr
    return Run(code=done.exit_code, out=done.stdout, err=done.stderr)


def run(
    place: Path,
    *arguments: object,
    within: float = 25,
    prefix: Sequence[str] = (),
    **environment: str,
) -> Run:
    """Run a command to its end as its users do, in a directory, with nobody at the keyboard."""
    done = subprocess.run(
        [*prefix, str(PROGRAM), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=within,
        check=False,
        cwd=place,
        env=environment_of(place, **environment),
    )
    assert "Traceback" not in done.stderr, done.stderr
    return Run(code=done.returncode, out=done.stdout, err=done.stderr)


def wait_for(path: Path, text: str, within: float = 15) -> str:
    """Return what a file holds as soon as it holds the text."""
    end = time.monotonic() + within
    while text not in (found := path.read_text() if path.exists() else ""):
        assert time.monotonic() < end, found
        time.sleep(0.05)
    return found


def answer(value: dict[str, Any]) -> None:
    """Write one line to whoever runs this side."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


class Child:
    """The other side: a scenario, served, that follows orders from standard input."""

    def __init__(self, seed: int) -> None:
        self.scenario = Scenario(
            ScenarioConfig(
                positions=POSITIONS,
                seed=seed,
                path=CALM,
                slot_ms=SLOT_MS,
                start_unix_s=int(time.time()),
                start_delay_slots=NEVER,
                liquidator=liquidator_key(1).pubkey(),
            )
        )
        self.scenario.hold()
        self.starts = {one.symbol: one for one in self.scenario.specs}
        self.stack = AsyncExitStack()
        self.port = 0
        self.frozen = False

    async def up(self) -> LocalnetServer:
        server = LocalnetServer(
            self.scenario.world, SystemClock(), ServerConfig(port=self.port, ticking=False)
        )
        await self.stack.enter_async_context(server)
        self.port = int(server.url.rpartition(":")[2])
        return server

    async def follow(self, order: dict[str, Any]) -> dict[str, Any]:
        world, now_s = self.scenario.world, self.scenario.world.unix_ms // 1000
        match order:
            case {"do": "price", "symbol": symbol, "ppm": ppm}:
                price_e8 = self.starts[symbol].start_price_e8 * ppm // 1_000_000
                self.scenario.quotes = {**self.scenario.quotes, symbol: Quote.of(price_e8)}
            case {"do": "raw_price", "symbol": symbol, "age_s": age_s, "fields": fields}:
                self.scenario.quotes = {
                    s: q for s, q in self.scenario.quotes.items() if s != symbol
                }
                spec = self.starts[symbol]
                price = {"price": spec.start_price_e8, "exponent": -8, **fields}
                made = Price(feed_id=spec.feed, publish_time=now_s - age_s, **price).account()
                world.set_account(spec.price_account, AccountState.of(made))
            case {"do": "account", "address": address, "body": body, "owner": owner}:
                key, state = Pubkey.from_string(address), CLOSED
                if body is not None:
                    there = world.account(key)
                    state = AccountState(
                        lamports=10**9,
                        data=base64.b64decode(body),
                        owner=Pubkey.from_string(owner) if owner or there is None else there.owner,
                    )
                world.set_account(key, state)
            case {"do": "read", "address": address}:
                found = world.account(Pubkey.from_string(address))
                body = b"" if found is None else found.data
                return {"body": base64.b64encode(body).decode()}
            case {"do": "positions"}:
                program = Pubkey.from_string(self.scenario.addresses.program)
                bank = world.ledger.bank(Commitment.PROCESSED)
                owned = world.accounts_at(program, bank)
                return {
                    "addresses": [
                        str(key) for key, state in owned if state.data.startswith(POSITION)
                    ]
                }
            case {"do": "down"}:
                await self.stack.aclose()
            case {"do": "up"}:
                await self.up()
            case _:
                raise ValueError(order)
        for _ in range(world.config.finalize_blocks + 1):
            world.tick()
        return {"slot": world.slot}

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(SLOT_MS / 1_000)
            if not self.frozen:
                self.scenario.world.tick()

    def ready(self, server: LocalnetServer) -> dict[str, Any]:
        """Return what the other side needs to know."""
        addresses = self.scenario.addresses
        return {
            "rpc_url": server.url,
            "ws_url": server.ws_url,
            "program_id": addresses.program,
            "markets": addresses.markets,
            "fund": addresses.insurance_fund,
            "prices": {one.symbol: str(one.price_account) for one in self.starts.values()},
        }

    async def serve(self) -> None:
        answer(self.ready(await self.up()))
        ticking = asyncio.create_task(self.tick())
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            order = json.loads(line)
            if order["do"] == "freeze":
                self.frozen = order["on"]
                answer({})
            else:
                answer(await self.follow(order))
        ticking.cancel()
        await self.stack.aclose()


if __name__ == "__main__":
    asyncio.run(Child(int(sys.argv[1])).serve())
