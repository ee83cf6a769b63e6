"""A node, the proxy before it, and a plain caller: what the tests of the proxy share."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from liqctl.localnet.account import AccountState
from liqctl.localnet.server import LocalnetServer, ServerConfig
from liqctl.localnet.world import World
from liqctl.ports import SystemClock
from liqctl.sim.chaos.faults import Fault
from liqctl.sim.chaos.plan import Plan
from liqctl.sim.chaos.profiles import Profile
from liqctl.sim.chaos.proxy import ChaosProxy, ProxyLimits
from liqctl.sim.chaos.relay import RelayLimits
from tests.localnet.chain_world import PROGRAM, new_world

SHORT = ProxyLimits(silence_s=0.3, relay=RelayLimits(silence_s=0.8))


@asynccontextmanager
async def node(*, ticking: bool = False) -> AsyncIterator[tuple[World, LocalnetServer]]:
    """Serve a world of PAYER and ten accounts of PROGRAM."""
    world = new_world(slot_ms=20)
    for number in range(10):
        state = AccountState(lamports=1, data=bytes([1, number]), owner=PROGRAM)
        world.set_account(type(PROGRAM)(bytes([100 + number] * 32)), state)
    for _ in range(40):
        world.tick()
    async with LocalnetServer(
        world, SystemClock(), ServerConfig(port=0, ticking=ticking)
    ) as server:
        yield world, server


def proxy_before(
    server: LocalnetServer,
    rates: dict[Fault, float],
    *,
    seed: int = 1,
    period_s: float = 20.0,
    limits: ProxyLimits = SHORT,
) -> ChaosProxy:
    profile = Profile(name="test", about="", rates=rates, outage_period_s=period_s)
    plan = Plan(profile=profile, seed=seed)
    return ChaosProxy(server.url, server.ws_url, plan, SystemClock(), limits=limits)


def body_of(method: str, *params: object, number: object = 1) -> bytes:
    request = {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
    return json.dumps(request).encode()


async def post(url: str, body: bytes, **headers: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False, timeout=5) as client:
        return await client.post(
            url, content=body, headers={"content-type": "application/json", **headers}
        )


def faults_of(proxy: ChaosProxy) -> Any:
    return proxy.tally.summary()["faults_by_method"]
