"""Slow, huge and many clients, on real sockets against a real server with small limits."""

import asyncio
import gc
import subprocess
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import replace

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from liqctl.server.limits import Door
from liqctl.server.options import Limits, ServeOptions
from tests.server.guarded import BEARER, client, guarded, written

QUICK = Limits(header_s=0.2, idle_s=1.0, stalled_s=0.3, shutdown_s=1.0)
HEAD = b"GET /prices HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /control/stop HTTP/1.1\r\nHost: localhost\r\nAuthorization: " + (
    BEARER["Authorization"].encode() + b"\r\n"
)


def limited(**limits: float) -> ServeOptions:
    return ServeOptions(database_url="sqlite:none.db", limits=replace(QUICK, **limits))  # type: ignore[arg-type]


async def opened(there):
    return await asyncio.open_connection("127.0.0.1", there.port)


async def said(there, *parts, pause_s=0.0):
    """Return everything that a server answers to bytes, until it closes."""
    reader, writer = await opened(there)
    answer = bytearray()

    async def read():
        with suppress(ConnectionError):
            while part := await reader.read(65_536):
                answer.extend(part)

    reading = asyncio.create_task(read())
    with suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause_s)
    async with asyncio.timeout(10):
        await reading
    writer.close()
    return bytes(answer)


async def emptied(there):
    async with asyncio.timeout(10):
        while there.inside():  # noqa: ASYNC110 - nobody tells when the last one goes
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"GET /pri",),
        (HEAD,),
        (HEAD + b"\r\n" + HEAD,),
        (b"\r\n",) * 50,
        (HEAD, *(b"X: y\r\n",) * 50),
        (HEAD + b"\r\n", *(b"\r\n",) * 50),
    ],
    ids=["nothing", "line", "head", "second", "empty lines", "dripping", "dripping after one"],
)
async def test_a_head_that_does_not_end_in_time_is_cut_off(parts):
    async with guarded(limited()) as there:
        answer = await said(there, *parts, pause_s=0.02)
        await emptied(there)

    assert answer.count(b"HTTP/1.1 200") == sum(HEAD + b"\r\n" in part for part in parts)


async def test_a_connection_that_is_used_stays_and_an_idle_one_goes():
    async with guarded(limited()) as there, client(there) as http:
        for _ in range(4):
            assert (await http.get("/prices")).status_code == 200
            await asyncio.sleep(0.15)
        assert there.inside() == 1
        await emptied(there)


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ((HEAD + b"X: " + b"y" * 20_000 + b"\r\n\r\n",), b"431"),
        ((HEAD, b"X: " + b"y" * 20_000), b"431"),
        ((HEAD, *(b"X: " + b"y" * 997 + b"\r\n",) * 20), b"431"),
        ((b"GET /" + b"y" * 20_000,), b"431"),
        ((HEAD + b"X: " + b"y" * 15_000 + b"\r\nConnection: close\r\n\r\n",), b"200"),
    ],
    ids=["whole", "unending", "in parts", "path", "just fits"],
)
async def test_a_head_has_a_largest_size(parts, code):
    async with guarded(limited(header_s=5.0)) as there:
        answer = await said(there, *parts)

    assert answer.startswith(b"HTTP/1.1 " + code)


@pytest.fixture
def token_file(tmp_path):
    return written(tmp_path / "token")


async def test_each_request_of_a_connection_has_the_whole_size_for_its_head_and_body(token_file):
    headers = BEARER | {"X": "y" * 6_000}
    async with guarded(limited(), token_file) as there, client(there) as http:
        for size in (0, 60_000, 0, 60_000, 0, 0):
            answer = await http.post("/control/stop", headers=headers, content=b"z" * size)
            assert answer.json() == {"bytes": size}
        assert there.inside() == 1


def chunked(*sizes):
    return b"".join(b"%x\r\n%s\r\n" % (size, b"z" * size) for size in sizes)


CHUNKED = POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "code"),
    [
        ((POST + b"Content-Length: 1048576\r\n\r\n",), b"413"),
        ((POST + b"Content-Length: 1048576\r\n\r\n", b"z" * 2**20), b"413"),
        ((POST + b"Content-Length: 65537\r\n\r\n",), b"413"),
        ((CHUNKED, chunked(*[32_768] * 32)), b"413"),
        ((CHUNKED, chunked(65_536, 1)), b"413"),
        ((CHUNKED, chunked(65_536, 0)), b'200|{"bytes":65536}'),
        ((POST + b"Content-Length: 3\r\nConnection: close\r\n\r\n", b"zzz"), b'200|{"bytes":3}'),
        ((POST + b"Content-Length: 3\r\n\r\n", b"z"), b"408"),
        ((CHUNKED, chunked(3)), b"408"),
        ((POST + b"Content-Length: -1\r\n\r\n",), b"400"),
        ((POST + b"Content-Length: x\r\n\r\n",), b"400"),
        ((HEAD + b"Content-Length: 1048576\r\n\r\n",), b"413"),
    ],
)
async def test_a_body_has_a_largest_size_and_a_longest_time(token_file, parts, code):
    status, _, body = code.partition(b"|")

    async with guarded(limited(), token_file) as there:
        answer = await said(there, *parts)

    assert answer.startswith(b"HTTP/1.1 " + status)
    assert answer.endswith(body)


