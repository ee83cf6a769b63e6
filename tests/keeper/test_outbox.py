"""The outbox of one process: what waits for one channel is not in the way of another."""

import asyncio
from dataclasses import replace

from liqctl.alerts.routes import parse_routes
from liqctl.errors import DeliveryError
from liqctl.keeper.alerting import LOOKED_BACK_MAX
from liqctl.keeper.outbox import DUE_MAX, Outbox
from liqctl.keeper.storage import StoreThread
from liqctl.ports import SystemRng
from liqctl.testing import ManualClock, MemoryStore, RecordingNotifier
from tests.alerts.watch import TEXTS, Process
from tests.core.statuses import WELL
from tests.store.records import delivery


async def test_a_channel_that_has_been_dead_for_weeks_keeps_no_message_from_another():
    store, clock = MemoryStore(), ManualClock()
    for _ in range(DUE_MAX + 1):
        store.put_delivery(delivery("dead"))
    store.put_delivery(delivery("mail", title="the keeper stands still"))
    dead, mail = RecordingNotifier(), RecordingNotifier()
    dead.error = DeliveryError("the connection was refused")
    thread = StoreThread(store)
    outbox = Outbox(thread, clock, SystemRng(), owner="me", channels={"dead": dead, "mail": mail})

    async with asyncio.TaskGroup() as tasks:
        await outbox._round(tasks)

    assert [each.title for each in mail.sent] == ["the keeper stands still"]
    await thread.close()


async def test_the_end_of_an_alert_is_told_however_many_messages_came_between():
    store, clock = MemoryStore(), ManualClock()
    pager = RecordingNotifier()
    process = Process(StoreThread(store), clock, {"pagerduty": pager}, parse_routes(TEXTS[2:]))
    await process.look(replace(WELL, held="kill_switch_row"))
    await process.deliver()
    assert len(pager.sent) == 1
    for number in range(LOOKED_BACK_MAX):
        store.end_delivery(store.put_delivery(delivery("mail", dedup_key=str(number))), 1)

    await process.look(WELL)
    await process.look(after_s=61)
    await process.deliver()

    assert [each.resolves for each in pager.sent] == [False, True]
    await process.thread.close()


async def test_without_a_database_too_the_end_of_an_alert_does_not_overtake_it():
    store, clock, pager = MemoryStore(), ManualClock(), RecordingNotifier()
    process = Process(StoreThread(store), clock, {"pagerduty": pager}, parse_routes(TEXTS[2:]))
    process.outbox.hand(delivery("pagerduty"))
    process.outbox.hand(delivery("pagerduty", resolves=True))
    pager.error = DeliveryError("the connection was refused")
    await process.deliver()
    pager.error = None

    for _ in range(2):
        await process.deliver(after_s=60)

    assert [each.resolves for each in pager.sent] == [False, True]
    await process.thread.close()
