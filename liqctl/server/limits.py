"""Who may stay: the limits of uvicorn's connections, for which uvicorn itself has no settings."""

import asyncio
import importlib.util
import resource
import socket
from collections.abc import Callable, Mapping
from typing import Any, cast

import structlog
import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from liqctl.server.options import Limits

log = structlog.get_logger(__name__)

FILES_BESIDE = 128
LOOKS_PER_LIMIT = 4
LOOK_S_MAX = 1.0
NEVER = float("inf")
END_OF_HEAD = b"\r\n\r\n"
LINE = "liqctl.line"


class Guest:
    """One connection: where it comes from, and by when it must have done what it began."""

    __slots__ = ("address", "due", "leaving_since", "stalled_since")

    def __init__(self, address: str | None, due: float) -> None:
        """Note the address, None for a Unix socket, and the loop's time by which a head is due."""
        self.address = address
        self.due = due
        self.stalled_since = NEVER
        self.leaving_since = NEVER


class Door:
    """Counts the connections of one server, and puts out those that are late.

    Looked at a few times within the shortest limit, instead of by a timer for each request.
    """

    def __init__(self, limits: Limits) -> None:
        """Start with nobody inside."""
        self.limits = limits
        self.refused = 0
        self._guests: dict[asyncio.BaseTransport, Guest] = {}
        self._by_address: dict[str, int] = {}
        self._next_look: asyncio.TimerHandle | None = None
        shortest_s = min(limits.header_s, limits.idle_s, limits.stalled_s)
        self._look_s = min(LOOK_S_MAX, shortest_s / LOOKS_PER_LIMIT)

    def __len__(self) -> int:
        """Return how many are inside, WebSockets included."""
        return len(self._guests)

    def enter(self, transport: asyncio.BaseTransport) -> Guest | None:
        """Let a connection in; None when the house, or the part for its address, is full."""
        address = _address_of(transport)
        count = 0 if address is None else self._by_address.get(address, 0)
        limits = self.limits
        if len(self._guests) >= limits.connections or count >= limits.connections_per_address:
            if self.refused == 0:
                log.warning("connection_refused", inside=len(self._guests), of_address=count)
            self.refused += 1
            return None
        loop = asyncio.get_running_loop()
        guest = self._guests[transport] = Guest(address, loop.time() + limits.header_s)
        if address is not None:
            self._by_address[address] = count + 1
        if self._next_look is None:
            self._next_look = loop.call_later(self._look_s, self._look, loop)
        return guest

    def of(self, transport: asyncio.BaseTransport) -> Guest | None:
        """Return the guest behind a transport that is inside."""
        return self._guests.get(transport)

    def leave(self, transport: asyncio.BaseTransport) -> None:
        """Forget a connection; one that never came in is no error."""
        guest = self._guests.pop(transport, None)
        if guest is None or guest.address is None:
            return
        left = self._by_address[guest.address] - 1
        if left:
            self._by_address[guest.address] = left
        else:
            del self._by_address[guest.address]

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cut off who is late: with a head, with reading, or with going."""
        now = loop.time()
        for transport, guest in list(self._guests.items()):
            if transport.is_closing() and guest.leaving_since == NEVER:
                guest.leaving_since = now
            since = min(guest.stalled_since, guest.leaving_since)
            if now > guest.due or now - since > self.limits.stalled_s:
                # Not close(), which would wait until everything written has been read.
                cast("asyncio.Transport", transport).abort()
        again = loop.call_later(self._look_s, self._look, loop) if self._guests else None
        self._next_look = again


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration with our limits, and the door that keeps them.

    The header `server` is not sent, forwarded addresses are not believed, and the log is ours.
    """

    def __init__(self, app: Any, limits: Limits, **given: Any) -> None:  # noqa: ANN401 - uvicorn's
        """Take what else `uvicorn.Config` takes: sockets, TLS, the loop."""
        self.door = Door(limits)
        super().__init__(
            app,
            http=LimitedHttp,
            ws=LimitedWebSocket,
            ws_max_size=limits.frame_bytes,
            ws_ping_interval=limits.ping_s,
            ws_ping_timeout=limits.ping_s,
            ws_per_message_deflate=False,
            h11_max_incomplete_event_size=limits.header_bytes,
            timeout_keep_alive=max(1, round(limits.idle_s)),
            timeout_graceful_shutdown=max(1, round(limits.shutdown_s)),
            backlog=limits.connections,
            server_header=False,
            proxy_headers=False,
            access_log=False,
            log_config=None,
            log_level="error",  # its warnings are one line for each malformed request
            **given,
        )


class Server(uvicorn.Server):
    """uvicorn's server on sockets that are bound already, with a limit on TLS handshakes too."""

    config: ServerConfig

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then listen."""
        await super().startup(sockets=[])
        allow_files(self.config.door.limits.connections + FILES_BESIDE)
        config, loop = self.config, asyncio.get_running_loop()
        handshake_s = None if config.ssl is None else config.door.limits.header_s

        def connection() -> asyncio.Protocol:
            return LimitedHttp(config, self.server_state, self.lifespan.state, loop)

        for each in sockets or ():
            self.servers.append(
                await loop.create_server(
                    connection,
                    sock=each,
                    ssl=config.ssl,
                    backlog=config.backlog,
                    ssl_handshake_timeout=handshake_s,
                )
            )


def allow_files(wanted: int) -> None:
    """Let this process open so many files, as far as the system permits; each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        log.warning("too_few_files", allowed=allowed, wanted=wanted, remedy="ulimit -Hn")


