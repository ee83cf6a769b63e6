"""`/ws` on a real server, read by clients that others wrote."""

import asyncio
import base64
import contextlib
import json
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from fastapi import FastAPI
from structlog.testing import capture_logs
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from liqctl.ports import Store, SystemClock
from liqctl.server import tail, websocket
from liqctl.server.options import Limits, ServeOptions
from liqctl.server.security import SUBPROTOCOL, TOKEN_SUBPROTOCOL
from liqctl.server.token import TokenFile
from liqctl.store import changes
from liqctl.store.open import open_store
from tests.server.guarded import TOKEN, Listening, listening, written
from tests.server.guarded import client as plain
from tests.server.lines import until
from tests.server.world import application

WAIT_S = 20
EVERYWHERE = "0.0.0.0"  # noqa: S104 - told to the policy, bound by nobody
Message = dict[str, object]


@dataclass(frozen=True, slots=True)
class Stream:
    """A server that listens, and the store that it follows."""

    there: Listening
    app: FastAPI
    store: Store

    def client(self, query: str = "", **more: object) -> connect:
        """Return a client that reads on whether or not it is asked, unless told otherwise."""
        given = {"max_queue": None, "max_size": None, "proxy": None, **more}
        return connect(self.there.ws_url + query, **given)  # type: ignore[arg-type]

    def pausing(self) -> connect:
        """Return a client that reads only when asked; little fits between it and the server."""
        narrow = socket.socket()
        narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        narrow.connect(("127.0.0.1", self.there.port))
        return self.client(sock=narrow, max_queue=1)

    def record(self, kind: str = "price_update", symbol: str = "SOL", **more: object) -> int:
        return self.store.append_event(kind, json.dumps({"symbol": symbol, **more}), 1)


@asynccontextmanager
async def streaming(
    file: Path, *, tokens: TokenFile | None = None, limits: Limits | None = None, **more: object
) -> AsyncIterator[Stream]:
    limits = limits or Limits(shutdown_s=1.0)
    options = replace(ServeOptions(database_url=f"sqlite:{file}"), limits=limits)
    app = application(file, clock=SystemClock(), tokens=tokens, limits=limits, **more)
    with closing(open_store(f"sqlite:{file}")) as store:
        async with asyncio.timeout(WAIT_S), listening(app, options) as there:
            yield Stream(there, app, store)


@pytest.fixture
async def stream(own_file: Path) -> AsyncIterator[Stream]:
    async with streaming(own_file) as opened:
        yield opened


async def test_a_plain_request_is_told_to_upgrade(stream):
    async with plain(stream.there) as http:
        answer = await http.get("/ws")

    assert answer.status_code == 426
    assert answer.headers["upgrade"] == "websocket"
    assert answer.json()["error"]["code"] == "upgrade_required"


async def heard(client: ClientConnection, count: int = 1) -> list[Message]:
    return [json.loads(await client.recv()) for _ in range(count)]


async def events(client: ClientConnection, last: int) -> list[Message]:
    """Return what comes until the event `last`, without the greeting."""
    found: list[Message] = []
    while not found or found[-1]["seq"] != last or found[-1]["type"] in {"hello", "gap"}:
        found += await heard(client)
    return [each for each in found if each["type"] != "hello"]


async def end_of(client: ClientConnection) -> tuple[int, str]:
    """Return code and reason of the end, after everything that comes before."""
    with contextlib.suppress(ConnectionClosed):
        async for _ in client:
            pass
    assert client.close_code is not None
    return client.close_code, client.close_reason or ""


def seqs(messages: list[Message]) -> list[object]:
    return [each["seq"] for each in messages]


