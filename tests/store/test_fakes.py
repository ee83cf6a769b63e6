"""The public fakes of liqctl.testing."""

import asyncio

import pytest

from liqctl.alerts.outbox import trial
from liqctl.core.alert import Severity
from liqctl.errors import DeliveryError, RpcRefused, RpcUnreachable
from liqctl.ports import Clock, Notifier, Rng, Rpc
from liqctl.testing import FakeRpc, ManualClock, RecordingNotifier, SeededRng


def test_the_fakes_are_what_the_ports_ask_for():
    clock: Clock = ManualClock()
    rng: Rng = SeededRng()
    rpc: Rpc = FakeRpc()
    notifier: Notifier = RecordingNotifier()

    assert [clock, rng, rpc, notifier]


async def test_sleepers_wake_in_order_as_the_time_is_advanced():
    clock, woken = ManualClock(unix_ms=1_000), []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.unix_ms()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("late", 2))
        group.create_task(sleeper("early", 0.5))
        await clock.advance(0.4)
        assert woken == []
        await clock.advance(1.5)
        assert woken == [("early", 1_500)]
        await clock.advance(0.1)

    assert woken == [("early", 1_500), ("late", 3_000)]
    assert clock.monotonic_ns() == 2_000_000_000


async def test_who_sleeps_again_on_the_way_wakes_again():
    clock, ticks = ManualClock(unix_ms=0), []

    async def ticker() -> None:
        while True:
            await clock.sleep(1)
            ticks.append(clock.unix_ms())

    task = asyncio.create_task(ticker())
    await clock.advance(3.5)
    task.cancel()
    await clock.advance(3)

    assert ticks == [1_000, 2_000, 3_000]


async def test_a_sleep_of_nothing_does_not_wait():
    await ManualClock().sleep(0)


def test_the_same_seed_gives_the_same_chance():
    first, second, other = SeededRng(1), SeededRng(1), SeededRng(2)

    drawn = [first.random(), first.token(8)]
    assert drawn == [second.random(), second.token(8)]
    assert drawn != [other.random(), other.token(8)]


async def test_the_notifier_records_or_raises():
    notifier, message = RecordingNotifier(), trial("team", Severity.WARNING, 5)
    await notifier.notify(message)
    notifier.error = DeliveryError("down")

    with pytest.raises(DeliveryError):
        await notifier.notify(message)
    assert notifier.sent == [message]


async def test_the_rpc_follows_its_script():
    rpc = FakeRpc()
    rpc.answer("getSlot", 1, RpcRefused("behind", code=-32005), 2)

    assert await rpc.call("getSlot", []) == 1
    with pytest.raises(RpcRefused):
        await rpc.call("getSlot", [])
    assert [await rpc.call("getSlot", []) for _ in range(2)] == [2, 2]
    with pytest.raises(RpcUnreachable, match="getHealth"):
        await rpc.call("getHealth", [])
    assert rpc.calls[0] == ("getSlot", [])
