"""The daemon over real subscriptions: notices alone move it, and a gap in them is made good."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from solders.pubkey import Pubkey

from liqctl.chain.stream import Subscriptions
from liqctl.core.guards import Limits
from liqctl.keeper.feeds import Intervals
from liqctl.keeper.service import Keeper, Streams
from liqctl.localnet.server import LocalnetServer, ServerConfig
from liqctl.ports import SystemClock, SystemRng
from tests.keeper.stage import Stage, until

NEVER_MS = 10**7


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path, fall_ms=20_000)
    yield made
    await made.close()


def server_of(stage: Stage, *, port: int = 0) -> LocalnetServer:
    return LocalnetServer(stage.world, SystemClock(), ServerConfig(port=port, ticking=False))


def keeper_on(stage: Stage, server: LocalnetServer) -> Keeper:
    """A keeper that polls nothing: what it learns, it learns by subscription."""
    clock, rng = SystemClock(), SystemRng()
    return stage.keeper(
        streams=Streams(
            prices=Subscriptions(server.ws_url, clock, rng),
            accounts=Subscriptions(server.ws_url, clock, rng),
        ),
        intervals=Intervals(check_ms=NEVER_MS, reconcile_ms=NEVER_MS),
        limits=Limits(in_flight_max=8),
        settle_ms=20,
    )


@asynccontextmanager
async def running(keeper: Keeper) -> AsyncIterator[None]:
    stop = asyncio.Event()
    daemon = asyncio.create_task(keeper.run(stop))
    try:
        yield
    finally:
        stop.set()
        await daemon


async def pass_slots(stage: Stage) -> None:
    while True:
        await asyncio.sleep(0.01)
        stage.ticks(1)


async def test_a_price_notice_alone_leads_to_a_liquidation_with_its_latency(stage):
    async with server_of(stage) as server:
        keeper = keeper_on(stage, server)
        async with running(keeper):
            slots = asyncio.create_task(pass_slots(stage))
            await until(lambda: keeper.status().full == 4)
            slots.cancel()

    latency = keeper.status().latency
    assert latency.count == 4
    assert latency.p50_us is not None
    assert 0 < latency.p50_us < 5_000_000


async def test_what_was_opened_while_the_connections_were_down_is_found_when_they_are_back(stage):
    async with server_of(stage) as server:
        keeper = keeper_on(stage, server)
        daemon = asyncio.create_task(keeper.run(stop := asyncio.Event()))
        await until(lambda: keeper.feeds.state.notice_ns)
        port = int(server.url.rpartition(":")[2])
    await until(lambda: keeper.feeds.state.streams_down >= 2)
    model = stage.world.account(Pubkey.from_string(keeper.engine.closest(1)[0].position))
    assert model is not None
    stage.world.set_account(Pubkey(bytes([7] * 32)), model)
    stage.ticks(3)

    async with server_of(stage, port=port):
        await until(lambda: keeper.engine.positions == 61)
        stop.set()
        await daemon