async def test_a_client_is_greeted_and_told_what_is_recorded_from_then_on(stream):
    before = stream.store.last_seq()
    async with stream.client() as client:
        [hello] = await heard(client)
        first = stream.record(price=5)
        second = stream.record("insurance_fund", balance=2**53)
        told = await heard(client, 2)

    assert (hello["type"], hello["seq"]) == ("hello", before)
    assert isinstance(hello["at_ms"], int)
    assert told == [
        {"type": "price_update", "symbol": "SOL", "price": 5, "seq": first, "at_ms": 1},
        {
            "type": "insurance_fund",
            "symbol": "SOL",
            "balance": str(2**53),
            "seq": second,
            "at_ms": 1,
        },
    ]


async def test_every_message_has_a_seq_that_never_falls(stream, monkeypatch):
    monkeypatch.setattr(tail, "HEARTBEAT_NS", 0)
    found: list[Message] = []
    async with stream.client() as client:
        for op in ('{"op":"ping"}', '{"op":"subscribe"}', "nonsense"):
            stream.record()
            await client.send(op)
        while {each["type"] for each in found} != {
            *("hello", "price_update", "heartbeat", "pong", "subscribed", "error")
        }:
            found += await heard(client)

    numbers = [each["seq"] for each in found]
    assert numbers == sorted(numbers)  # type: ignore[type-var]


async def test_a_client_chooses_types_and_symbols_in_the_address(stream):
    async with stream.client("?types=liquidation,price_update&symbols=BTC") as client:
        stream.record("price_update", "SOL")
        wanted = stream.record("price_update", "BTC")
        stream.record("queue", "BTC")
        last = stream.record("liquidation", "BTC")
        told = await events(client, last)

    assert seqs(told) == [wanted, last]


async def test_a_client_chooses_again_by_a_message(stream):
    async with stream.client("?types=queue") as client:
        await heard(client)
        await client.send('{"op":"subscribe","types":["price_update"],"symbols":["BTC"]}')
        [answer] = await heard(client)
        stream.record("queue")
        stream.record(symbol="SOL")
        wanted = stream.record(symbol="BTC")
        told = await heard(client)

    assert answer["type"] == "subscribed"
    assert (answer["types"], answer["symbols"]) == (["price_update"], ["BTC"])
    assert seqs(told) == [wanted]


async def test_who_comes_back_misses_nothing_and_hears_nothing_twice(stream, own_file):
    """A writer records without a pause on another thread meanwhile."""
    count, since, told = 400, stream.store.last_seq(), list[Message]()

    def write() -> None:
        with closing(open_store(f"sqlite:{own_file}")) as store:
            for _ in range(count):
                store.append_event("price_update", "{}", 1)

    first = since + 1
    writing = asyncio.get_running_loop().run_in_executor(None, write)
    while since < first + count - 1:
        async with stream.client(f"?since={since}") as client:
            hello, *_ = await heard(client)
            assert hello["seq"] == since
            # Some of it from memory or the store, some of it as it happens.
            for _ in range(min(60, first + count - 1 - since)):
                told += await heard(client)
        since = int(str(told[-1]["seq"]))
    await writing

    assert seqs(told) == list(range(first, first + count))


@pytest.mark.parametrize("answering", ["memory", "store"])
async def test_what_is_gone_is_told_as_a_gap(own_file, answering, monkeypatch):
    if answering == "store":
        monkeypatch.setattr(tail, "RECENT_MAX", 2)
    with closing(open_store(f"sqlite:{own_file}")) as store:
        last = [store.append_event("queue", "{}", 1) for _ in range(9)][-1]
        store.prune_events(4)
    async with streaming(own_file) as stream, stream.client("?since=1") as client:
        told = await events(client, last)

    assert told[0] == {"type": "gap", "since": 1, "seq": last - 4}
    assert seqs(told[1:]) == list(range(last - 3, last + 1))


async def test_a_number_that_was_never_given_is_told_as_a_gap(stream):
    last = stream.store.last_seq()
    async with stream.client(f"?since={2**63 - 1}") as client:
        _, told = await heard(client, 2)
        following = stream.record()
        after = await heard(client)

    assert told == {"type": "gap", "since": 2**63 - 1, "seq": last}
    assert seqs(after) == [following]


