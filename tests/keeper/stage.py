"""A keeper on an embedded chain without sockets: requests are answered in place, slots tick by hand."""

import asyncio
import base64
import json
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from solders.transaction import VersionedTransaction

from liqctl.chain.client import Chain
from liqctl.chain.wallet import load_signer
from liqctl.core.events import Decision
from liqctl.errors import RpcRefused
from liqctl.keeper.context import Context
from liqctl.keeper.executor import Execution
from liqctl.keeper.gate import Gate
from liqctl.keeper.service import Keeper, Streams, Tuning
from liqctl.keeper.storage import StoreThread
from liqctl.localnet.rpc.answer import answer_bytes
from liqctl.localnet.scenario import Scenario, ScenarioConfig, liquidator_key
from liqctl.oracle.hermes_client import HermesClient
from liqctl.ports import SystemClock, SystemRng
from liqctl.store.open import open_store
from liqctl.venues.registry import open_venue

Fault = Callable[[list[Any]], object]


class InPlaceRpc:
    """Implements ports.Rpc over a World; a fault set for a method may answer or raise instead."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.calls: list[tuple[str, list[Any]]] = []
        self.faults: dict[str, Fault] = {}

    async def call(self, method: str, params: Sequence[object]) -> object:
        self.calls.append((method, list(params)))
        if method in self.faults:
            told = self.faults[method](list(params))
            if told is not None:
                return told
        return self.really(method, params)

    def really(self, method: str, params: Sequence[object]) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        reply = json.loads(answer_bytes(self.world, json.dumps(body).encode()))
        if "error" in reply:
            error = reply["error"]
            raise RpcRefused(error["message"], code=error["code"], detail=error.get("data"))
        return reply["result"]

    def sent(self) -> list[str]:
        return [params[0] for method, params in self.calls if method == "sendTransaction"]


class Stage:
    """One chain; keepers come and go on it, each on the database it is given."""

    def __init__(
        self, place: Path, *, fall_to: float = 140, fall_ms: int = 400, positions: int = 60
    ) -> None:
        self.place = place
        path = place / "prices.csv"
        steps = ((0, 150), (fall_ms - 1, 150), (fall_ms, fall_to), (9_999_999, fall_to))
        lines = [f"{offset_ms},SOL,{price}\n" for offset_ms, price in steps]
        path.write_text("".join(["unix_ms_offset,symbol,price\n", *lines]))
        config = ScenarioConfig(
            positions=positions,
            seed=1,
            path=str(path),
            start_unix_s=1_750_000_000,
            start_delay_slots=0,
        )
        self.scenario = Scenario(config)
        self.world = self.scenario.world
        self.rpc = InPlaceRpc(self.world)
        self.chain = Chain(self.rpc)
        self.key_file, self.liquidator = self._key(1)
        self.rival_file, _ = self._key(2)
        self.contexts: list[Context] = []
        self.ticks(12)

    def _key(self, seed: int) -> tuple[Path, str]:
        key = liquidator_key(seed)
        self.world.airdrop(key.pubkey(), 100 * 10**9)
        file = self.place / f"key{seed}.json"
        file.write_text(json.dumps(list(bytes(key))))
        file.chmod(0o600)
        return file, str(key.pubkey())

    def ticks(self, count: int) -> None:
        for _ in range(count):
            self.world.tick()

    def rival(self) -> Keeper:
        """A keeper of somebody else: another key, another database."""
        return self.keeper(database="rival.db", key_file=self.rival_file)

    def keeper(
        self,
        *,
        dry: bool = False,
        database: str = "k.db",
        key_file: Path | None = None,
        streams: Streams | None = None,
        hermes: HermesClient | None = None,
        **tuning: Any,
    ) -> Keeper:
        url = database if ":" in database else f"sqlite:{self.place / database}"
        context = Context(
            venue=open_venue("reference", self.scenario.addresses.program),
            chain=self.chain,
            store=StoreThread(open_store(url)),
            clock=SystemClock(),
            rng=SystemRng(),
            owner=f"keeper {len(self.contexts)}",
            hermes=hermes,
        )
        self.contexts.append(context)
        signer = load_signer(str(key_file or self.key_file))
        gate = None if dry else Gate(self.chain, signer, context.clock)
        return Keeper(
            context,
            gate=gate,
            liquidator=signer.address,
            streams=streams,
            tuning=Tuning(**tuning),
        )

    async def close(self) -> None:
        for context in self.contexts:
            await context.store.close()

    def rows(self, sql: str, database: str = "k.db") -> list[tuple[Any, ...]]:
        """Read the database over a connection of its own: what is there is committed."""
        connection = sqlite3.connect(f"file:{self.place / database}?mode=ro", uri=True)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def lapse(self, database: str = "k.db") -> None:
        """Let every lease end now, as after twenty seconds without its owner."""
        connection = sqlite3.connect(self.place / database)
        with connection:
            connection.execute("UPDATE intent SET lease_until = 0 WHERE lease_until IS NOT NULL")
        connection.close()


def signature_of(raw: str) -> str:
    """Return the signature of a transaction in base64."""
    return str(VersionedTransaction.from_bytes(base64.b64decode(raw)).signatures[0])


def next_decision(keeper: Keeper) -> Decision:
    decision = keeper.engine.next(2**62)
    assert decision is not None
    return decision


async def execute(keeper: Keeper, decision: Decision | None = None) -> Execution:
    return await keeper.executor.run(decision or next_decision(keeper), keeper.engine.view)


async def until(condition: Callable[[], object]) -> None:
    """Return when it has come to that; eight seconds are enough for anything here."""
    for _ in range(800):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


async def settle(stage: Stage, keeper: Keeper, *, rounds: int = 12) -> None:
    """Tick and look until nothing is in the air."""
    for _ in range(rounds):
        if not keeper.settler.positions():
            return
        stage.ticks(2)
        await keeper.settler.settle_once()
