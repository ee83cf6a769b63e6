"""Hermes over a real socket: prices, refusals, streams that end, fall silent or never stop."""

import asyncio
import email.utils
import gzip
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from liqctl.errors import (
    HermesMalformed,
    HermesRefused,
    HermesUnreachable,
    SettingsError,
)
from liqctl.oracle.hermes_client import HermesClient, HermesDown, HermesPrices
from liqctl.oracle.hermes_http import LATEST, STREAM, HermesLimits
from liqctl.ports import SystemClock
from liqctl.testing import ManualClock, SeededRng
from tests.oracle.hermes_bodies import BTC, SOL, UNKNOWN, body, entry
from tests.oracle.hermes_server import event, events, hermes, http, prices, raw, refusing

KEY = "Key-0123456789-SECRET"
QUICK = HermesLimits(requests_per_s=1_000)
IMPATIENT = replace(QUICK, timeout_s=0.3)


class QuickClock(SystemClock):
    """The clock of this host, whose sleepers wake after a thousandth of the time."""

    def __init__(self):
        self.slept = []

    async def sleep(self, seconds):
        self.slept.append(seconds)
        await asyncio.sleep(seconds / 1_000)


@asynccontextmanager
async def service(*, key=KEY, limits=QUICK, clock=None):
    """A server, and a client of it."""
    async with hermes() as server:
        client = HermesClient(
            server.url, clock or QuickClock(), SeededRng(), api_key=key, limits=limits
        )
        async with client:
            yield server, client


async def stream_until(client, enough, feeds=(SOL, BTC)):
    """Run the stream until the items suffice; what did come is returned."""
    items = []
    done = asyncio.Event()

    def sink(item):
        items.append(item)
        if enough(items):
            done.set()

    async with asyncio.timeout(10):
        running = asyncio.create_task(client.run(feeds, sink))
        await asyncio.wait(
            [running, asyncio.create_task(done.wait())], return_when="FIRST_COMPLETED"
        )
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    return items


def downs(items):
    return [each for each in items if isinstance(each, HermesDown)]


def streamed(items):
    """The publish times of what came by the stream, and not by the first read."""
    found = [each for each in items if isinstance(each, HermesPrices)]
    return [reading.publish_time for each in found for reading in each.readings]


async def test_the_latest_prices_are_asked_for_with_the_key_in_a_header():
    async with service() as (server, client):
        found = await client.latest(["0x" + SOL.upper(), BTC])

    request = server.requests[0]
    assert [each.feed_id for each in found.readings] == [SOL, BTC]
    assert (found.unknown, found.faulty) == ((), ())
    assert request.ids == [SOL, BTC]
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert KEY not in str(request.query)
    assert ("parsed", "true") in request.query


async def test_without_a_key_no_header_is_sent():
    async with service(key=None) as (server, client):
        await client.latest([SOL])

    assert "authorization" not in server.requests[0].headers


async def test_a_feed_that_is_left_out_of_the_answer_is_unknown():
    async with service() as (server, client):
        server.latest = raw(http(body(entry(SOL))))

        with capture_logs() as logs:
            found = await client.latest([SOL, UNKNOWN])
            await client.latest([SOL, UNKNOWN])

    assert [each.feed_id for each in found.readings] == [SOL]
    assert found.unknown == (UNKNOWN,)
    assert [each["feed_id"] for each in logs] == [UNKNOWN]


@pytest.mark.parametrize("text", [f"Price ids not found: 0x{UNKNOWN}", ""])
async def test_one_unknown_feed_is_named_and_the_others_go_on(text):
    feeds = [SOL, UNKNOWN, BTC, "cd" * 32, "ce" * 32]

    async def strict(request, writer):
        if UNKNOWN in request.ids:
            writer.write(http(text.encode(), "404 Not Found"))
        else:
            await prices(request, writer)

    async with service() as (server, client):
        server.latest = strict
        found = await client.latest(feeds)

    assert found.unknown == (UNKNOWN,)
    assert {each.feed_id for each in found.readings} == set(feeds) - {UNKNOWN}


async def test_a_service_that_knows_no_route_is_not_asked_without_end():
    async with service() as (server, client):
        server.latest = refusing("404 Not Found")

        with pytest.raises(HermesRefused, match="is the Hermes URL right"):
            await client.latest([f"{n:064x}" for n in range(100)])

    assert len(server.requests) == 16


@pytest.mark.parametrize(
    "status, code, text",
    [
        ("401 Unauthorized", 401, "refuses the API key; is the file of the key the right one?"),
        ("403 Forbidden", 403, "refuses the API key"),
        ("500 Internal Server Error", 500, "did not give prices"),
        ("302 Found", 302, "redirects; name the URL"),
    ],
)
async def test_a_refusal_says_what_to_do_and_shows_no_secret(status, code, text):
    async with service() as (server, client):
        elsewhere = f"location: {server.url}/elsewhere\r\n"
        server.latest = refusing(status, elsewhere, KEY.encode())

        with pytest.raises(HermesRefused, match=text) as refusal:
            await client.latest([SOL])

    assert refusal.value.code == code
    assert KEY not in str(refusal.value)
    assert "/hermes" not in str(refusal.value)
    assert len(server.requests) == 1


