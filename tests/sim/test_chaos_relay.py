"""WebSocket connections through the proxy: each kind of fault at a rate of 100 %."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from liqctl.chain.notice import AccountNotice, StreamDown
from liqctl.chain.stream import StreamLimits, Subscriptions
from liqctl.localnet.account import AccountState
from liqctl.ports import SystemClock, SystemRng
from liqctl.sim.chaos.faults import Fault
from liqctl.sim.chaos.proxy import ChaosProxy
from tests.localnet.chain_world import RECEIVER
from tests.sim.chaos_stage import body_of, faults_of, node, proxy_before


@asynccontextmanager
async def slots_through(
    rates: dict[Fault, float], **options: Any
) -> AsyncIterator[tuple[ClientConnection, ChaosProxy]]:
    async with (
        node(ticking=True) as (_, server),
        proxy_before(server, rates, **options) as proxy,
        connect(proxy.ws_url, proxy=None, close_timeout=0.2) as socket,
    ):
        await socket.send(body_of("slotSubscribe").decode())
        yield socket, proxy


async def next_slots(socket: ClientConnection, count: int) -> list[int]:
    slots: list[int] = []
    while len(slots) < count:
        frame = json.loads(await asyncio.wait_for(socket.recv(), 2))
        if "method" in frame:
            slots.append(frame["params"]["result"]["slot"])
    return slots


async def test_a_calm_proxy_passes_notifications_in_order():
    async with slots_through({}) as (socket, proxy):
        slots = await next_slots(socket, 6)

        assert slots == list(range(slots[0], slots[0] + 6))
        assert proxy.tally.summary()["sockets"] == 1


async def test_notifications_come_twice():
    async with slots_through({Fault.WS_DUPLICATE: 100}) as (socket, _):
        slots = await next_slots(socket, 6)

    assert slots == [slots[0]] * 2 + [slots[0] + 1] * 2 + [slots[0] + 2] * 2


async def test_notifications_come_out_of_order_and_none_is_lost():
    async with slots_through({Fault.WS_REORDER: 100}) as (socket, _):
        slots = await next_slots(socket, 6)

    first = min(slots)
    assert slots == [first + 1, first, first + 3, first + 2, first + 5, first + 4]


async def test_garbage_comes_between_frames():
    frames: list[str | bytes] = []
    async with slots_through({Fault.WS_GARBAGE: 100}) as (socket, _):
        while len(frames) < 30:
            frames.append(await asyncio.wait_for(socket.recv(), 2))

    def slot_of(frame: str | bytes) -> int | None:
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError):
            slot: int = json.loads(frame)["params"]["result"]["slot"]
            return slot if slot >= 0 else None
        return None

    slots = [slot for slot in map(slot_of, frames) if slot is not None]
    assert len(slots) == 14
    assert slots == sorted(slots)


async def test_a_mute_connection_stays_open_and_answers_no_ping():
    async with slots_through({Fault.WS_MUTE: 100}) as (socket, proxy):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(socket.recv(), 0.4)
        pong = await socket.ping()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pong, 0.3)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), 2)

        assert faults_of(proxy) == {"ws_mute": {"(reply)": 1}}


async def test_a_dropped_connection_is_reset():
    async with slots_through({Fault.WS_DROP: 100}) as (socket, _):
        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(socket.recv(), 2)

    assert caught.value.rcvd is None


async def test_our_stream_outlives_all_that_a_socket_can_do():
    rates = {kind: 10.0 for kind in Fault if kind.startswith("ws_")}
    items: list[object] = []
    async with node(ticking=True) as (world, server), proxy_before(server, rates) as proxy:
        stream = Subscriptions(
            proxy.ws_url, SystemClock(), SystemRng(1), limits=StreamLimits(silence_s=0.3)
        )
        stream.watch_account(str(RECEIVER))
        running = asyncio.create_task(stream.run(items.append))
        async with asyncio.timeout(10):
            while sum(isinstance(each, StreamDown) for each in items) < 2 or not any(
                isinstance(each, AccountNotice) for each in items
            ):
                world.set_account(RECEIVER, AccountState(lamports=1 + len(items), data=b""))
                await asyncio.sleep(0.02)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running

    assert stream.counts.drops >= 2