async def test_both_kinds_of_ping_are_answered(stream):
    async with stream.client() as client:
        await heard(client)
        await (await client.ping())
        await client.send(b'{"op":"ping"}')
        [pong] = await heard(client)

    assert pong["type"] == "pong"
    assert pong["seq"] == stream.store.last_seq()


ORDERS = [
    "",
    "ping",
    "null",
    "[]",
    '{"op":1}',
    '{"op":"shout"}',
    '{"op":"ping","more":1}',
    '{"op":"subscribe","types":"price_update"}',
    '{"op":"subscribe","types":["prices"]}',
    json.dumps({"op": "subscribe", "symbols": ["x"] * 65}),
    "[" * 4000,
    b"\xff\xfe",
    b"",
]


@pytest.mark.parametrize("order", ORDERS, ids=range(len(ORDERS)))
async def test_an_order_that_means_nothing_is_answered_and_changes_nothing(full_stream, order):
    async with full_stream.client() as client:
        await heard(client)
        await client.send(order)
        [told] = await heard(client)
        await client.send('{"op":"ping"}')
        [after] = await heard(client)

    assert told["type"] == "error"
    assert isinstance(told["message"], str)
    assert after["type"] == "pong"


@pytest.fixture
async def full_stream(full_file: Path) -> AsyncIterator[Stream]:
    async with streaming(full_file) as opened:
        yield opened


async def test_who_goes_on_talking_nonsense_is_shown_out(full_stream):
    async with full_stream.client() as client:
        for _ in range(websocket.BAD_MESSAGES_MAX):
            await client.send("?")

        code, reason = await end_of(client)

    assert code == 1008
    assert "mean nothing" in reason


async def test_who_talks_without_end_is_shown_out(full_stream):
    async with full_stream.client() as client:
        for _ in range(websocket.MESSAGES_A_MINUTE + 1):
            await client.send('{"op":"ping"}')

        code, reason = await end_of(client)

    assert code == 1008
    assert "messages a minute" in reason


async def test_a_message_over_4_kib_ends_the_connection(full_stream):
    async with full_stream.client() as client:
        await heard(client)
        await client.send("x" * 4_097)

        assert (await end_of(client))[0] == 1009


REFUSED = {
    "since=": "since",
    "since=-1": "since",
    "since=1.5": "since",
    "since=%D9%A1": "since",
    "since=9223372036854775808": "since",
    "since=" + "9" * 1_900: "since",
    "sinse=1": "unknown parameter 'sinse'",
    "token=secret": "unknown parameter 'token'",
    "types=liquidations": "there is no 'liquidations'",
    "types=": "there is no ''",
    "symbols=" + ",".join("x" * 65): "at most 64 names",
}


@pytest.mark.parametrize("query", REFUSED, ids=lambda query: query[:20])
async def test_an_address_that_cannot_be_meant_is_refused_with_the_reason(full_stream, query):
    async with full_stream.client("?" + query) as client:
        code, reason = await end_of(client)

    assert code == 1008
    assert REFUSED[query] in reason


async def test_who_does_not_read_is_told_to_come_back_and_misses_nothing_then(own_file):
    # More than the buffers between two local sockets take.
    limits = Limits(client_queue=4, shutdown_s=1.0)
    async with streaming(own_file, limits=limits) as stream:
        first = stream.store.last_seq() + 1
        async with (
            stream.pausing() as slow,
            stream.client() as quick,
        ):
            await heard(quick)
            last = first - 1
            while not stream.app.state.hub.counts["too_slow"]:
                last = stream.record(text="x" * 1_000_000)
                [latest] = await heard(quick)
                assert latest["seq"] == last
            late = await _all_of(slow)
            code, reason = slow.close_code, slow.close_reason
        async with stream.client(f"?since={late[-1]['seq']}") as client:
            rest = await events(client, last)

    assert (code, reason) == (1013, "too slow: come back with since")
    assert seqs(late)[1:] + seqs(rest) == list(range(first, last + 1))