def _quickest() -> Any:  # noqa: ANN401 - one of two classes
    if importlib.util.find_spec("httptools") is None:
        from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: PLC0415 - is always there

        return H11Protocol
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: PLC0415 - an extra

    return HttpToolsProtocol


class LimitedHttp(_quickest()):  # type: ignore[misc]
    """An HTTP connection that came in by the door; `guest` is None when the house was full."""

    guest: Guest | None

    def __init__(self, config: ServerConfig, *rest: Any, **more: Any) -> None:  # noqa: ANN401
        """Wait for the connection."""
        super().__init__(config, *rest, **more)
        self.door = config.door
        self.head_bytes = 0
        self.upgraded = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Come in, or be told that it is full."""
        self.guest = self.door.enter(transport)
        if self.guest is None:
            transport.write(FULL)
            transport.close()
        else:
            super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Go."""
        if self.guest is not None:
            self.door.leave(self.transport)
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, while there is a time by which the head of the next request is due."""
        if self.guest is None:
            return
        if not self._is_serving() and self._is_head_large(data):
            self.transport.write(HEAD_LARGE)
            self.transport.close()
            return
        super().data_received(data)
        if self._is_serving():
            self.head_bytes, self.guest.due = 0, NEVER
        elif self.guest.due == NEVER and not self.upgraded:
            self.guest.due = self.loop.time() + self.door.limits.header_s

    def handle_websocket_upgrade(self, *args: object) -> None:
        """Leave the connection to the other protocol."""
        self.upgraded = True
        super().handle_websocket_upgrade(*args)

    def pause_writing(self) -> None:
        """Note since when the client has not read."""
        if self.guest is not None:
            self.guest.stalled_since = self.loop.time()
            super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        if self.guest is not None:
            self.guest.stalled_since = NEVER
            super().resume_writing()

    def _is_serving(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _is_head_large(self, data: bytes) -> bool:
        """Return whether the head, of which this is a part, has not ended within the limit."""
        left = self.door.limits.header_bytes - self.head_bytes
        self.head_bytes += len(data)
        return len(data) > left and data.find(END_OF_HEAD, 0, left) < 0


class LimitedWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket on a connection that came in by the door as HTTP, and a hub's `Line`.

    Applications find it by `line_of`, and write frames that were encoded once for all clients.
    """

    def __init__(self, config: ServerConfig, *rest: Any, **more: Any) -> None:  # noqa: ANN401
        """Wait for the connection."""
        super().__init__(config, *rest, **more)
        self.door = config.door
        self._call_when_clear: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Stay: nothing is due any more but answers to pings."""
        super().connection_made(transport)
        self.guest = self.door.of(transport) or Guest(None, NEVER)
        self.guest.due = NEVER

    def connection_lost(self, exc: Exception | None) -> None:
        """Go."""
        self.door.leave(self.transport)
        self._call_when_clear = None
        super().connection_lost(exc)

    def handle_connect(self, event: Request) -> None:
        """Accept a handshake and add the line to what the application is given."""
        super().handle_connect(event)
        if not self.close_sent:
            cast("dict[str, Any]", self.scope)["extensions"][LINE] = self

    async def send(self, message: Any) -> None:  # noqa: ANN401 - ASGI's
        """Send; a close does not wait until the client reads, which it may never do."""
        if message["type"] == "websocket.close":
            self.writable.set()
        await super().send(message)
        if message["type"] == "websocket.http.response.body" and not message.get("more_body"):
            # uvicorn takes a handshake that was answered with a refusal for one not answered.
            self.handshake_complete = True

    def pause_writing(self) -> None:
        """Note since when the client has not read."""
        self.guest.stalled_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        self.guest.stalled_since = NEVER
        super().resume_writing()
        if self._call_when_clear is not None:
            self._call_when_clear()

    @property
    def is_clear(self) -> bool:
        """Whether the client is there and keeps up with what was written."""
        return self.writable.is_set() and self._is_open

    def write(self, wire: bytes) -> None:
        """Write whole frames; for nothing if the connection is closing."""
        if self._is_open:
            self.transport.write(wire)

    def when_clear(self, call: Callable[[], None]) -> None:
        """Call this from now on whenever a client that had stopped reading has read on."""
        self._call_when_clear = call

    async def cleared(self) -> bool:
        """Return True as soon as the line is clear; False when the client is gone."""
        await self.writable.wait()
        return self._is_open

    @property
    def _is_open(self) -> bool:
        return not (self.close_sent or self.disconnected or self.transport.is_closing())


def line_of(scope: Mapping[str, Any]) -> LimitedWebSocket:
    """Return the way to write to the WebSocket of a connection that this server has accepted."""
    return cast("LimitedWebSocket", scope["extensions"][LINE])


def _address_of(transport: asyncio.BaseTransport) -> str | None:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else None


def _last_words(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    return head % (status, len(body)) + b"connection: close\r\n\r\n" + body


FULL = _last_words(
    b"503 Service Unavailable",
    b'{"error":{"code":"too_many_connections","message":"Too many connections are open."}}',
)
HEAD_LARGE = _last_words(
    b"431 Request Header Fields Too Large",
    b'{"error":{"code":"head_too_large","message":"The head of the request is too large."}}',
)
