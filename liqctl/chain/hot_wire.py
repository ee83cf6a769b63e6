"""The short way to a node: plain HTTP/1.1 on warm connections, one request at a time on each.

It understands exactly one kind of answer, status 200 with a length, and gives everything else
back to the general client: a status, another framing or a broken connection is not its business.
"""

import asyncio
import ssl
from collections import deque
from urllib.parse import urlsplit

HEAD_BYTES_MAX = 16 * 1024


class NotHot(Exception):
    """The answer is not of the one kind; `sent` says whether the request may have arrived."""

    def __init__(self, *, sent: bool) -> None:
        """Keep whether the node may have seen the request."""
        super().__init__("not an answer for the short way")
        self.sent = sent


class HotWire:
    """A pool of warm connections to one endpoint."""

    def __init__(self, url: str, *, connections_max: int, body_bytes_max: int) -> None:
        """Connect to nothing yet; the URL is one that the general client accepted."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if secure else 80)
        self._ssl = ssl.create_default_context() if secure else None
        self._body_bytes_max = body_bytes_max
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._turns = asyncio.Semaphore(connections_max)
        path = parts.path or "/"
        target = f"{path}?{parts.query}" if parts.query else path
        self._head = (
            f"POST {target} HTTP/1.1\r\nhost: {parts.netloc.rpartition('@')[2]}\r\n"
            "content-type: application/json\r\nuser-agent: liqctl\r\ncontent-length: "
        ).encode("ascii")

    async def post(self, body: bytes) -> bytes:
        """Return the body of a 200 answer.

        Raises:
            NotHot: anything else came, or nothing.
        """
        async with self._turns:
            reader, writer = await self._connection()
            kept = False
            try:
                writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
                await writer.drain()
                answer = await self._answer(reader)
                kept = True
            except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
                raise NotHot(sent=True) from error
            finally:
                if kept:
                    self._idle.append((reader, writer))
                else:
                    writer.transport.abort()
            return answer

    def close(self) -> None:
        """Drop the idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while self._idle:
            reader, writer = self._idle.pop()
            if not (reader.at_eof() or writer.is_closing()):
                return reader, writer
            writer.transport.abort()
        try:
            return await asyncio.open_connection(
                self._host, self._port, ssl=self._ssl, limit=HEAD_BYTES_MAX
            )
        except OSError as error:
            raise NotHot(sent=False) from error

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        if first[:13] != b"HTTP/1.1 200 " and first != b"HTTP/1.1 200":
            raise ValueError(first)
        length = None
        for line in lines:
            name, _, value = line.partition(b":")
            match name.strip().lower():
                case b"content-length":
                    length = _length(value.strip(), length)
                case b"transfer-encoding" | b"content-encoding":
                    raise ValueError(name)
                case b"connection" if value.strip().lower() == b"close":
                    raise ValueError(value)
        if length is None or length > self._body_bytes_max:
            raise ValueError(length)
        return await reader.readexactly(length)


def _length(text: bytes, earlier: int | None) -> int:
    """Return a length given once in plain digits; two that differ are a smuggled answer."""
    if not text.isdigit() or len(text) > 12:
        raise ValueError(text)
    length = int(text)
    if earlier is not None and earlier != length:
        raise ValueError(text)
    return length
