"""The server side of a simulated RPC node: JSON-RPC over HTTP/1.1, and a WebSocket beside it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from http import HTTPStatus
from typing import Protocol, cast

from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from liqctl.sim.network import End, Network

_HEAD_END = b"\r\n\r\n"


class Fate(StrEnum):
    """What becomes of an answer."""

    ANSWERED = "answered"
    DROPPED = "dropped"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a node does with one request, `delay_s` virtual seconds after it came.

    `heard` is called when an answer has arrived at a client that still listens, in its process.
    """

    body: bytes = b""
    delay_s: float = 0.0
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    fate: Fate = Fate.ANSWERED
    heard: Callable[[], None] | None = None


RESET = Reply(fate=Fate.DROPPED)
"""The connection breaks; the node returns it before any effect."""
LOST = Reply(fate=Fate.DROPPED)
"""The connection breaks; the node returns it after the effect."""
SILENT = Reply(fate=Fate.SILENT)
"""No answer ever comes; the connection stays open."""


class Session(Protocol):
    """One WebSocket connection, as the node sees it."""

    def receive(self, text: str) -> None:
        """Take one message of the client."""
        ...

    def close(self) -> None:
        """Forget the connection."""
        ...


class Served(Protocol):
    """A node, as the network sees it; no call of it waits."""

    def handle(self, body: bytes, method: str) -> Reply:
        """Return the reply to an HTTP request; `method` is the HTTP method."""
        ...

    def open_session(self, send: Callable[[bytes], None]) -> Session:
        """Return the session of a new WebSocket; `send` sends one text message."""
        ...


def serve_node(network: Network, host: str, port: int, node: Served) -> None:
    """Serve HTTP on `port` and the WebSocket on `port + 1`.

    During `handle`, `open_session` and `receive`, `network.caller` is the client's process name.
    """
    network.listen(host, port, lambda: HttpSide(network, node))
    network.listen(host, port + 1, lambda: WebSocketSide(network, node))


class HttpSide(asyncio.Protocol):
    """One HTTP connection: requests with a length, one after another."""

    def __init__(self, network: Network, node: Served) -> None:
        """Answer from the node."""
        self._network = network
        self._node = node
        self._unread = b""
        self._end: End

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the near end."""
        self._end = cast("End", transport)

    def data_received(self, data: bytes) -> None:
        """Answer every request that is complete."""
        self._unread += data
        while True:
            head, found, rest = self._unread.partition(_HEAD_END)
            if not found:
                return
            length = _length(head)
            if len(rest) < length:
                return
            self._unread = rest[length:]
            self._answer(head[: head.find(b" ")].decode("ascii"), rest[:length])

    def _answer(self, method: str, body: bytes) -> None:
        self._network.caller = self._end.peer.process.name
        reply = self._node.handle(body, method)
        match reply.fate:
            case Fate.ANSWERED:
                self._end.write_later(_response(reply), reply.delay_s)
                if reply.heard is not None:
                    self._end.ask(reply.heard)
            case Fate.DROPPED:
                self._end.reset(reply.delay_s)
            case Fate.SILENT:
                pass


class WebSocketSide(asyncio.Protocol):
    """One WebSocket connection; the handshake and the client's frames are the library's."""

    def __init__(self, network: Network, node: Served) -> None:
        """Serve a session of the node."""
        self._network = network
        self._node = node
        self._wire = ServerProtocol()
        self._session: Session | None = None
        self._end: End

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the near end."""
        self._end = cast("End", transport)

    def data_received(self, data: bytes) -> None:
        """Hand messages to the session."""
        self._network.caller = self._end.peer.process.name
        self._wire.receive_data(data)
        for event in self._wire.events_received():
            if isinstance(event, Request):
                self._accept(event)
            elif isinstance(event, Frame) and event.opcode is Opcode.TEXT and self._session:
                self._session.receive(bytes(event.data).decode())
        self._flush()

    def eof_received(self) -> None:
        """Close as well."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Close the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def send(self, payload: bytes) -> None:
        """Send one text message, while the connection is open."""
        if self._wire.state is State.OPEN:
            self._end.write(_text_frame(payload))

    def _accept(self, request: Request) -> None:
        response = self._wire.accept(request)
        self._wire.send_response(response)
        self._flush()
        if response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            self._session = self._node.open_session(self.send)

    def _flush(self) -> None:
        for data in self._wire.data_to_send():
            if data:
                self._end.write(data)
            else:
                self._end.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _response(reply: Reply) -> bytes:
    more = "".join(f"{name}: {value}\r\n" for name, value in reply.headers)
    head = (
        f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n"
        f"content-type: application/json\r\n{more}content-length: {len(reply.body)}\r\n\r\n"
    )
    return head.encode("ascii") + reply.body


def _text_frame(payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65_536:
        return b"\x81\x7e" + length.to_bytes(2, "big") + payload
    return b"\x81\x7f" + length.to_bytes(8, "big") + payload