async def test_without_a_key_401_asks_for_one():
    async with service(key=None) as (server, client):
        server.latest = refusing("401 Unauthorized")

        with pytest.raises(HermesRefused, match="wants an API key"):
            await client.latest([SOL])


@pytest.mark.parametrize(
    "content, text",
    [
        (http(body(entry())[:150]), "holds no prices"),
        (http(b"<html>"), "holds no prices"),
        (http(gzip.compress(body(entry())), headers="content-encoding: gzip\r\n"), "unasked"),
        (http(body(entry(extra="x" * 5_000))), "more than 4000 bytes"),
    ],
    ids=["half JSON", "a page", "compressed", "oversized"],
)
async def test_an_answer_without_prices_is_malformed(content, text):
    async with service(limits=replace(QUICK, answer_bytes_max=4_000)) as (server, client):
        server.latest = raw(content)

        with pytest.raises(HermesMalformed, match=text):
            await client.latest([SOL])


async def test_a_body_that_breaks_off_or_never_ends_is_unreachable():
    async def dripping(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def broken(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
        writer.close()

    async with service(limits=IMPATIENT) as (server, client):
        server.latest = broken
        with pytest.raises(HermesUnreachable, match="broke off"):
            await client.latest([SOL])
        server.latest = dripping
        with pytest.raises(HermesUnreachable, match="in time"):
            await client.latest([SOL])


async def test_nobody_at_the_address_is_unreachable():
    async with hermes() as server:
        pass
    gone = HermesClient(server.url, QuickClock(), SeededRng(), limits=QUICK)

    async with gone:
        with pytest.raises(HermesUnreachable, match="no connection to http://127"):
            await gone.latest([SOL])


async def test_requests_wait_for_their_turn():
    clock = ManualClock()
    async with service(clock=clock, limits=replace(QUICK, requests_per_s=1)) as (server, client):
        await client.latest([SOL])
        second = asyncio.create_task(client.latest([SOL]))
        await clock.advance(0.9)
        before = len(server.requests)
        await clock.advance(0.2)
        await second

    assert (before, len(server.requests)) == (1, 2)


@pytest.mark.parametrize(
    "header, pause_s",
    [
        ("retry-after: 7\r\n", 7),
        ("", 60),
        ("retry-after: soon\r\n", 60),
        ("retry-after: 999999999\r\n", 3_600),
        (f"retry-after: {email.utils.formatdate(1_700_000_030, usegmt=True)}\r\n", 30),
    ],
)
async def test_after_429_nothing_is_asked_until_the_pause_is_over(header, pause_s):
    clock = ManualClock()
    async with service(clock=clock) as (server, client):
        server.latest = refusing("429 Too Many Requests", header)
        with pytest.raises(HermesRefused) as first:
            await client.latest([SOL])
        server.latest = prices
        with pytest.raises(HermesRefused, match="may not be asked") as second:
            await client.latest([SOL])
        asked = len(server.requests)
        await clock.advance(pause_s)
        await client.latest([SOL])

    assert (first.value.code, second.value.code, asked) == (429, 429, 1)
    assert first.value.retry_after_s == second.value.retry_after_s == pause_s
    assert client.counts.rate_limited == 1


async def test_the_stream_begins_with_the_latest_prices_and_goes_on_with_events():
    update = event(body(entry(published=5), entry(BTC, published=6)))
    async with service() as (server, client):
        server.stream = events(
            b": hello\n\n", update[:40], update[40:], event(body(entry(published=7)))
        )

        items = await stream_until(client, lambda found: streamed(found)[-1:] == [7])

    assert streamed(items)[2:] == [5, 6, 7]
    assert server.asked(LATEST) == server.asked(STREAM) == [[SOL, BTC]]
    assert server.requests[1].headers["authorization"] == f"Bearer {KEY}"
    assert (client.counts.streams, client.counts.updates) == (1, 2)


async def test_an_unknown_feed_is_left_out_of_the_stream():
    async with service() as (server, client):
        server.latest = raw(http(body(entry(SOL))))
        server.stream = events(event(body(entry(published=5))))

        items = await stream_until(client, lambda f: 5 in streamed(f), feeds=(SOL, UNKNOWN))

    assert items[0].unknown == (UNKNOWN,)
    assert server.asked(STREAM) == [[SOL]]


@pytest.mark.parametrize(
    "chunks, then, reason",
    [
        ([event(b"slow consumer", "error")], "hold", "ended the stream"),
        ([], "end", "ended the stream"),
        ([b": keep-alive\n\n"], "repeat", "no price for 0.5 s"),
        ([event(b'{"parsed":[')], "repeat", "no price for 0.5 s"),
        ([event(body(entry("cd" * 32)))], "repeat", "no price for 0.5 s"),
        ([b"data: " + b"x" * 3_000, b"x" * 3_000], "hold", "more than 4000 bytes"),
    ],
    ids=["error event", "end", "comments alone", "half JSON", "foreign feeds", "oversized"],
)
async def test_a_stream_that_is_of_no_use_is_dropped_and_opened_again(chunks, then, reason):
    good = events(event(body(entry(published=5))))

    async def first_bad(request, writer):
        server.stream = good
        await events(*chunks, then=then)(request, writer)

    limits = replace(QUICK, idle_s=0.5, event_bytes_max=4_000)
    async with service(limits=limits) as (server, client):
        server.stream = first_bad

        items = await stream_until(client, lambda found: 5 in streamed(found))

    assert reason in downs(items)[0].reason
    assert client.counts.streams == client.counts.drops + 1 >= 2


@pytest.mark.parametrize(
    "answer, reason",
    [
        (refusing("401 Unauthorized"), "refuses the API key"),
        (refusing("503 Service Unavailable"), "did not give prices"),
        (raw(http(b"{}", headers="content-type: application/json\r\n")), "is no stream"),
    ],
)
async def test_a_stream_that_is_refused_says_why(answer, reason):
    async with service() as (server, client):
        server.stream = answer

        items = await stream_until(client, downs)

    assert reason in downs(items)[0].reason
    assert KEY not in str(items)


async def test_pauses_grow_while_nothing_works_and_have_an_end():
    clock = QuickClock()
    async with service(clock=clock) as (server, client):
        server.latest = refusing("500 Internal Server Error")

        items = await stream_until(client, lambda found: len(downs(found)) == 10)

    pauses = [each.pause_s for each in downs(items)]
    assert [0.5 <= pauses[0] <= 1, 8 <= pauses[4] <= 16, 30 <= pauses[-1] <= 60] == [True] * 3
    assert clock.slept[:9] == pauses[:9]


async def test_the_stream_waits_as_long_as_429_asks():
    async with service() as (server, client):
        server.latest = refusing("429 Too Many Requests", "retry-after: 40\r\n")

        items = await stream_until(client, downs)

    assert 40 < downs(items)[0].pause_s < 42


async def test_a_refused_key_is_tried_rarely():
    async with service() as (server, client):
        server.latest = refusing("401 Unauthorized")

        items = await stream_until(client, downs)

    assert 30 <= downs(items)[0].pause_s <= 60


async def test_a_service_that_knows_none_of_the_feeds_is_asked_rarely():
    async with service() as (server, client):
        server.latest = raw(http(body()))

        items = await stream_until(client, downs)

    assert "none of the feeds" in downs(items)[0].reason
    assert downs(items)[0].pause_s >= 30
    assert server.asked(STREAM) == []


async def test_what_the_sink_raises_ends_the_stream():
    def sink(item):
        raise TimeoutError("ours")

    async with service() as (_, client):
        with pytest.raises(TimeoutError, match="ours"):
            await client.run([SOL], sink)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "hermes",
        "ftp://host/x",
        "https://",
        "https://me:SECRET@host/x",
        "https://host/x?key=SECRET",
        "https://host/x#SECRET",
        "https://[/SECRET",
        "https://host:99999/SECRET",
        "http://host.example/SECRET",
    ],
)
def test_a_url_that_is_not_safe_to_call_is_refused_and_not_shown(url):
    with pytest.raises(SettingsError, match="Hermes URL") as refusal:
        HermesClient(url, SystemClock(), SeededRng())

    assert "SECRET" not in str(refusal.value)