async def test_who_pauses_and_reads_on_in_time_gets_what_has_waited(own_file):
    async with (
        streaming(own_file) as stream,
        stream.pausing() as pausing,
        stream.client() as quick,
    ):
        await heard(quick)
        sent = []
        for _ in range(30):
            sent.append(stream.record(text="x" * 400_000))
            await heard(quick)
        told = await events(pausing, sent[-1])

    assert seqs(told) == sent


async def _all_of(client: ClientConnection) -> list[Message]:
    found: list[Message] = []
    with contextlib.suppress(ConnectionClosed):
        while True:
            found += await heard(client)
    return found


async def test_a_database_that_goes_away_is_told_and_goes_on_when_it_is_back(
    own_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(tail, "HEARTBEAT_NS", 0)
    monkeypatch.setattr(tail, "RETRY_S", 0.01)
    async with streaming(own_file) as stream, stream.client() as client:
        await heard(client)
        away = own_file.rename(tmp_path / "away.db")
        stream.app.state.news.set()
        told = await _until(client, lambda each: each.get("database", "ok") != "ok")
        async with stream.client(f"?since={2**40}") as other:
            refused = await end_of(other)
        away.rename(own_file)
        seq = stream.record()
        back = await _until(client, lambda each: each["type"] == "price_update")
        well = await _until(client, lambda each: each.get("database") == "ok")

    assert told["type"] == "heartbeat"
    assert refused[0] == 1013
    assert back["seq"] == seq
    assert well["type"] == "heartbeat"


async def _until(client: ClientConnection, wanted: Callable[[Message], bool]) -> Message:
    while True:
        [found] = await heard(client)
        if wanted(found):
            return found


async def test_another_database_in_its_place_is_told_as_a_gap(own_file, tmp_path):
    other = tmp_path / "other.db"
    with closing(open_store(f"sqlite:{other}")) as store:
        store.append_event("queue", "{}", 1)
    async with streaming(own_file) as stream, stream.client() as client:
        await heard(client)
        last = [stream.record() for _ in range(3)][-1]
        await events(client, last)
        for end in ("", "-wal", "-shm"):
            own_file.with_name(own_file.name + end).rename(tmp_path / f"away.db{end}")
        other.rename(own_file)
        told = await _until(client, lambda each: each["type"] == "gap")
        with closing(open_store(f"sqlite:{own_file}")) as store:
            seq = store.append_event("queue", "{}", 1)
            [after] = await heard(client)

    assert told == {"type": "gap", "since": last, "seq": 1}
    assert (after["seq"], seq) == (2, 2)


async def test_a_database_that_was_never_there_is_told_by_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(websocket, "BEGIN_S", 0.01)
    file = tmp_path / "none.db"
    options = ServeOptions(database_url=f"sqlite:{file}")
    app = application(file, clock=SystemClock())
    async with listening(app, options) as there, connect(there.ws_url, proxy=None) as client:
        code, reason = await end_of(client)

    assert (code, reason) == (1013, "the database cannot be read at the moment")


async def test_a_client_goes_from_one_server_to_another_on_the_same_database(own_file):
    async with streaming(own_file) as one, streaming(own_file) as two:
        since = first = one.store.last_seq()
        told: list[Message] = []
        for turn in range(6):
            server = (one, two)[turn % 2]
            async with server.client(f"?since={since}") as client:
                last = server.record()
                one.record()  # the other one has to tell of it
                told += await events(client, last)
            since = last

    assert seqs(told) == list(range(first + 1, since + 1))


async def test_the_word_of_a_keeper_is_enough(own_file, monkeypatch):
    async with streaming(own_file) as stream, stream.client() as client:
        await heard(client)
        monkeypatch.setattr(changes, "POLL_S", 60)
        monkeypatch.setattr(tail, "LOOK_S", 60)
        stream.record()
        stream.app.state.news.set()
        await heard(client)  # from now on nobody looks by himself
        seq = stream.record()
        stream.app.state.news.set()
        [told] = await heard(client)

    assert told["seq"] == seq


async def test_no_more_clients_than_agreed_come_in(full_file):
    limits = Limits(connections_per_address=2, shutdown_s=1.0)
    async with streaming(full_file, limits=limits) as stream:
        async with stream.client(), stream.client():
            with pytest.raises(InvalidStatus) as refused:
                await stream.client()
        await until(lambda: stream.there.inside() == 0)
        async with stream.client() as client:
            [hello] = await heard(client)

    assert refused.value.response.status_code == 503
    assert hello["type"] == "hello"


async def test_a_public_server_takes_the_token_as_a_header_or_a_subprotocol(full_file, tmp_path):
    tokens = TokenFile(written(tmp_path / "token"), SystemClock())
    hidden = base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")
    async with streaming(full_file, tokens=tokens, host=EVERYWHERE) as stream:
        named = stream.client(subprotocols=[SUBPROTOCOL, TOKEN_SUBPROTOCOL + hidden])
        async with named as client:
            by_subprotocol = await heard(client)
            chosen = client.subprotocol
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with stream.client(additional_headers=headers) as client:
            by_header = await heard(client)
        with pytest.raises(InvalidStatus) as refused:
            await stream.client(f"?token={TOKEN}")

    assert by_subprotocol[0]["type"] == by_header[0]["type"] == "hello"
    assert chosen == SUBPROTOCOL
    assert refused.value.response.status_code == 401


async def test_clients_of_another_making_are_served_as_well(stream):
    aiohttp = pytest.importorskip("aiohttp")
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.ws_connect(stream.there.ws_url) as client,
    ):
        hello = await client.receive_json()
        seqs = [stream.record(text="x" * length) for length in (1, 200, 70_000)]
        told = [await client.receive_json() for _ in seqs]
        await client.send_json({"op": "ping"})
        pong = await client.receive_json()

    assert hello["type"] == "hello"
    assert [each["seq"] for each in told] == seqs
    assert pong["type"] == "pong"


