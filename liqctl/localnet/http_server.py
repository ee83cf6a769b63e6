"""HTTP/1.1 on asyncio streams: POST for JSON-RPC, GET /health, CORS; nothing else."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from liqctl.localnet.stream_server import StreamServer

_CORS = (
    b"Access-Control-Allow-Origin: *\r\n"
    b"Access-Control-Allow-Methods: POST, GET, OPTIONS\r\n"
    b"Access-Control-Allow-Headers: *\r\n"
    b"Access-Control-Max-Age: 86400\r\n"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Head:
    method: str
    path: str
    headers: Mapping[str, str]
    keep_alive: bool


class _Bad(Exception):
    """The request cannot be read any further: answer and close."""

    def __init__(self, status: HTTPStatus) -> None:
        super().__init__(status.phrase)
        self.status = status


class HttpServer(StreamServer):
    """Serves one function from body to body."""

    def __init__(
        self,
        answer: Callable[[bytes], bytes],
        health: Callable[[], str],
        *,
        body_bytes_max: int,
    ) -> None:
        """`answer` maps a POST body to a reply body, `health` gives the text of GET /health."""
        super().__init__(self._requests)
        self._answer = answer
        self._health = health
        self._body_bytes_max = body_bytes_max

    async def _requests(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await self._one_request(reader, writer):
            pass

    async def _one_request(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        try:
            head = await _read_head(reader)
            body = await self._read_body(head, reader, writer)
        except _Bad as bad:
            writer.write(_response(bad.status, bad.status.phrase.encode(), keep_alive=False))
            await writer.drain()
            return False
        status, content, kind = self._respond(head, body)
        writer.write(_response(status, content, kind=kind, keep_alive=head.keep_alive))
        await writer.drain()
        return head.keep_alive

    async def _read_body(
        self, head: _Head, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        if "transfer-encoding" in head.headers:
            raise _Bad(HTTPStatus.LENGTH_REQUIRED)
        text = head.headers.get("content-length")
        if text is None:
            if head.method == "POST":
                raise _Bad(HTTPStatus.LENGTH_REQUIRED)
            return b""
        if not (text.isascii() and text.isdigit()):
            raise _Bad(HTTPStatus.BAD_REQUEST)
        length = int(text[:20])
        if length > self._body_bytes_max:
            raise _Bad(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        if head.headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return await reader.readexactly(length)

    def _respond(self, head: _Head, body: bytes) -> tuple[HTTPStatus, bytes, str]:
        if head.method == "OPTIONS":
            return HTTPStatus.OK, b"", "text/plain"
        if head.method == "GET" and head.path.partition("?")[0] == "/health":
            return HTTPStatus.OK, self._health().encode(), "text/plain"
        if head.method != "POST":
            text = b"Used HTTP Method is not allowed. POST or OPTIONS is required\n"
            return HTTPStatus.METHOD_NOT_ALLOWED, text, "text/plain"
        if not head.headers.get("content-type", "").lower().startswith("application/json"):
            text = b"Supplied content type is not allowed. Content-Type: application/json is required\n"
            return HTTPStatus.UNSUPPORTED_MEDIA_TYPE, text, "text/plain"
        return HTTPStatus.OK, self._answer(body), "application/json"


async def _read_head(reader: asyncio.StreamReader) -> _Head:
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
        if not colon or name != name.strip():
            raise _Bad(HTTPStatus.BAD_REQUEST)
        headers[name.lower()] = value.strip()
    wish = headers.get("connection", "").lower()
    keep_alive = wish != "close" if words[2] == "HTTP/1.1" else wish == "keep-alive"
    return _Head(method=words[0], path=words[1], headers=headers, keep_alive=keep_alive)


def _response(
    status: HTTPStatus, content: bytes, *, kind: str = "text/plain", keep_alive: bool
) -> bytes:
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\n"
        f"Content-Type: {kind}\r\n"
        f"Content-Length: {len(content)}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n"
    )
    return head.encode() + _CORS + b"\r\n" + content
