"""A real HTTP server on this host that answers as Hermes does, or as a test has it."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from liqctl.oracle.hermes_http import LATEST, STREAM
from tests.oracle.hermes_bodies import body, entry

BASE = "/hermes"


@dataclass
class Request:
    path: str
    query: list[tuple[str, str]]
    headers: dict[str, str]

    @property
    def ids(self) -> list[str]:
        return [value for name, value in self.query if name == "ids[]"]


Answer = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """What was asked, and how each of the two routes answers."""

    port: int = 0
    latest: Answer | None = None
    stream: Answer | None = None
    requests: list[Request] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{BASE}"

    def asked(self, path: str) -> list[list[str]]:
        return [each.ids for each in self.requests if each.path == BASE + path]


def http(content: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(content)}\r\n{headers}\r\n"
    return head.encode() + content


def raw(content: bytes) -> Answer:
    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(content)

    return answer


def refusing(status: str, headers: str = "", content: bytes = b"") -> Answer:
    return raw(http(content, status, headers))


async def prices(request: Request, writer: asyncio.StreamWriter) -> None:
    """Answer with a price of every feed that was asked for."""
    writer.write(http(body(*map(entry, request.ids)), headers="content-type: application/json\r\n"))


def event(content: bytes, kind: str | None = None) -> bytes:
    return (f"event: {kind}\n" if kind else "").encode() + b"data: " + content + b"\n\n"


def events(*chunks: bytes, then: Literal["hold", "end", "repeat"] = "hold") -> Answer:
    """Send the chunks of a stream, each for itself; then keep it open, end it, or go on so."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode())
        for chunk in cycle(chunks) if then == "repeat" else chunks:
            writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
            await writer.drain()
            await asyncio.sleep(0.002)
        if then == "hold":
            await asyncio.sleep(60)
        writer.write(b"0\r\n\r\n")

    return answer


@asynccontextmanager
async def hermes() -> AsyncIterator[Server]:
    """Serve on a free port; every connection is closed at the end."""
    server = Server(latest=prices, stream=events())
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                request = _request(await reader.readuntil(b"\r\n\r\n"))
                server.requests.append(request)
                routes = {BASE + LATEST: server.latest, BASE + STREAM: server.stream}
                answer = routes.get(request.path) or refusing("404 Not Found")
                await answer(request, writer)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await listener.wait_closed()


@contextmanager
def hermes_beside() -> Iterator[Server]:
    """Serve from a thread of its own, for programs that run in this one."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def done(work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    serving = hermes()
    try:
        yield done(serving.__aenter__())
    finally:
        done(serving.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def _request(head: bytes) -> Request:
    first, *lines = head.decode().split("\r\n")
    url = urlsplit(first.split(" ")[1])
    headers = {
        name.lower(): value.strip()
        for name, _, value in (line.partition(":") for line in lines if line)
    }
    return Request(path=url.path, query=parse_qsl(url.query), headers=headers)
