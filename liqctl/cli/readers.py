"""Whether somebody reads what is written: a pipe or terminal that stands still must stop nobody."""

import io
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, cast

from rich.console import Console


def takes_more(stream: IO[str], wait_ms: int = 0) -> bool:
    """Return whether the stream takes some lines at once, or does within so many milliseconds.

    A full pipe and a terminal after Ctrl-S do not. A file does, and so does a pipe whose reader
    has left: the write tells.
    """
    try:
        number = stream.fileno()
        poll = select.poll()
        poll.register(number, select.POLLOUT)
        return bool(poll.poll(wait_ms))
    except (AttributeError, OSError, ValueError):  # no stream of the system, or no poll on it
        return True


@contextmanager
def unwaiting(console: Console) -> Iterator[None]:
    """Have the console drop what its terminal does not take at once, instead of waiting for it."""
    before = console.file
    try:
        # Opened anew: the mode of the stream itself is shared with every program on the terminal.
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
        number = os.open(os.ttyname(before.fileno()), flags)
    except OSError:  # no terminal, or one without a name here
        yield
        return
    try:
        console.file = cast("IO[str]", _Unwaiting(number))
        yield
    finally:
        console.file = before
        os.close(number)


class _Unwaiting(io.TextIOBase):
    """A terminal that is never waited for."""

    encoding = "utf-8"

    def __init__(self, number: int) -> None:
        """Write to an open file by its number."""
        self._number = number

    def write(self, text: str) -> int:
        """Write as much as is taken."""
        with suppress(BlockingIOError):
            os.write(self._number, text.encode(self.encoding, "replace"))
        return len(text)

    def isatty(self) -> bool:
        """Say what it is."""
        return True

    def fileno(self) -> int:
        """Return the number."""
        return self._number
