"""The way of events from the store to clients: in order, once, and with every gap told."""

import asyncio

from liqctl.errors import StoreUnusable
from liqctl.server import tail
from liqctl.server.hub import RECENT_MAX, Client
from liqctl.server.resume import catch_up
from liqctl.server.tail import HEARTBEAT_NS, RETRY_S
from liqctl.testing import MemoryStore
from tests.server.lines import ALL, TestLine, World, gaps, record, seqs, spin, until_heard


async def test_events_reach_clients_in_the_order_in_which_they_were_recorded():
    async with World().running() as world:
        line = await world.resumed(0)
        await world.recorded(3)
        await world.recorded(1)

    assert seqs(line) == [1, 2, 3, 4]
    assert gaps(line) == []


async def test_who_was_away_shortly_is_told_from_memory_even_after_a_restart_of_the_server():
    world = World()
    record(world.store, RECENT_MAX + 100)
    async with world.running():
        reads = world.reader.reads
        line = await world.resumed(RECENT_MAX)

        assert seqs(line) == list(range(RECENT_MAX + 1, RECENT_MAX + 101))
        assert world.reader.reads == reads


async def test_who_was_away_for_long_is_told_page_by_page_from_the_store():
    world = World()
    record(world.store, RECENT_MAX + 700)
    async with world.running():
        line = await world.resumed(10)
        await world.recorded()

    assert seqs(line) == list(range(11, RECENT_MAX + 702))
    assert gaps(line) == []


async def test_events_that_are_gone_are_told_as_a_gap():
    world = World()
    record(world.store, 50)
    world.store.prune_events(5)
    async with world.running():
        line = await world.resumed(10)

    assert line.heard[0] == {"type": "gap", "seq": 45, "since": 10}
    assert seqs(line) == [46, 47, 48, 49, 50]


async def test_a_gap_that_opens_while_a_client_reads_page_by_page_is_told():
    world = World()
    record(world.store, 2 * RECENT_MAX)
    async with world.running():
        line = TestLine()
        client = Client(line, ALL, 64, lambda: None)
        catching = asyncio.create_task(catch_up(client, 0, world.hub, world.reader))
        await until_heard(line)
        line.stop()
        await spin()
        world.store.prune_events(100)
        world.hub.restart(2 * RECENT_MAX)  # memory alone would not know of it
        line.read_on()
        await catching

    assert gaps(line) == [(seqs(line)[-1], 2 * RECENT_MAX)]


async def test_a_page_after_which_events_were_deleted_is_followed_by_a_gap():
    world = World()
    record(world.store, 2 * RECENT_MAX + tail.PAGE)
    async with world.running():
        line = TestLine()
        client = Client(line, ALL, 64, lambda: None)
        catching = asyncio.create_task(catch_up(client, 0, world.hub, world.reader))
        await until_heard(line)
        line.stop()
        await spin()
        before = seqs(line)[-1]
        world.store.prune_events(RECENT_MAX + 1)
        line.read_on()
        await catching

    first_kept = RECENT_MAX + tail.PAGE
    assert gaps(line) == [(before, first_kept - 1)]
    assert seqs(line)[-RECENT_MAX - 1] == first_kept


async def test_a_client_from_the_future_is_told_to_go_back():
    world = World()
    record(world.store, 3)
    async with world.running():
        line = await world.resumed(90)
        await world.recorded()

    assert gaps(line) == [(90, 3)]
    assert seqs(line) == [4]


async def test_what_another_server_has_told_before_this_one_read_it_is_no_gap():
    async with World().running() as world:
        record(world.store, 2)
        line = await world.resumed(2)
        await world.recorded()

    assert gaps(line) == []
    assert seqs(line) == [3]


async def test_an_event_between_two_reads_of_the_store_is_no_gap():
    class Racing(MemoryStore):
        def last_seq(self) -> int:
            found = super().last_seq()
            record(self)
            return found

    world = World(Racing())
    line = TestLine()
    client = Client(line, ALL, 64, lambda: None)
    world.hub.begin(5)
    for _ in range(5):
        record(world.store)

    assert await catch_up(client, 3, world.hub, world.reader)

    assert gaps(line) == []
    assert seqs(line) == [4, 5, 6]


async def test_another_database_with_fewer_events_is_a_gap():
    async with World().running() as world:
        line = await world.resumed(0)
        await world.recorded(5)
        world.reader.store = world.store = MemoryStore()
        record(world.store, 2, symbol="BTC")
        await world.told()
        await world.recorded()

    assert gaps(line) == [(5, 2)]
    assert seqs(line) == [1, 2, 3, 4, 5, 3]


async def test_another_database_with_more_events_is_a_gap_as_well():
    async with World().running() as world:
        line = await world.resumed(0)
        await world.recorded(5)
        world.reader.store = world.store = MemoryStore()
        record(world.store, 9, symbol="BTC")
        await world.told()
        await world.recorded()

    assert gaps(line) == [(5, 9)]
    assert seqs(line) == [1, 2, 3, 4, 5, 10]


async def test_events_that_were_deleted_before_the_server_read_them_are_a_gap():
    async with World().running() as world:
        line = await world.resumed(0)
        await world.recorded(2)
        record(world.store, 8)
        world.store.prune_events(3)
        await world.told()

    assert gaps(line) == [(2, 7)]
    assert seqs(line) == [1, 2, 8, 9, 10]


async def test_a_database_that_fails_is_told_with_the_signs_of_life_and_tried_again():
    async with World().running() as world:
        line = await world.resumed(0)
        world.reader.error = StoreUnusable("gone")
        await world.recorded()
        await world.clock.advance(HEARTBEAT_NS / 1e9)
        failing = world.hub.failing
        await world.clock.advance(RETRY_S)
        told = line.seen("heartbeat")
        world.reader.error = None
        await world.clock.advance(2 * RETRY_S)
        await spin()

    assert failing == "gone"
    assert [each["database"] for each in told] == ["failing"]
    assert world.hub.failing is None
    assert seqs(line)[-1] == 1


async def test_nothing_is_left_behind_when_it_ends():
    async with World().running():
        pass

    assert asyncio.all_tasks() == {asyncio.current_task()}
