"""Finished answers, given again while nothing has been committed: no routing, no query, no encoding."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liqctl.errors import StoreError
from liqctl.server.reader import Version

# What depends on nothing but the content of the database.
KEPT_PATHS = frozenset(
    {
        "/liquidations/recent",
        "/liquidations/pending",
        "/failures",
        "/attempts",
        "/positions",
        "/insurance/balance",
        "/insurance/history",
        "/events",
        "/alerts",
    }
)
ENTRIES_MAX = 256
BYTES_MAX = 16 * 2**20

_Key = tuple[str, bytes, bytes]


@dataclass(frozen=True, slots=True)
class _Answer:
    version: Version
    start: Message
    body: bytes


class AnswerCache:
    """ASGI middleware that keeps answers by path, query and Accept, the latest used ones.

    An answer is as old as the version that was read before it was made, at most 25 ms behind the
    database. Equal requests that come while one is being answered wait for that answer.
    """

    def __init__(self, app: ASGIApp, version: Callable[[], Awaitable[Version]]) -> None:
        """Keep answers of `app` as long as `version` returns the same."""
        self._app = app
        self._version = version
        self._kept: OrderedDict[_Key, _Answer] = OrderedDict()
        self._bytes = 0
        self._making: dict[tuple[_Key, Version], asyncio.Future[_Answer | None]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer from memory, or let the application answer and remember it."""
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"] not in KEPT_PATHS:
            return await self._app(scope, receive, send)
        try:
            version = await self._version()
        except StoreError:
            return await self._app(scope, receive, send)
        key = (scope["path"], scope["query_string"], _accept(scope))
        answer = self._kept.get(key)
        if answer is not None and answer.version == version:
            self._kept.move_to_end(key)
        else:
            answer = await self._made(key, version, scope, receive, send)
        if answer is not None:
            # The guard around this one adds to the headers of each answer.
            await send({**answer.start, "headers": list(answer.start["headers"])})
            await send({"type": "http.response.body", "body": answer.body})
        return None

    async def _made(
        self, key: _Key, version: Version, scope: Scope, receive: Receive, send: Send
    ) -> _Answer | None:
        """Return the answer of the application, or None when it was sent already."""
        running = self._making.get((key, version))
        if running is not None:
            answer = await asyncio.shield(running)
            if answer is None:
                await self._app(scope, receive, send)
            return answer
        running = asyncio.get_running_loop().create_future()
        self._making[key, version] = running
        try:
            answer = await self._record(version, scope, receive)
        except BaseException:
            running.set_result(None)
            raise
        finally:
            del self._making[key, version]
        running.set_result(answer)
        if answer.start["status"] == 200:
            self._keep(key, answer)
        return answer

    async def _record(self, version: Version, scope: Scope, receive: Receive) -> _Answer:
        start: Message = {}
        body = bytearray()

        async def note(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                body.extend(message.get("body", b""))

        await self._app(scope, receive, note)
        return _Answer(version, start, bytes(body))

    def _keep(self, key: _Key, answer: _Answer) -> None:
        old = self._kept.pop(key, None)
        self._bytes += len(answer.body) - (0 if old is None else len(old.body))
        self._kept[key] = answer
        while len(self._kept) > ENTRIES_MAX or self._bytes > BYTES_MAX:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.body)


def _accept(scope: Scope) -> bytes:
    return b",".join(value for name, value in scope["headers"] if name == b"accept")
