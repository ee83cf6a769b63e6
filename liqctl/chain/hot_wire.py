"""The short way to a node: plain HTTP/1.1 on warm connections, one request at a time on each.

It understands exactly one kind of answer, one with a length, and gives everything else back to
the general client: another framing or a broken connection is not its business.
"""

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from urllib.parse import urlsplit

HEAD_BYTES_MAX = 16 * 1024
# What stands between may forget a connection that rests, and tells nobody.
IDLE_S_MAX = 20.0


class NotHot(Exception):
    """The answer is not of the one kind.

    `sent` says whether the request may have arrived, `framing` that the node answers otherwise.
    """

    def __init__(self, *, sent: bool, framing: bool = False) -> None:
        """Keep whether the node may have seen the request, and whether it is worth another one."""
        super().__init__("not an answer for the short way")
        self.sent = sent
        self.framing = framing


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: its status, its Retry-After header if it has one, its body."""

    status: int
    retry_after: str | None
    body: bytes


@dataclass(slots=True)
class _Head:
    status: int
    length: int | None = None
    retry_after: str | None = None
    closing: bool = False


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
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter, float]] = deque()
        self._turns = asyncio.Semaphore(connections_max)
        path = parts.path or "/"
        target = f"{path}?{parts.query}" if parts.query else path
        self._head = (
            f"POST {target} HTTP/1.1\r\nhost: {parts.netloc.rpartition('@')[2]}\r\n"
            "content-type: application/json\r\nuser-agent: liqctl\r\ncontent-length: "
        ).encode("ascii")

    async def post(self, body: bytes) -> Answer:
        """Return the answer of the node, whatever its status.

        Raises:
            NotHot: it is not framed by a length, or did not come whole.
        """
        async with self._turns:
            reader, writer = await self._connection()
            kept = False
            try:
                writer.write(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
                await writer.drain()
                head = _head_of(await reader.readuntil(b"\r\n\r\n"), self._body_bytes_max)
                answer = await reader.readexactly(head.length or 0)
                kept = not head.closing
            except (ValueError, asyncio.LimitOverrunError) as error:
                raise NotHot(sent=True, framing=True) from error
            except (OSError, EOFError) as error:
                raise NotHot(sent=True) from error
            finally:
                if kept:
                    self._idle.append((reader, writer, asyncio.get_running_loop().time()))
                else:
                    writer.transport.abort()
            return Answer(head.status, head.retry_after, answer)

    def close(self) -> None:
        """Drop the idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        since_s = asyncio.get_running_loop().time() - IDLE_S_MAX
        while self._idle:
            reader, writer, rests_since_s = self._idle.pop()
            if rests_since_s >= since_s and not (reader.at_eof() or writer.is_closing()):
                return reader, writer
            writer.transport.abort()
        try:
            return await asyncio.open_connection(
                self._host, self._port, ssl=self._ssl, limit=HEAD_BYTES_MAX
            )
        except OSError as error:
            raise NotHot(sent=False) from error


def _head_of(raw: bytes, body_bytes_max: int) -> _Head:
    """Return what the head of an answer says; ValueError where it is not of the one kind."""
    first, *lines = raw[:-4].split(b"\r\n")
    head = _Head(_status(first))
    for line in lines:
        name, _, value = line.partition(b":")
        value = value.strip()
        match name.strip().lower():
            case b"content-length":
                head.length = _length(value, head.length)
            case b"transfer-encoding" | b"content-encoding":
                raise ValueError(name)
            case b"connection":
                head.closing = value.lower() == b"close"
            case b"retry-after":
                head.retry_after = value.decode("latin-1")
            case _:
                pass
    if head.length is None or head.length > body_bytes_max:
        raise ValueError(head.length)
    return head


def _status(line: bytes) -> int:
    version, _, rest = line.partition(b" ")
    code = rest[:3]
    if version != b"HTTP/1.1" or rest[3:4] not in {b"", b" "} or not code.isdigit():
        raise ValueError(line)
    if not 200 <= int(code) < 600:
        raise ValueError(line)
    return int(code)


def _length(text: bytes, earlier: int | None) -> int:
    """Return a length given once in plain digits; two that differ are a smuggled answer."""
    if not text.isdigit() or len(text) > 12:
        raise ValueError(text)
    length = int(text)
    if earlier is not None and earlier != length:
        raise ValueError(text)
    return length