async def test_clients_are_told_when_the_server_ends(full_file):
    async with streaming(full_file) as stream:
        client = await stream.client()
        await heard(client)

    assert (await end_of(client))[0] == 1012


async def test_who_has_gone_leaves_nothing_behind(stream):
    before = len(asyncio.all_tasks())
    for query in ("", "?since=0", "?since=nonsense"):
        client = await stream.client(query)
        client.transport.abort()
    async with stream.client("?since=0") as client:
        await heard(client)
        await client.send("x" * 5_000)
        await end_of(client)

    await until(lambda: len(asyncio.all_tasks()) == before)
    assert len(stream.app.state.hub) == 0
    assert stream.there.inside() == 0


async def test_a_stream_that_fails_by_a_bug_ends_the_server_loudly(full_file, monkeypatch):
    async def broken(_self: tail.Tail) -> None:
        raise RuntimeError("a bug")

    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    monkeypatch.setattr(tail.Tail, "run", broken)

    app = application(full_file)
    with capture_logs() as logs:
        async with asyncio.timeout(WAIT_S), app.router.lifespan_context(app):
            await told.wait()
    asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)

    assert ("critical", "stream_failed") in {(each["log_level"], each["event"]) for each in logs}


async def test_a_refused_handshake_is_no_error_in_the_log(stream, caplog):
    with pytest.raises(InvalidStatus) as refused:
        async with stream.client(origin="https://evil.example"):
            pass

    assert refused.value.response.status_code == 403
    assert [one for one in caplog.records if one.name.startswith("uvicorn")] == []
