"""`/ws`: the stream of events for clients, from now on or from where they were."""

import asyncio
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

import msgspec
import structlog
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from liqctl.errors import StoreBusy, StoreError
from liqctl.ports import Clock
from liqctl.server.errors import error_answer
from liqctl.server.hub import Client, Hub, Line, Wants, message
from liqctl.server.limits import line_of
from liqctl.server.reader import Reader
from liqctl.server.resume import catch_up

log = structlog.get_logger(__name__)

CLOSE_S = 5.0
# A server that has just been started reads the store before it can tell anything.
BEGIN_S = 5.0
TYPES = frozenset({"liquidation", "price_update", "insurance_fund", "queue", "alert"})
ALWAYS = frozenset({"hello", "heartbeat", "gap"})
NAMES_MAX = 64
BAD_MESSAGES_MAX = 10
MESSAGES_A_MINUTE = 120
SEQ = re.compile(r"[0-9]{1,19}", re.ASCII)
SEQ_MAX = 2**63 - 1
MINUTE_NS = 60_000_000_000

VIOLATION, TRY_LATER = 1008, 1013


class Order(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What a client may say: change what it gets, or ask for a sign of life."""

    op: str
    types: list[str] | None = None
    symbols: list[str] | None = None


_ORDERS = msgspec.json.Decoder(Order)


class Refused(Exception):
    """What a client asked for cannot be done; the text says why."""


def routes() -> list[BaseRoute]:
    """Return the routes; `app.state` must hold `hub`, `reader`, `clock` and `options`."""
    return [WebSocketRoute("/ws", _serve), Route("/ws", _not_upgraded)]


async def _not_upgraded(_request: Request) -> Response:
    """Say what a plain GET has to ask for; a proxy that drops the upgrade is the usual cause."""
    return error_answer(
        HTTPStatus.UPGRADE_REQUIRED,
        "upgrade_required",
        "/ws speaks WebSocket only: connect with a WebSocket client, and let a proxy in between "
        "pass on Upgrade and Connection",
        {"Upgrade": "websocket", "Connection": "Upgrade"},
    )


async def _serve(socket: WebSocket) -> None:
    state = socket.app.state
    hub: Hub = state.hub
    try:
        await socket.accept()
    except WebSocketDisconnect:
        return
    visit = Visit(
        socket=socket,
        line=line_of(socket.scope),
        hub=hub,
        reader=state.reader,
        clock=state.clock,
        queue_max=state.options.limits.client_queue,
    )
    try:
        since, wants = asked(socket.query_params)
        async with asyncio.timeout(BEGIN_S):
            await hub.begun.wait()
        await visit.stay(since, wants)
    except Refused as error:
        await visit.close(VIOLATION, str(error))
    except StoreBusy:
        await visit.close(TRY_LATER, "the database is busy or away")
    except (StoreError, TimeoutError):
        await visit.close(TRY_LATER, "the database cannot be read at the moment")


@dataclass(slots=True, kw_only=True)
class Visit:
    """One client from its greeting to its end."""

    socket: WebSocket
    line: Line
    hub: Hub
    reader: Reader
    clock: Clock
    queue_max: int
    _closing: asyncio.Task[None] | None = None
    _bad: int = 0
    _heard_ns: deque[int] = field(default_factory=partial(deque, maxlen=MESSAGES_A_MINUTE))

    async def stay(self, since: int | None, wants: Wants) -> None:
        """Greet, tell what was missed, then whatever comes, until the client goes.

        Raises:
            StoreError: what it missed cannot be read.
        """
        client = Client(self.line, wants, self.queue_max, self._too_slow)
        client.position = (self.hub.seq or 0) if since is None else since
        client.put(message("hello", client.position, at_ms=self.clock.unix_ms()))
        try:
            if await catch_up(client, client.position, self.hub, self.reader):
                await self._listen(client)
        finally:
            self.hub.leave(client)
            if self._closing is not None:
                await asyncio.wait([self._closing])

    async def close(self, code: int, reason: str) -> None:
        """Say why and go; a client that does not even read that is left to the limits."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.socket.close(code, reason)
        except (TimeoutError, RuntimeError, WebSocketDisconnect):
            log.debug("client_left", code=code)

    async def _listen(self, client: Client) -> None:
        while True:
            try:
                text = await self._received()
            except WebSocketDisconnect:
                return
            if self._closing is not None:
                continue
            try:
                self._obey(client, text)
            except Refused as error:
                self._bad += 1
                client.put(message("error", client.position, message=str(error)))
                if self._bad >= BAD_MESSAGES_MAX:
                    self._end(VIOLATION, "too many messages that mean nothing")

    async def _received(self) -> str | bytes:
        """Return the next message.

        Raises:
            WebSocketDisconnect: there will be none.
        """
        received = await self.socket.receive()
        if received["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(received.get("code", 1005))
        text = received.get("text")
        found: str | bytes = received.get("bytes", b"") if text is None else text
        return found

    def _obey(self, client: Client, text: str | bytes) -> None:
        if self._is_talkative():
            self._end(VIOLATION, f"more than {MESSAGES_A_MINUTE} messages a minute")
            return
        try:
            order = _ORDERS.decode(text)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise Refused('expected {"op": "subscribe" | "ping", ...}') from error
        match order.op:
            case "ping":
                client.put(message("pong", client.position, at_ms=self.clock.unix_ms()))
            case "subscribe":
                client.wants = _wants(order.types, order.symbols)
                shown = {"types": order.types, "symbols": order.symbols}
                client.put(message("subscribed", client.position, **shown))
            case other:
                raise Refused(f"op must be subscribe or ping, was {other[:20]!r}")

    def _is_talkative(self) -> bool:
        """Return whether as many messages as are allowed have come within the last minute."""
        now_ns, heard_ns = self.clock.monotonic_ns(), self._heard_ns
        many = len(heard_ns) == heard_ns.maxlen and now_ns - heard_ns[0] < MINUTE_NS
        heard_ns.append(now_ns)
        return many

    def _too_slow(self) -> None:
        self._end(TRY_LATER, "too slow: come back with since")

    def _end(self, code: int, reason: str) -> None:
        """Begin to close; what waits is not sent any more."""
        if self._closing is None:
            self._closing = asyncio.create_task(self.close(code, reason), name="close client")


def asked(query: Mapping[str, str]) -> tuple[int | None, Wants]:
    """Return where to go on from, and what is wanted, from the query of the address.

    Raises:
        Refused: a parameter is unknown or malformed.
    """
    unknown = set(query) - {"since", "types", "symbols"}
    if unknown:
        raise Refused(f"unknown parameter {min(unknown)[:40]!r}")
    since = query.get("since")
    if since is not None and not (SEQ.fullmatch(since) and int(since) <= SEQ_MAX):
        raise Refused("since must be the seq of an event")
    listed = (query.get(name) for name in ("types", "symbols"))
    types, symbols = (None if text is None else text.split(",") for text in listed)
    return None if since is None else int(since), _wants(types, symbols)


def _wants(types: list[str] | None, symbols: list[str] | None) -> Wants:
    for names in (types, symbols):
        if names is not None and len(names) > NAMES_MAX:
            raise Refused(f"at most {NAMES_MAX} names can be listed")
    unknown = set(types or ()) - TYPES - ALWAYS
    if unknown:
        known = ", ".join(sorted(TYPES))
        raise Refused(f"types can be {known}; there is no {min(unknown)[:20]!r}")
    return Wants(
        types=None if types is None else frozenset(types),
        symbols=None if symbols is None else frozenset(symbols),
    )
