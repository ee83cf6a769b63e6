import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from liqctl.chain.hot_wire import Answer, HotWire, NotHot
from liqctl.chain.rpc import HttpRpc
from liqctl.errors import RpcRefused, RpcUnreachable
from liqctl.ports import SystemClock, SystemRng
from tests.chain.scripted import StillClock

OK = b'{"jsonrpc":"2.0","id":1,"result":7}'


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    length = b"content-length: %d" % len(body)
    return b"\r\n".join([b"HTTP/1.1 " + status, length, *headers, b"", body])


class Node:
    """Answers each request with the next bytes; None hangs up."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.bodies: list[bytes] = []
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                self.bodies.append(await reader.readexactly(length))
                reply = self.answers.pop(0)
                if reply is None:
                    break
                writer.write(reply)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def node(*answers: bytes | None) -> AsyncIterator[Node]:
    script = Node(*answers)
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0)
    script.port = server.sockets[0].getsockname()[1]
    async with server:
        yield script


def wire(script: Node, **limits: int) -> HotWire:
    chosen = {"connections_max": 2, "body_bytes_max": 1_000, **limits}
    return HotWire(f"http://127.0.0.1:{script.port}/key?q=1", **chosen)


async def test_one_connection_is_kept_for_the_next_request():
    async with node(answer(OK), answer(b"second")) as script:
        hot = wire(script)

        assert await hot.post(b"a") == Answer(200, None, OK)
        assert await hot.post(b"b") == Answer(200, None, b"second")

        assert script.bodies == [b"a", b"b"]
        assert script.connections == 1
        hot.close()


async def test_a_connection_that_has_rested_for_long_is_not_used_again(monkeypatch):
    monkeypatch.setattr("liqctl.chain.hot_wire.IDLE_S_MAX", -1.0)
    async with node(answer(OK), answer(b"second")) as script:
        hot = wire(script)

        await hot.post(b"a")
        await hot.post(b"b")

        assert script.connections == 2
        hot.close()


async def test_a_name_and_password_in_the_url_are_sent_with_every_call():
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        seen.append(head)
        body = b'{"jsonrpc":"2.0","id":1,"result":7}'
        writer.write(answer(body, b"connection: close"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with HttpRpc(
            f"http://me:secret@127.0.0.1:{port}", SystemClock(), SystemRng(1)
        ) as rpc:
            await rpc.call("getSlot", [])

    assert b"authorization: basic bwu6c2vjcmv0" in seen[0].lower()


@pytest.mark.parametrize(
    "reply",
    [
        answer(OK, status=b"42 Odd"),
        answer(OK, status=b"100 Continue"),
        answer(OK, status=b"2000 Odd"),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        answer(OK, b"content-encoding: gzip"),
        answer(OK, b"content-length: 3"),
        answer(OK, b"content-length: -1"),
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"garbage\r\n\r\n",
        answer(b"x" * 1_001),
        None,
    ],
)
async def test_any_other_answer_is_given_back_and_its_connection_dropped(reply):
    async with node(reply, answer(OK)) as script:
        hot = wire(script)

        with pytest.raises(NotHot) as raised:
            await hot.post(b"a")

        assert raised.value.sent is True
        assert raised.value.framing is (reply is not None)
        assert (await hot.post(b"b")).body == OK
        assert script.connections == 2
        hot.close()


async def test_a_status_and_its_pause_are_an_answer():
    busy = answer(b"slow", b"Retry-After: 60", status=b"429 Too Many Requests")
    async with node(busy, answer(OK)) as script:
        hot = wire(script)

        assert await hot.post(b"a") == Answer(429, "60", b"slow")
        assert (await hot.post(b"b")).body == OK
        assert script.connections == 1
        hot.close()


async def test_a_connection_that_the_node_means_to_close_is_not_kept():
    async with node(answer(OK, b"Connection: close"), answer(OK)) as script:
        hot = wire(script)

        assert (await hot.post(b"a")).body == OK
        assert (await hot.post(b"b")).body == OK
        assert script.connections == 2
        hot.close()


async def test_a_connection_that_the_node_closed_meanwhile_is_not_used():
    async with node(answer(OK) + b"", None) as script:
        hot = wire(script)
        await hot.post(b"a")
        script.answers = [answer(b"fresh")]
        reader, writer, _ = hot._idle[0]
        reader.feed_eof()

        assert (await hot.post(b"b")).body == b"fresh"
        assert script.connections == 2
        assert writer.is_closing()
        hot.close()


async def test_no_listener_means_that_nothing_was_sent():
    async with node() as script:
        pass
    with pytest.raises(NotHot) as raised:
        await wire(script).post(b"a")

    assert raised.value.sent is False


async def test_a_cancelled_request_does_not_leave_a_connection_with_a_late_answer():
    async with node(b"", answer(OK)) as script:
        hot = wire(script)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await hot.post(b"a")

        assert (await hot.post(b"b")).body == OK
        assert script.connections == 2
        hot.close()


async def called(script: Node, call: Callable[[HttpRpc], object]) -> object:
    async with HttpRpc(f"http://127.0.0.1:{script.port}", SystemClock(), SystemRng()) as rpc:
        return await call(rpc)  # type: ignore[misc]


async def test_a_read_falls_back_to_the_general_client():
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n23\r\n" + OK + b"\r\n0\r\n\r\n"
    async with node(chunked, chunked) as script:
        found = await called(script, lambda rpc: rpc.call("getSignatureStatuses", []))

        assert found == 7
        assert len(script.bodies) == 2


async def test_a_node_that_frames_otherwise_is_asked_twice_once_a_minute_and_never_for_a_write():
    chunked = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"

    def numbered(number: int) -> bytes:
        body = OK.replace(b'"id":1', b'"id":%d' % number)
        return chunked % (len(body), body)

    clock = StillClock()
    async with node(*(numbered(n) for n in (1, 1, 2, 3, 4, 4, 5))) as script:
        url = f"http://127.0.0.1:{script.port}"
        async with HttpRpc(url, clock, SystemRng()) as rpc:
            assert await rpc.call("getSlot", []) == 7
            assert await rpc.call("getSlot", []) == 7
            await clock.sleep(60)
            assert await rpc.call("sendTransaction", ["raw"]) == 7
            assert await rpc.call("getSlot", []) == 7
            assert await rpc.call("getSlot", []) == 7

        assert script.answers == []


async def test_connections_that_break_do_not_speak_against_the_short_way():
    fine = [answer(OK.replace(b'"id":1', b'"id":%d' % number)) for number in (2, 3)]
    async with node(None, fine[0], fine[1]) as script:

        async def twice(rpc: HttpRpc) -> None:
            await rpc.call("getSlot", [])
            assert rpc._goes_hot("sendTransaction")
            await rpc.call("sendTransaction", ["raw"])

        await called(script, twice)
        assert script.answers == []


@pytest.mark.parametrize("method", ["getMultipleAccounts", "sendTransaction"])
async def test_a_refusal_keeps_its_status_and_its_pause(method):
    busy = answer(b"", b"retry-after: 60", status=b"429 Too Many Requests")
    async with node(busy) as script:
        with pytest.raises(RpcRefused) as raised:
            await called(script, lambda rpc: rpc.call(method, []))

        assert script.answers == []
        assert raised.value.code == 429
        assert raised.value.retry_after_s == 60


async def test_a_write_is_put_on_the_wire_once():
    async with node(None, answer(OK)) as script:
        with pytest.raises(RpcUnreachable):
            await called(script, lambda rpc: rpc.call("sendTransaction", ["raw"]))

        assert len(script.bodies) == 1
