"""Small servers and ports that say exactly what a test tells them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from liqctl.errors import LiqctlError

ADDRESSES = (
    "9icJ1w96CBJHCHuKXJPaRYfNgLwe8oJkuLrj6jYvPfJe",
    "AdDrLYramWa5Eoy5FYU6KyoxG6Nu1sL6XVacPmsF4heD",
    "3MhiGjT1HnpGmrx9AUmC2GiKBMp3y3T7AzoCepdf7Axm",
)
PROGRAM = "GzUHX2DWaFyhYetd3ZRejjgjirvjvvbZpmkKPkzPXrXE"
Json = dict[str, Any]
Speaker = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Reply = Callable[[Json, asyncio.StreamWriter], Awaitable[bytes | None]]


class StillClock:
    """A clock that moves only by being slept on, at once."""

    def __init__(self, now_ns: int = 0) -> None:
        self.now_ns = now_ns
        self.slept: list[float] = []

    def unix_ms(self) -> int:
        return self.now_ns // 1_000_000

    def monotonic_ns(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_ns += round(seconds * 1e9)
        await asyncio.sleep(0)


class EvenRng:
    """Chance that is always one half."""

    def random(self) -> float:
        return 0.5

    def token(self, length: int) -> str:
        return "0" * length


class ScriptedRpc:
    """Answers by method, in order; the last one is repeated. An error among them is raised."""

    def __init__(self, **answers: object) -> None:
        self.answers = {
            method: list(found) if isinstance(found, tuple) else [found]
            for method, found in answers.items()
        }
        self.calls: list[tuple[str, list[Any]]] = []

    async def call(self, method: str, params: Sequence[object]) -> object:
        self.calls.append((method, list(params)))
        queue = self.answers[method]
        answer = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(answer, LiqctlError):
            raise answer
        return json.loads(json.dumps(answer))

    def params(self, method: str) -> list[list[Any]]:
        return [params for name, params in self.calls if name == method]


class EveryMethod:
    """Gives one answer to everything."""

    def __init__(self, answer: object) -> None:
        self.answer = answer

    async def call(self, method: str, params: Sequence[object]) -> object:
        return self.answer


def in_context(value: object, slot: int = 100) -> Json:
    return {"context": {"slot": slot, "apiVersion": "2.0.0"}, "value": value}


def account(data_base64: str = "AAEC", owner: str = PROGRAM, lamports: int = 5) -> Json:
    return {
        "owner": owner,
        "lamports": lamports,
        "data": [data_base64, "base64"],
        "executable": False,
        "rentEpoch": 2**64 - 1,
        "space": 3,
    }


def http(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def result(request: Json, value: object) -> bytes:
    return http(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": value}).encode())


def error(request: Json, code: int, message: str, **more: object) -> bytes:
    found = {"code": code, "message": message, **more}
    return http(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": found}).encode())


@asynccontextmanager
async def socket_node(speak: Speaker) -> AsyncIterator[int]:
    """Serve `speak` on a port; every connection is closed at the end."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await speak(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


@asynccontextmanager
async def http_node(reply: Reply) -> AsyncIterator[str]:
    """Serve `reply(request, writer)` bytes per request; None closes the connection."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            answer = await reply(json.loads(await reader.readexactly(length)), writer)
            if answer is None:
                break
            writer.write(answer)
            await writer.drain()

    async with socket_node(speak) as port:
        yield f"http://127.0.0.1:{port}/key/SECRETKEY?api-key=TOPSECRET"
