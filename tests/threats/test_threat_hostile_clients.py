"""Slow, huge and many clients against the program as it is run, with the limits that it has."""

import asyncio
import json
import shutil
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.server.guarded import free_port
from tests.server.program import serving
from tests.server.world import filled

RSS_GROWTH_BYTES_MAX = 64 * 2**20
ADDRESS_MAX = 32


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    shutil.copy(filled(tmp_path_factory.mktemp("api")), folder / "api.db")
    return folder


@pytest.fixture(scope="module")
def program(place):
    with serving(place, "--port", str(free_port())) as running:
        yield running


def resident(pid: int) -> int:
    """Return the bytes of memory that a process has, or 0 where nobody tells."""
    statm = Path(f"/proc/{pid}/statm")
    return int(statm.read_text().split()[1]) * 4096 if statm.exists() else 0


async def flood(port: int, count: int, first: bytes) -> list[bytes]:
    """Open many connections at once, say the same on each; return what those were told that ended."""

    async def one() -> bytes:
        told = b""
        with suppress(ConnectionError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(first)
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    told = await reader.read(4_096)
            writer.close()
        return told

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(one()) for _ in range(count)]
    return [each.result() for each in asked]


async def test_hundreds_of_connections_of_one_address_leave_place_and_memory_for_others(program):
    port = int(program.url.rpartition(":")[2])
    before = resident(program.process.pid)

    told = await flood(port, 400, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: ")
    async with httpx.AsyncClient(trust_env=False, timeout=20) as http:
        recent = await http.get(program.url + "/liquidations/recent")

    refused = [each for each in told if each.startswith(b"HTTP/1.1 503")]
    assert len(refused) >= 400 - 2 * ADDRESS_MAX
    assert recent.status_code == 200
    assert resident(program.process.pid) - before < RSS_GROWTH_BYTES_MAX


HUGE = b"z" * 2**20
HEAD = b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (b"GET /prices" + HEAD + b"X: " + HUGE + b"\r\n\r\n", {431}),
        (b"GET /" + HUGE + HEAD + b"\r\n", {431}),
        (b"GET /prices?" + b"q" * 8_000 + HEAD + b"\r\n", {414}),
        (b"POST /control/stop" + HEAD + b"Content-Length: 1048576\r\n\r\n" + HUGE, {401, 413}),
        (b"GET /prices" + HEAD + b"Content-Length: 1048576\r\n\r\n" + HUGE, {413}),
        (HUGE, {400, 431}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\r\n\r\n", {400}),
        (b"GET /%ff%00%2e%2e" + HEAD + b"\r\n", {404}),
        (b"GET /positions?cursor=%00%ff&limit=-1" + HEAD + b"\r\n", {400, 422}),
        (b"CONNECT evil.example:443" + HEAD + b"\r\n", {400, 401, 404, 405, 421}),
        (b"GET http://evil.example/prices" + HEAD + b"\r\n", {200}),
        (b"GET /prices HTTP/1.0\r\n\r\n", {421}),
        (b"GET /prices HTTP/9.9\r\nHost: localhost\r\n\r\n", {400}),
    ],
    ids=[
        *("head", "path", "query", "order", "body", "noise", "tls", "bytes", "cursor", "connect"),
        *("absolute", "no host", "version"),
    ],
)
async def test_what_is_huge_or_malformed_is_refused_and_breaks_nothing(program, sent, statuses):
    answer = await whole_answer(int(program.url.rpartition(":")[2]), sent)

    head, _, body = answer.partition(b"\r\n\r\n")
    assert int(head.split()[1]) in statuses
    assert b"server:" not in head.lower()
    assert b"Traceback" not in body
    if head.split()[1] not in {b"200", b"400"}:
        assert set(json.loads(body)) == {"error"}
    assert program.get("/healthz").status_code == 200


async def whole_answer(port: int, sent: bytes) -> bytes:
    """Return what comes back although not everything may have been taken."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = bytearray()

    async def read() -> None:
        with suppress(ConnectionError):
            while part := await reader.read(65_536):
                answer.extend(part)

    async with asyncio.timeout(20):
        reading = asyncio.create_task(read())
        with suppress(ConnectionError):
            writer.write(sent)
            await writer.drain()
        await reading
    writer.close()
    return bytes(answer)