async def test_an_endless_body_after_the_answer_ends_the_connection():
    """An answered request whose body goes on must not hold its place for ever."""
    async with guarded(limited()) as there:
        part = chunked(1_000)
        head = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        await said(there, head, *[part] * 100, pause_s=0.02)
        await emptied(there)


async def test_more_connections_than_allowed_are_told_and_closed():
    async with guarded(limited(connections=8, header_s=30.0)) as there:
        held = [await opened(there) for _ in range(200)]
        refused = [reader for reader, _ in held[8:]]
        answers = [await reader.read() for reader in refused]
        inside = there.inside()
        held[0][1].write(HEAD + b"\r\n")
        first = await held[0][0].readline()
        for _, writer in held:
            writer.close()
        await emptied(there)
        async with client(there) as http:
            later = await http.get("/prices")

    assert inside == 8
    assert all(answer.startswith(b"HTTP/1.1 503") for answer in answers)
    assert b"too_many_connections" in answers[0]
    assert first == b"HTTP/1.1 200 OK\r\n"
    assert later.status_code == 200


async def test_one_address_has_its_part_of_the_connections():
    async with guarded(limited(connections_per_address=3, header_s=30.0)) as there:
        held = [await opened(there) for _ in range(6)]
        answers = [await reader.read() for reader, _ in held[3:]]
        inside = there.inside()
        for _, writer in held:
            writer.close()

    assert inside == 3
    assert all(answer.startswith(b"HTTP/1.1 503") for answer in answers)


async def test_websockets_keep_their_place_until_they_end():
    async with guarded(limited(connections=3)) as there, AsyncExitStack() as stack:
        held = [
            await stack.enter_async_context(connect(there.ws_url, proxy=None)) for _ in range(3)
        ]
        await asyncio.sleep(0.5)  # longer than any head may take
        await held[0].send("still there")
        heard = await held[0].recv()
        reader, writer = await opened(there)
        refused = await reader.readline()
        writer.close()
        for websocket in held:
            await websocket.close()
        await emptied(there)

    assert heard == "still there"
    assert refused.startswith(b"HTTP/1.1 503")


async def test_a_frame_beyond_the_limit_closes_with_1009():
    async with guarded(limited()) as there:
        async with connect(there.ws_url, proxy=None) as websocket:
            await websocket.send("z" * 4_096)
            assert await websocket.recv() == "z" * 4_096
            await websocket.send("z" * 4_097)
            with pytest.raises(ConnectionClosed) as closed:
                await websocket.recv()
        async with connect(there.ws_url, proxy=None) as websocket:
            with suppress(ConnectionClosed):
                await websocket.send("z" * 2**20)
            with pytest.raises(ConnectionClosed) as huge:
                await websocket.recv()

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1009
    assert huge.value.rcvd is None or huge.value.rcvd.code == 1009


async def test_who_does_not_read_the_answer_is_cut_off():
    async with guarded(limited()) as there:
        reader, writer = await asyncio.open_connection("127.0.0.1", there.port, limit=1_024)
        writer.write(b"GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await emptied(there)
        writer.close()
        del reader


async def test_a_websocket_that_does_not_read_is_cut_off():
    async with (
        guarded(limited(frame_bytes=2**20)) as there,
        connect(there.ws_url, proxy=None, max_queue=1) as websocket,
    ):

        async def flood():
            with suppress(ConnectionClosed):
                for _ in range(200):
                    await websocket.send("z" * 2**20)

        flooding = asyncio.create_task(flood())
        await emptied(there)
        flooding.cancel()


async def test_who_has_gone_leaves_nothing_behind():
    async with guarded(limited()) as there:
        for _ in range(20):
            await said(there, HEAD + b"Connection: close\r\n\r\n")
        await emptied(there)
        gc.collect()
        door = there.server.config.door
        left = [each for each in gc.get_objects() if type(each).__name__ == "LimitedHttp"]

    assert door._by_address == {}
    assert len(left) <= 1


def test_a_process_may_open_as_many_files_as_it_has_connections():
    """In a process of its own: a limit that was raised stays."""
    script = (
        "import resource; from liqctl.server.limits import allow_files;"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1];"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, min(hard, 500)));"
        "found = [];"
        "[(allow_files(n), found.append(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))"
        " for n in (50, 300, 200, 900)]; print(found)"
    )

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout.splitlines()[-1] == "[64, 300, 300, 500]"
    assert "too_few_files" in done.stdout


async def test_noise_on_the_line_writes_no_log(caplog):
    async with guarded(limited()) as there:
        for _ in range(5):
            assert (await said(there, b"noise\r\n\r\n")).startswith(b"HTTP/1.1 400")

    assert caplog.records == []


def test_a_connection_that_never_came_in_may_leave():
    door = Door(Limits())

    door.leave(asyncio.Transport())

    assert len(door) == 0
