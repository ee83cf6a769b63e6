"""The whole way from a status to receivers that are up, down, slow and busy, on one running loop."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from liqctl.alerts.channels import AppriseChannel
from liqctl.alerts.routes import parse_routes
from liqctl.core.status import Status
from liqctl.keeper.alerting import Alerting, AlertRules
from liqctl.keeper.outbox import Outbox
from liqctl.keeper.storage import StoreThread
from liqctl.ports import Store
from liqctl.testing import MemoryStore, SeededRng
from tests.alerts.receivers import (
    BROKEN,
    BUSY,
    DISCORD,
    HANGS,
    PAGERDUTY,
    SLACK,
    Answer,
    Mailbox,
    Receiver,
    reach,
)
from tests.core.statuses import WALLET, status

LOW = status(wallet=replace(WALLET, balance_lamports=5))
TITLE = "has 0.000000005 SOL left"
HURRY = 50


class HurriedClock:
    """A clock that runs fifty times as fast as that of the host."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def unix_ms(self) -> int:
        return 1_700_000_000_000 + self.monotonic_ns() // 1_000_000

    def monotonic_ns(self) -> int:
        return int(self._loop.time() * HURRY * 1_000_000_000)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds / HURRY)


class Running:
    """The alerting of a keeper that is low on money, delivering to real receivers."""

    def __init__(self, store: Store, channels: dict[str, AppriseChannel]) -> None:
        self.looks = 0
        self.store = store
        self.channels = channels
        self.status = LOW

    def look(self) -> Status:
        self.looks += 1
        return self.status


@asynccontextmanager
async def running(*texts: str) -> AsyncIterator[Running]:
    routes = parse_routes(texts)
    channels = {route.name: AppriseChannel(route) for route in routes}
    store, clock = MemoryStore(), HurriedClock()
    thread = StoreThread(store)
    one = Running(store, channels)
    outbox = Outbox(thread, clock, SeededRng(), owner="one", channels=dict(channels))
    rules = AlertRules(routes=routes)
    alerting = Alerting(thread, clock, [one.look], owner="one", rules=rules, outbox=outbox)
    task = asyncio.create_task(alerting.run())
    try:
        yield one
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])
        for channel in channels.values():
            channel.close()
        await thread.close()


async def until(condition: Callable[[], object]) -> None:
    """Return when it has come to that; thirty seconds are enough for anything here."""
    for _ in range(3_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


def arrived(receiver: Receiver, title: str = TITLE) -> bool:
    return any(title in request.body.decode() for request in receiver.requests)


async def test_every_kind_of_channel_gets_the_alert_and_its_end(monkeypatch):
    async with Receiver() as hosts, Mailbox() as mailbox, Receiver() as hook:
        reach(monkeypatch, hosts)
        mail = f"mailto://127.0.0.1:{mailbox.port}?from=a@example.org&to=b@example.org"
        texts = (SLACK, DISCORD, PAGERDUTY, mail, f"json://127.0.0.1:{hook.port}/hook")
        async with running(*texts) as one:
            await until(lambda: len(hosts.requests) == 3 and mailbox.mails and hook.requests)
            one.status = status()
            await until(
                lambda: (
                    len(hosts.requests) == 6 and len(mailbox.mails) == 2 and len(hook.requests) == 2
                )
            )

    assert {request.host for request in hosts.requests} == {
        "hooks.slack.com",
        "discord.com",
        "events.pagerduty.com",
    }
    incident = [each.json for each in hosts.requests if each.host == "events.pagerduty.com"]
    assert [each["event_action"] for each in incident] == ["trigger", "resolve"]
    assert incident[0]["dedup_key"] == incident[1]["dedup_key"]


async def test_a_receiver_that_is_busy_gets_the_message_once_it_answers():
    receiver = Receiver(BUSY, BROKEN, Answer())
    async with receiver, running(f"json://127.0.0.1:{receiver.port}/hook") as one:
        await until(lambda: any(each.delivered_ms for each in one.store.deliveries()))

    assert [TITLE in request.body.decode() for request in receiver.requests] == [True] * 3


async def test_a_receiver_that_was_down_gets_the_message_when_it_is_up():
    async with Receiver() as receiver:
        port = receiver.port
    late = Receiver()
    late.port = port
    async with running(f"json://127.0.0.1:{port}/hook") as one:
        await until(lambda: one.store.deliveries() and one.store.deliveries()[-1].tries >= 2)
        async with late:
            await until(lambda: arrived(late))

    assert arrived(late)


async def test_a_receiver_that_hangs_delays_neither_the_keeper_nor_other_channels():
    async with Receiver(HANGS) as hanging, Receiver() as healthy:
        texts = (
            f"slow:json://127.0.0.1:{hanging.port}/hook?rto=8",
            f"well:json://127.0.0.1:{healthy.port}/hook",
        )
        async with running(*texts) as one:
            await until(lambda: arrived(hanging))
            looks = one.looks
            await until(lambda: one.looks > looks + 20 and arrived(healthy))
            one.status = status(held="kill_switch_row")
            await until(lambda: arrived(healthy, "signs nothing"))

            sending = one.channels["slow"]._sending
            assert sending is not None
            assert not sending.done()
            assert len(hanging.requests) == 1
            assert [each.tries for each in one.store.deliveries()] == [0] * 4


@pytest.mark.parametrize("answer", [HANGS, BUSY])
async def test_the_end_of_the_process_does_not_wait_for_a_receiver(answer):
    async with Receiver(answer) as receiver:
        async with running(f"json://127.0.0.1:{receiver.port}/hook?rto=2") as one:
            await until(lambda: receiver.requests)
        left = [each for each in one.store.deliveries() if each.delivered_ms is None]

    assert [each.channel for each in left] == ["json"]
