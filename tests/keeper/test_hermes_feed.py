"""Hermes into the mailbox: what it knows, what it does not, and how it fails, each by a real socket."""

import asyncio
from contextlib import asynccontextmanager, suppress

import pytest
from structlog.testing import capture_logs

from liqctl.core.events import PricesSeen
from liqctl.keeper.hermes_feed import HermesFeed
from liqctl.keeper.mailbox import Mailbox
from liqctl.oracle.hermes import decode_update
from liqctl.oracle.hermes_client import HermesClient
from liqctl.oracle.hermes_http import LATEST, STREAM, HermesLimits
from liqctl.testing import SeededRng
from tests.keeper.stage import until
from tests.oracle.hermes_bodies import BTC, SOL, UNKNOWN, body, entry
from tests.oracle.hermes_server import event, events, hermes, http, refusing
from tests.oracle.test_hermes_client import QuickClock

QUICK = HermesLimits(requests_per_s=1_000, idle_s=0.2, timeout_s=1.0)


@asynccontextmanager
async def feeding(*feeds, wanted=None):
    """A server, and a feed of it into a mailbox of its own."""
    mailbox, clock = Mailbox(), QuickClock()
    async with hermes() as server:
        client = HermesClient(server.url, clock, SeededRng(), limits=QUICK)
        async with client:
            yield server, HermesFeed(client, mailbox, clock, wanted or (lambda: feeds)), mailbox


@asynccontextmanager
async def running(feed):
    task = asyncio.create_task(feed.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def reasons(logs):
    return [each["reason"] for each in logs if each["event"] == "hermes_down"]


def drained(mailbox):
    """The prices by feed, and the feeds that are lost."""
    prices: dict[str, int] = {}
    lost: set[str] = set()
    for each in mailbox.drain():
        assert isinstance(each, PricesSeen)
        prices |= {reading.feed_id: reading.mantissa for reading in each.readings}
        lost |= set(each.lost)
    return prices, lost


async def test_prices_of_the_stream_take_the_place_of_those_before():
    async with feeding(SOL, BTC) as (server, feed, mailbox):
        newer = body(entry(SOL, price="160", published=1_721_133_403))
        server.stream = events(event(newer))
        async with running(feed):
            await until(lambda: feed.client.counts.updates == 1)

        prices, lost = drained(mailbox)
        assert prices == {SOL: 160, BTC: 15_679_769_099}
        assert lost == set()
        assert (feed.state.down, feed.state.prices_ns > 0) == (None, True)


async def test_one_feed_that_the_service_does_not_know_costs_no_other():
    async def latest(request, writer):
        known = [each for each in request.ids if each != UNKNOWN]
        writer.write(http(body(*map(entry, known))))

    async with feeding(SOL, UNKNOWN) as (server, feed, mailbox):
        server.latest = latest
        server.stream = events(event(body(entry(SOL, price="161"))))
        async with running(feed):
            await until(lambda: feed.client.counts.updates == 1)

        assert drained(mailbox) == ({SOL: 161}, {UNKNOWN})
        assert server.asked(STREAM)[0] == [SOL]


@pytest.mark.parametrize(
    ("status", "word"),
    [("401 Unauthorized", "wants an API key"), ("429 Too Many Requests", "asked too often")],
)
async def test_a_service_that_refuses_is_told_and_tried_again_after_a_pause(status, word):
    async with feeding(SOL) as (server, feed, mailbox):
        server.latest = refusing(status)
        async with running(feed):
            with capture_logs() as logs:
                await until(lambda: feed.client.counts.drops >= 2)

        assert drained(mailbox) == ({}, set())
        assert feed.state.prices_ns == 0
        assert word in reasons(logs)[0]
        assert feed.state.down is not None


@pytest.mark.parametrize(
    "chunks",
    [[b": still here\n\n"], [event(b'{"parsed": [{"id": "ef0d8b')]],
    ids=["silent", "half"],
)
async def test_a_stream_that_never_tells_a_price_is_dropped(chunks):
    async with feeding(SOL) as (server, feed, mailbox):
        server.stream = events(*chunks, then="repeat")
        async with running(feed):
            with capture_logs() as logs:
                await until(lambda: feed.client.counts.drops >= 1)

        assert "sent no price" in reasons(logs)[0]
        assert drained(mailbox)[0] == {SOL: 15_679_769_099}
        assert (feed.client.counts.malformed > 0) is (b"parsed" in chunks[0])


async def test_half_an_answer_is_told_and_no_price():
    async with feeding(SOL) as (server, feed, mailbox):
        server.latest = refusing("200 OK", content=body(entry(SOL))[:40])
        async with running(feed):
            await until(lambda: feed.client.counts.malformed >= 1)

        assert drained(mailbox) == ({}, set())
        assert feed.state.down is not None


async def test_a_feed_that_is_wanted_later_is_asked_for_then():
    feeds = [SOL]
    async with feeding(wanted=lambda: tuple(feeds)) as (server, feed, _), running(feed):
        await until(lambda: server.asked(STREAM) == [[SOL]])
        feeds.append(BTC)
        await until(lambda: server.asked(STREAM)[-1] == [SOL, BTC])


async def test_without_a_feed_to_ask_for_the_service_is_left_alone():
    async with feeding() as (server, feed, mailbox):
        async with running(feed):
            await asyncio.sleep(0.02)
        await feed.once()

        assert server.requests == []
        assert mailbox.drain() == []


async def test_one_pass_asks_once_and_survives_a_service_that_is_gone():
    async with feeding(SOL) as (server, feed, mailbox):
        await feed.once()
        assert drained(mailbox) == ({SOL: 15_679_769_099}, set())
        assert server.asked(STREAM) == []

        server.latest = refusing("503 Service Unavailable")
        await feed.once()

        assert mailbox.drain() == []
        assert "503" in feed.state.down
        assert len(server.asked(LATEST)) == 2


def test_of_prices_that_wait_the_last_word_on_each_feed_is_kept():
    mailbox = Mailbox()

    def put(*prices, lost=(), received_ns=0):
        told = decode_update(body(*(entry(SOL, price=each) for each in prices)), {SOL})
        mailbox.put(PricesSeen(readings=told.readings, lost=lost, received_ns=received_ns))

    put("100", received_ns=5)
    put("101", received_ns=6)
    assert mailbox.depth == 1
    [first] = mailbox.drain()
    put("102", lost=(BTC,))
    put(lost=(SOL,))
    [second] = mailbox.drain()

    assert isinstance(first, PricesSeen)
    assert isinstance(second, PricesSeen)
    assert ([each.mantissa for each in first.readings], first.received_ns) == ([101], 5)
    assert (second.readings, set(second.lost)) == ((), {SOL, BTC})
    assert mailbox.drain() == []
