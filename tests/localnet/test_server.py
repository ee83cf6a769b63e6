"""The transports: HTTP framing and limits, CORS, slow WebSocket clients, ports, ticking."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from liqctl.errors import SettingsError
from liqctl.localnet.account import AccountState
from liqctl.localnet.server import LocalnetServer, ServerConfig
from liqctl.localnet.world import World
from liqctl.ports import SystemClock
from tests.localnet.chain_world import PAYER, PROGRAM, RECEIVER, new_world, request

GET_SLOT = json.dumps(request("getSlot", {"commitment": "processed"})).encode()
JSON_TYPE = b"Content-Type: application/json\r\n"


@pytest.fixture
def world() -> World:
    return new_world()


@pytest.fixture
async def server(world: World) -> AsyncIterator[LocalnetServer]:
    config = ServerConfig(port=0, ticking=False, frames_max=50)
    async with LocalnetServer(world, SystemClock(), config) as server:
        yield server


async def test_one_connection_serves_many_requests_even_pipelined(server: LocalnetServer) -> None:
    post = _post(GET_SLOT)

    replies = await _exchange(server, post + post + post.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))  # fmt: skip

    assert replies.count(b"HTTP/1.1 200 OK") == 3
    assert replies.count(b'"result":2') == 3
    assert replies.count(b"Connection: keep-alive") == 2
    assert replies.count(b"Connection: close") == 1


async def test_health_is_plain_text(server: LocalnetServer, world: World) -> None:
    get = b"GET /health HTTP/1.0\r\n\r\n"

    healthy = await _exchange(server, get)
    world.slots_behind = 7
    behind = await _exchange(server, get)

    assert healthy.endswith(b"\r\n\r\nok")
    assert behind.endswith(b"\r\n\r\nbehind { distance: 7 }")


async def test_a_browser_may_ask_from_any_page(server: LocalnetServer) -> None:
    preflight = b"OPTIONS / HTTP/1.1\r\nOrigin: http://example.org\r\nConnection: close\r\n\r\n"

    reply = await _exchange(server, preflight)

    assert reply.startswith(b"HTTP/1.1 200 OK")
    assert b"Access-Control-Allow-Origin: *\r\n" in reply
    assert b"Access-Control-Allow-Headers: *\r\n" in reply


@pytest.mark.parametrize(
    "sent, status",
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"POST / SPDY/3\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\nno colon here\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\n" + JSON_TYPE + b"Content-Length: -5\r\n\r\n", b"400"),
        (b"POST / HTTP/1.1\r\n" + JSON_TYPE + b"\r\n{}", b"411"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"POST / HTTP/1.1\r\n" + JSON_TYPE + b"Content-Length: 51201\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\n" + JSON_TYPE + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", b"431"),
        (b"GET / HTTP/1.0\r\n\r\n", b"405"),
        (b"POST / HTTP/1.0\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", b"415"),
    ],
)  # fmt: skip
async def test_what_is_not_a_request_is_refused_and_the_connection_ends(
    server: LocalnetServer, sent: bytes, status: bytes
) -> None:
    reply = await _exchange(server, sent)

    assert reply.startswith(b"HTTP/1.1 " + status)


async def test_the_largest_allowed_body_is_read(server: LocalnetServer) -> None:
    padded = GET_SLOT + b" " * (50 * 1024 - len(GET_SLOT))

    reply = await _exchange(server, _post(padded, b"Connection: close\r\n"))

    assert b'"result":2' in reply


async def test_a_half_sent_request_harms_nobody(server: LocalnetServer) -> None:
    _, half = await asyncio.open_connection("127.0.0.1", _port(server.url))
    half.write(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
    await half.drain()

    reply = await _exchange(server, _post(GET_SLOT, b"Connection: close\r\n"))
    half.close()

    assert b'"result":2' in reply


async def test_the_websocket_port_follows_the_http_port(server: LocalnetServer) -> None:
    assert _port(server.ws_url) == _port(server.url) + 1


async def test_a_port_in_use_is_a_setting_to_correct(server: LocalnetServer, world: World) -> None:
    taken = ServerConfig(port=_port(server.url), ticking=False)

    with pytest.raises(SettingsError, match="cannot listen on"):
        async with LocalnetServer(world, SystemClock(), taken):
            pass


async def test_slots_tick_by_themselves() -> None:
    world = new_world(slot_ms=10)

    async with LocalnetServer(world, SystemClock(), ServerConfig(port=0)):
        await asyncio.sleep(0.3)
    stopped_at = world.slot
    await asyncio.sleep(0.05)

    assert 15 <= stopped_at <= 35
    assert world.slot == stopped_at


async def test_a_chain_that_breaks_ends_whoever_runs_it() -> None:
    world = new_world(slot_ms=10)

    def fail(_: object) -> None:
        raise RuntimeError("broken")

    world.listen(fail)

    with pytest.raises(ExceptionGroup) as caught:
        async with LocalnetServer(world, SystemClock(), ServerConfig(port=0)):
            await asyncio.sleep(5)
    assert caught.group_contains(RuntimeError, match="broken")


async def test_subscriptions_are_refused_like_requests(server: LocalnetServer) -> None:
    refused: list[tuple[str, list[object]]] = [
        ("getSlot", []),
        ("voteSubscribe", []),
        ("accountSubscribe", []),
        ("accountSubscribe", ["abc"]),
        ("logsSubscribe", [{"mentions": []}]),
        ("logsSubscribe", ["some"]),
        ("accountUnsubscribe", [99]),
        ("strangeUnsubscribe", [1]),
    ]
    async with connect(server.ws_url) as socket:
        replies = [await _ask(socket, method, *params) for method, params in refused]
        await socket.send("{")
        broken = json.loads(await socket.recv())

    codes = [reply["error"]["code"] for reply in replies]
    assert codes == [-32601, -32601, -32602, -32602, -32602, -32602, -32602, -32601]
    assert broken["error"]["code"] == -32700


async def test_an_unsubscribed_account_is_silent(server: LocalnetServer, world: World) -> None:
    commitment = {"commitment": "processed", "encoding": "base64"}
    async with connect(server.ws_url) as socket:
        first = (await _ask(socket, "accountSubscribe", str(RECEIVER), commitment))["result"]
        second = (await _ask(socket, "accountSubscribe", str(RECEIVER), commitment))["result"]
        wrong_kind = await _ask(socket, "programUnsubscribe", first)
        gone = await _ask(socket, "accountUnsubscribe", first)

        world.set_account(RECEIVER, AccountState(lamports=5, owner=PROGRAM))
        world.set_account(RECEIVER, AccountState(lamports=0))
        seen = [json.loads(await socket.recv())["params"] for _ in range(2)]

    assert wrong_kind["error"]["code"] == -32602
    assert gone["result"] is True
    assert [one["subscription"] for one in seen] == [second, second]
    assert [one["result"]["value"]["lamports"] for one in seen] == [5, 0]
    assert seen[1]["result"]["value"]["owner"] == "1" * 32


async def test_confirmed_subscribers_see_the_state_of_the_confirmed_block(
    server: LocalnetServer, world: World
) -> None:
    confirmed = {"commitment": "confirmed", "encoding": "base64"}
    async with connect(server.ws_url) as socket:
        await _ask(socket, "accountSubscribe", str(RECEIVER), confirmed)
        written = world.slot
        world.set_account(RECEIVER, AccountState(lamports=1))
        world.set_account(RECEIVER, AccountState(lamports=2))
        world.tick()
        world.set_account(RECEIVER, AccountState(lamports=3))
        seen = json.loads(await socket.recv())["params"]["result"]

    assert seen["context"]["slot"] == written
    assert seen["value"]["lamports"] == 2


async def test_a_closed_program_account_is_not_reported_to_program_subscribers(
    server: LocalnetServer, world: World
) -> None:
    processed = {"commitment": "processed", "encoding": "base64"}
    async with connect(server.ws_url) as socket:
        await _ask(socket, "programSubscribe", str(PROGRAM), processed)
        world.set_account(RECEIVER, AccountState(lamports=1, owner=PROGRAM))
        world.set_account(RECEIVER, AccountState(lamports=0))
        world.set_account(PAYER.pubkey(), AccountState(lamports=9, owner=PROGRAM))
        seen = [json.loads(await socket.recv())["params"]["result"]["value"] for _ in range(2)]

    assert [one["pubkey"] for one in seen] == [str(RECEIVER), str(PAYER.pubkey())]


async def test_a_client_that_does_not_keep_up_is_cut_off(
    server: LocalnetServer, world: World
) -> None:
    processed = {"commitment": "processed", "encoding": "base64"}
    async with connect(server.ws_url) as socket:
        await _ask(socket, "accountSubscribe", str(RECEIVER), processed)
        for lamports in range(1, 200):
            world.set_account(RECEIVER, AccountState(lamports=lamports))

        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(_read_all(socket), 5)

    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1013


async def _ask(socket: ClientConnection, method: str, *params: object) -> Any:
    await socket.send(json.dumps(request(method, *params)))
    return json.loads(await socket.recv())


async def _read_all(socket: ClientConnection) -> None:
    while True:
        await socket.recv()


async def _exchange(server: LocalnetServer, sent: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", _port(server.url))
    writer.write(sent)
    reply = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    return reply


def _post(body: bytes, more: bytes = b"") -> bytes:
    length = f"Content-Length: {len(body)}\r\n".encode()
    return b"POST / HTTP/1.1\r\n" + JSON_TYPE + length + more + b"\r\n" + body


def _port(url: str) -> int:
    return int(url.rpartition(":")[2])
