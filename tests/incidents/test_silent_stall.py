"""A liquidation bot stood still for three hours without a word; a restart cured it.

Its connection had gone silent without being closed, and a calm market looks the same.
Source: Liqwid-Labs/liqwid-liquidation-bot#8.

Here a subscription is only a hint. Polling goes on beside it and liquidates by itself, a connection
that says nothing, not even a slot, is dropped and made anew, and a part of the keeper that ends
takes the whole keeper down with an error, for whoever restarts it to see.
"""

import asyncio
import contextlib

import pytest
from websockets.asyncio.server import serve

from liqctl.chain.stream import StreamLimits, Subscriptions
from liqctl.core.guards import Limits
from liqctl.errors import InvariantError
from liqctl.keeper.feeds import Intervals
from liqctl.keeper.service import Streams
from liqctl.ports import SystemClock, SystemRng
from tests.keeper.stage import until

QUICK = {
    "intervals": Intervals(check_ms=40, cache_ms=0),
    "limits": Limits(in_flight_max=8),
    "settle_ms": 15,
}


@contextlib.asynccontextmanager
async def mute_node():
    """Accept every connection and never say a word."""

    async def keep(connection):
        await connection.wait_closed()

    async with serve(keep, "127.0.0.1", 0) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


async def test_a_node_that_goes_mute_is_dropped_and_polling_liquidates_meanwhile(stage):
    clock, rng, limits = SystemClock(), SystemRng(), StreamLimits(silence_s=0.1)
    async with mute_node() as url:
        prices = Subscriptions(url, clock, rng, limits=limits)
        accounts = Subscriptions(url, clock, rng, limits=limits)
        keeper = stage.keeper(streams=Streams(prices=prices, accounts=accounts), **QUICK)
        daemon = asyncio.create_task(keeper.run(stop := asyncio.Event()))
        slots = asyncio.create_task(_pass_slots(stage))
        await until(lambda: keeper.status().full == 4)
        await until(lambda: keeper.status().streams_down >= 2)
        stop.set()
        await daemon
        slots.cancel()

    assert keeper.status().notice_age_ms is None
    assert keeper.status().check_age_ms is not None


@pytest.mark.parametrize("part", ["feeds", "settler", "recorder"])
async def test_a_part_that_stops_without_a_word_ends_the_keeper_with_its_name(
    stage, monkeypatch, part
):
    keeper = stage.keeper(**QUICK)

    async def stall():
        await asyncio.sleep(0.01)

    monkeypatch.setattr(getattr(keeper, part), "run", stall)

    with pytest.raises(BaseExceptionGroup) as raised:
        async with asyncio.timeout(5):
            await keeper.run(asyncio.Event())

    assert raised.group_contains(InvariantError, match=part)


async def _pass_slots(stage):
    while True:
        await asyncio.sleep(0.02)
        stage.ticks(1)
