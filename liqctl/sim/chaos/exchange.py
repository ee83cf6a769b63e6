"""The side of the proxy that callers see: HTTP/1.1 on asyncio streams, and its bad manners."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import responses

from liqctl.chain.urls import is_loopback
from liqctl.localnet.stream_server import StreamServer

_LINGER_NOT = struct.pack("ii", 1, 0)
Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class WireLimits:
    """How long a caller may take, how much it may ask, and how many of them there may be."""

    request_bytes_max: int = 1024 * 1024
    connections_max: int = 128
    idle_s: float = 75.0
    body_s: float = 10.0
    write_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """One HTTP request, read whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    keep_alive: bool


class _Bad(Exception):
    """The request cannot be read any further: answer and close."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class Wire:
    """A connection while it waits for its answer."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limits: WireLimits
    ) -> None:
        """Write to one caller; every write has a time limit."""
        self._reader = reader
        self._writer = writer
        self._limits = limits
        self._chunked = False
        self.begun = False
        self.keep_alive = False

    async def invite(self) -> None:
        """Tell a caller that waits for it to send its body."""
        await self._write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def whole(self, status: int, headers: Headers, body: bytes) -> None:
        """Answer in one piece."""
        await self.begin(status, headers, len(body))
        await self.chunk(body)
        await self.end()

    async def begin(self, status: int, headers: Headers, length: int | None) -> None:
        """Write the head of an answer; None: its length is not known yet."""
        self.begun = True
        self._chunked = length is None
        framing = (
            ("Transfer-Encoding", "chunked") if length is None else ("Content-Length", f"{length}")
        )
        connection = ("Connection", "keep-alive" if self.keep_alive else "close")
        lines = [f"HTTP/1.1 {status} {responses.get(status, '')}"]
        lines += [f"{name}: {value}" for name, value in (*headers, framing, connection)]
        await self._write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def chunk(self, piece: bytes) -> None:
        """Write a piece of the body."""
        if piece:
            await self._write(b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece)

    async def end(self) -> None:
        """Close the body."""
        if self._chunked:
            await self._write(b"0\r\n\r\n")

    def reset(self) -> None:
        """Break the connection with a TCP reset; what was not written yet is lost."""
        self.keep_alive = False
        opened = self._writer.get_extra_info("socket")
        with contextlib.suppress(OSError):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._writer.transport.abort()

    async def silence(self, seconds: float) -> None:
        """Say nothing until the caller leaves or the time is over, and break the connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._reader.read(1)
        self.reset()

    async def _write(self, piece: bytes) -> None:
        self._writer.write(piece)
        try:
            async with asyncio.timeout(self._limits.write_s):
                await self._writer.drain()
        except TimeoutError as error:
            self.reset()
            raise ConnectionError("the caller does not read its answer") from error


class Listener(StreamServer):
    """Reads requests on loopback and has a function answer each on its wire."""

    def __init__(
        self, respond: Callable[[Incoming, Wire], Awaitable[None]], limits: WireLimits
    ) -> None:
        """Answer every well-formed request of a caller on this host by `respond`."""
        super().__init__(self._requests)
        self._respond = respond
        self._limits = limits

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        wire = Wire(reader, writer, self._limits)
        if self.connections > self._limits.connections_max:
            wire.reset()
            return
        while await self._one_request(reader, wire):
            pass

    async def _one_request(self, reader: asyncio.StreamReader, wire: Wire) -> bool:
        wire.begun = wire.keep_alive = False
        try:
            request = await self._read(reader, wire)
        except _Bad as bad:
            await wire.whole(bad.status, (), bad.status.phrase.encode())
            return False
        wire.keep_alive = request.keep_alive
        await self._respond(request, wire)
        return wire.keep_alive

    async def _read(self, reader: asyncio.StreamReader, wire: Wire) -> Incoming:
        async with asyncio.timeout(self._limits.idle_s):
            words, headers = await _head(reader)
        if not is_loopback(f"http://{headers.get('host', '')}"):
            # A page of a stranger reaches this port under a name of its own.
            raise _Bad(HTTPStatus.MISDIRECTED_REQUEST)
        length = _length(words[0], headers)
        if length > self._limits.request_bytes_max:
            raise _Bad(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if headers.get("expect", "").lower() == "100-continue":
            await wire.invite()
        async with asyncio.timeout(self._limits.body_s):
            body = await reader.readexactly(length)
        wish = headers.get("connection", "").lower()
        return Incoming(
            method=words[0],
            path=words[1],
            headers=headers,
            body=body,
            keep_alive=wish != "close" if words[2] == "HTTP/1.1" else wish == "keep-alive",
        )


async def _head(reader: asyncio.StreamReader) -> tuple[list[str], dict[str, str]]:
    """Return the three words of the first line, and the headers by lower-case name."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError as error:
        raise _Bad(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE) from error
    lines = raw.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise _Bad(HTTPStatus.BAD_REQUEST)
    headers: dict[str, str] = {}
    for line in lines[1:-2]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise _Bad(HTTPStatus.BAD_REQUEST)
        headers[name.lower()] = value.strip()
    return words, headers


def _length(method: str, headers: Mapping[str, str]) -> int:
    """Return how many bytes of body follow."""
    text = headers.get("content-length")
    if "transfer-encoding" in headers or (text is None and method == "POST"):
        raise _Bad(HTTPStatus.LENGTH_REQUIRED)
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit()):
        raise _Bad(HTTPStatus.BAD_REQUEST)
    return int(text[:20])
