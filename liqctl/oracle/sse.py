"""Server-sent events: chunks of bytes to events, within bounds."""

import re
from dataclasses import dataclass

from liqctl.errors import HermesMalformed

_BREAK = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MESSAGE = "message"


@dataclass(frozen=True, slots=True)
class SseEvent:
    """One event: its type, `message` where the server names none, and its lines of data."""

    kind: str
    data: bytes


class SseParser:
    """Puts the events of one stream together; comments and fields that nobody reads are dropped."""

    def __init__(self, *, event_bytes_max: int) -> None:
        """An event, or a line that does not end, may have so many bytes."""
        self._bytes_max = event_bytes_max
        self._rest = b""
        self._started = False
        self._kind = MESSAGE
        self._data: list[bytes] = []
        self._data_bytes = 0

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Return the events that a chunk completes, in order.

        Raises:
            HermesMalformed: an event or a line is too large; the stream is of no more use.
        """
        text = self._rest + chunk
        if not self._started:
            if len(text) < len(_BYTE_ORDER_MARK) and _BYTE_ORDER_MARK.startswith(text):
                self._rest = text
                return []
            self._started = True
            text = text.removeprefix(_BYTE_ORDER_MARK)
        # a line feed that follows may be the second half of this break
        held = text.endswith(b"\r")
        *lines, rest = _BREAK.split(text[:-1] if held else text)
        self._rest = rest + b"\r" if held else rest
        found = [event for line in lines if (event := self._line(line)) is not None]
        if len(self._rest) > self._bytes_max:
            raise self._too_large()
        return found

    def _line(self, line: bytes) -> SseEvent | None:
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            self._kind = value[:40].decode("ascii", "replace") or MESSAGE
        elif name == b"data":
            self._data_bytes += len(value) + 1
            if self._data_bytes > self._bytes_max:
                raise self._too_large()
            self._data.append(value)
        return None

    def _dispatch(self) -> SseEvent | None:
        event = SseEvent(self._kind, b"\n".join(self._data)) if self._data else None
        self._kind, self._data, self._data_bytes = MESSAGE, [], 0
        return event

    def _too_large(self) -> HermesMalformed:
        return HermesMalformed(
            f"the price stream sent an event of more than {self._bytes_max} bytes"
        )
