"""The keeper itself behind the proxy: whatever the node does, its books and the chain agree."""

import asyncio
import contextlib
import json
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from liqctl.chain.client import Chain
from liqctl.chain.rpc import HttpRpc
from liqctl.localnet.paths import Quote
from liqctl.localnet.scenario import CALM, Scenario, ScenarioConfig, liquidator_key
from liqctl.localnet.server import LocalnetServer, ServerConfig
from liqctl.ports import SystemClock, SystemRng
from liqctl.sim.chaos.faults import Fault
from liqctl.sim.chaos.plan import Plan
from liqctl.sim.chaos.profiles import profile_named
from liqctl.sim.chaos.proxy import ChaosProxy

pytestmark = pytest.mark.timeout(120)

PROGRAM = Path(sys.executable).with_name("liqctl")
KEY = liquidator_key(1)
FALLS = (970_000, 940_000, 910_000)
PER_FALL_S = 0.8
LANDED_MIN = 15
SLOTS_BEFORE = 600
# Of seed 47 the first calls pass: a keeper that cannot read anything at its start ends at once.
SEED = 47
RUNS: dict[str, dict[Fault, float]] = {
    "nightmare": {Fault.REPLY_LOST: 60},
    "lossy": {Fault.REPLY_LOST: 60},
    "mute": {Fault.WS_MUTE: 2},
}
WRONG = (
    "double_liquidations", "unrecorded", "not_on_chain", "different", "missed", "left_in_flight",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Aftermath:
    """What is left after prices fell behind the proxy and a keeper without one cleaned up."""

    faults: dict[str, int]
    code: int | None
    summary: dict[str, Any]
    on_chain: set[str]
    recorded: list[str]
    landed_by_intent: Counter[int]
    log: str


@asynccontextmanager
async def market() -> AsyncIterator[tuple[Scenario, LocalnetServer]]:
    """Serve 80 positions whose prices move by `fall` alone, on slots of 40 ms."""
    scenario = Scenario(
        ScenarioConfig(
            positions=80,
            path=CALM,
            slot_ms=40,
            start_unix_s=int(time.time()) - SLOTS_BEFORE * 40 // 1000,
            start_delay_slots=10**9,
            liquidator=KEY.pubkey(),
        )
    )
    scenario.hold()
    for _ in range(SLOTS_BEFORE):
        scenario.world.tick()
    config = ServerConfig(port=0)
    async with LocalnetServer(scenario.world, SystemClock(), config) as server:
        yield scenario, server


def fall(scenario: Scenario, ppm: int) -> None:
    """Let every price be this part of its start from now on."""
    quotes = {one.symbol: Quote.of(one.start_price_e8 * ppm // 10**6) for one in scenario.specs}
    scenario.quotes = {**scenario.quotes, **quotes}


@asynccontextmanager
async def keeper(
    place: Path, url: str, ws_url: str, *options: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `liqctl watch` as its users do; whatever happens, it does not outlive the block."""
    key = place / "key.json"
    if not key.exists():
        key.write_text(json.dumps(list(bytes(KEY))))
        key.chmod(0o600)
    environment = {n: v for n, v in os.environ.items() if n in {"PATH", "PYTHONPATH"}}
    with (place / "log").open("a") as log:
        child = await asyncio.create_subprocess_exec(
            *(str(PROGRAM), "watch", "-u", url, "--ws", ws_url, "-k", str(key), "--json", "-v"),
            *options,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            cwd=place,
            env={**environment, "HOME": str(place), "LIQCTL_MAX_IN_FLIGHT": "64"},
        )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.communicate()


async def seen_in_log(place: Path, word: str) -> None:
    async with asyncio.timeout(30):
        while word not in (place / "log").read_text():  # noqa: ASYNC110 - a file of another process
            await asyncio.sleep(0.05)


async def fallen_through(
    place: Path, scenario: Scenario, server: LocalnetServer, plan: Plan
) -> tuple[dict[str, int], int | None]:
    """Run a keeper behind the proxy while prices fall, and end it.

    Returns the faults by kind and the keeper's exit code.
    """
    async with ChaosProxy(server.url, server.ws_url, plan, SystemClock()) as proxy:
        async with keeper(place, proxy.url, proxy.ws_url) as child:
            await seen_in_log(place, "snapshot_taken")
            for ppm in FALLS:
                fall(scenario, ppm)
                await asyncio.sleep(PER_FALL_S)
            child.terminate()
            await asyncio.wait_for(child.communicate(), 20)
        faults: Any = proxy.tally.summary()["faults_by_kind"]
        return faults, child.returncode


async def healed(place: Path, server: LocalnetServer) -> dict[str, Any]:
    """Run a keeper without a proxy on the same database, until it has nothing left to settle."""
    summary: dict[str, Any] = {"missed": None}
    while summary["missed"] != 0 or summary["left_in_flight"] != 0:
        async with keeper(place, server.url, server.ws_url, "--duration", "2.5") as child:
            out, _ = await child.communicate()
        summary = json.loads(out.splitlines()[-1])
    return summary


async def landed_on_chain(server: LocalnetServer) -> set[str]:
    """Return the transactions of the liquidator that did something, as the node itself tells."""
    async with HttpRpc(server.url, SystemClock(), SystemRng(1)) as rpc:
        history = await Chain(rpc).signatures_for_address(str(KEY.pubkey()))
    return {each.signature for each in history if each.failure is None}


async def run(place: Path, profile: str, rates: dict[Fault, float]) -> Aftermath:
    plan = Plan(profile=profile_named(profile).with_rates(rates), seed=SEED)
    async with market() as (scenario, server):
        funding = await landed_on_chain(server)
        faults, code = await fallen_through(place, scenario, server, plan)
        summary = await healed(place, server)
        on_chain = await landed_on_chain(server) - funding
    with contextlib.closing(sqlite3.connect(place / "liquidation_engine.db")) as database:
        recorded = [row[0] for row in database.execute("SELECT signature FROM liquidations")]
        landed = database.execute("SELECT intent_id FROM attempt WHERE state = 'FINALIZED_OK'")
        landed_by_intent = Counter(row[0] for row in landed)
    return Aftermath(
        faults=faults,
        code=code,
        summary=summary,
        on_chain=on_chain,
        recorded=recorded,
        landed_by_intent=landed_by_intent,
        log=(place / "log").read_text(),
    )


@pytest.fixture(scope="module")
def aftermaths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Aftermath]:
    """Run all at once: they wait most of the time."""

    async def run_all() -> dict[str, Aftermath]:
        async with asyncio.TaskGroup() as group:
            tasks = {
                profile: group.create_task(run(tmp_path_factory.mktemp(profile), profile, rates))
                for profile, rates in RUNS.items()
            }
        return {profile: task.result() for profile, task in tasks.items()}

    return asyncio.run(run_all())


@pytest.mark.parametrize("profile", RUNS)
def test_nothing_is_sent_twice_and_nothing_lost(aftermaths, profile):
    after: Aftermath = aftermaths[profile]

    assert all(after.faults[kind] > 0 for kind in RUNS[profile])
    assert len(after.recorded) == len(set(after.recorded)) >= LANDED_MIN
    assert set(after.recorded) == after.on_chain
    assert set(after.landed_by_intent.values()) == {1}
    assert after.summary["verified_on_chain"] is True
    assert {name: after.summary[name] for name in WRONG} == dict.fromkeys(WRONG, 0)


@pytest.mark.parametrize("profile", RUNS)
def test_the_keeper_ends_in_order_in_the_middle_of_it(aftermaths, profile):
    after: Aftermath = aftermaths[profile]

    assert after.code == 0
    assert '"event": "stopped"' in after.log
    assert "Traceback" not in after.log