@pytest.mark.parametrize("key", ["", "SECRET SECRET", "SECRET\n", "SECRÉT"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(key):
    with pytest.raises(SettingsError) as refusal:
        HermesClient("https://host/x", SystemClock(), SeededRng(), api_key=key)

    assert "SECR" not in str(refusal.value)


@pytest.mark.parametrize("feeds", [[], ["SOL/USD"], [f"{n:064x}" for n in range(101)]])
async def test_feeds_that_cannot_be_asked_for_are_refused(feeds):
    async with service() as (server, client):
        with pytest.raises(SettingsError):
            await client.latest(feeds)

    assert server.requests == []


async def test_neither_key_nor_path_is_shown_or_logged(caplog):
    caplog.set_level(logging.DEBUG)
    async with hermes() as server:
        client = HermesClient(
            f"{server.url}/PATH-SECRET", QuickClock(), SeededRng(), api_key=KEY, limits=QUICK
        )
        async with client:
            with capture_logs() as logs:
                found = await client.latest([SOL, BTC])

    shown = f"{client!r} {found} {logs} {caplog.text}"
    assert len(logs) == 2
    assert "SECRET" not in shown
    assert f"HermesClient(http://127.0.0.1:{server.port}/…)" in shown


async def test_a_service_that_streams_nothing_but_answers_goes_on_being_asked():
    async with service() as (server, client):
        server.stream = refusing("503 Service Unavailable")

        items = await stream_until(client, lambda _: client.counts.polls >= 2)

        assert len(downs(items)) < len(items) - len(downs(items))
        assert len(server.asked(LATEST)) > len(server.asked(STREAM))


async def test_during_a_pause_that_a_service_asked_for_it_is_not_asked():
    async with service() as (server, client):
        server.stream = refusing("429 Too Many Requests", "retry-after: 50\r\n")

        await stream_until(client, lambda items: len(downs(items)) >= 2)

        assert client.counts.polls == 0
