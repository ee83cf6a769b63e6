"""The mailbox keeps the newest of everything and loses no order."""

import asyncio

from liqctl.core.account import Gone, Seen
from liqctl.core.events import AccountsSeen, CheckDue, ClockSeen, Ordered
from liqctl.core.record import QueueOrder
from liqctl.keeper.mailbox import Mailbox


def seen(address: str, slot: int) -> Seen:
    return Seen(address=address, slot=slot, value=Gone())


def test_the_newest_slot_of_an_address_wins_whatever_comes_last():
    mailbox = Mailbox()
    for slot in (5, 9, 7):
        mailbox.put(AccountsSeen(seen=(seen("a", slot), seen(f"b{slot}", slot))))

    [accounts] = mailbox.drain()

    assert isinstance(accounts, AccountsSeen)
    assert {s.address: s.slot for s in accounts.seen} == {"a": 9, "b5": 5, "b9": 9, "b7": 7}
    assert mailbox.coalesced == 2


def test_at_the_same_slot_the_later_account_wins():
    mailbox = Mailbox()
    first, second = seen("a", 5), seen("a", 5)
    mailbox.put(AccountsSeen(seen=(first,)))
    mailbox.put(AccountsSeen(seen=(second,)))

    [accounts] = mailbox.drain()

    assert isinstance(accounts, AccountsSeen)
    assert accounts.seen[0] is second


def test_a_flood_takes_no_more_room_than_there_are_addresses():
    mailbox = Mailbox()
    for number in range(10_000):
        mailbox.put(AccountsSeen(seen=(seen(f"a{number % 7}", number),), received_ns=number))
        mailbox.put(ClockSeen(slot=number, unix_timestamp=number))

    clock, accounts = mailbox.drain()

    assert isinstance(accounts, AccountsSeen)
    assert len(accounts.seen) == 7
    assert clock == ClockSeen(slot=9_999, unix_timestamp=9_999)


def test_the_clock_comes_first_and_orders_keep_their_order():
    mailbox = Mailbox()
    orders = [Ordered(position=f"p{n}", order=QueueOrder.RETRY) for n in range(3)]
    mailbox.put(orders[0])
    mailbox.put(CheckDue())
    mailbox.put(AccountsSeen(seen=(seen("a", 1),)))
    mailbox.put(orders[1])
    mailbox.put(ClockSeen(slot=4, unix_timestamp=40))
    mailbox.put(ClockSeen(slot=3, unix_timestamp=30))
    mailbox.put(orders[2])

    clock, accounts, *others = mailbox.drain()

    assert clock == ClockSeen(slot=4, unix_timestamp=40)
    assert isinstance(accounts, AccountsSeen)
    assert others == [orders[0], CheckDue(), orders[1], orders[2]]
    assert mailbox.drain() == []


def test_latency_counts_from_the_first_notice_of_a_batch():
    mailbox = Mailbox()
    for received_ns in (0, 30, 50):
        mailbox.put(AccountsSeen(seen=(seen("a", 1),), received_ns=received_ns))
    [first] = mailbox.drain()
    mailbox.put(AccountsSeen(seen=(seen("a", 2),)))
    [second] = mailbox.drain()

    assert isinstance(first, AccountsSeen)
    assert isinstance(second, AccountsSeen)
    assert (first.received_ns, second.received_ns) == (30, 0)


async def test_waiting_ends_with_an_event_or_with_the_time():
    mailbox = Mailbox()
    await mailbox.wait(0.01)

    waiting = asyncio.create_task(mailbox.wait(30))
    await asyncio.sleep(0)
    mailbox.put(CheckDue())

    async with asyncio.timeout(1):
        await waiting
