"""The pipe from a keeper that supervises this server: a byte is news, the end is the end.

The keeper writes a byte to standard input whenever it has recorded events, so that they need not
wait for the next look at the database. The server writes lines to standard output: a keeper that
hears nothing for long starts another one.
"""

import asyncio
import os
import stat
import sys
from collections.abc import Callable

from liqctl.errors import SettingsError

BEAT_S = 2.0


class Nudge(asyncio.Protocol):
    """Sets an event at every sign of the keeper; when it is gone, `on_end` is called once."""

    def __init__(self, news: asyncio.Event, on_end: Callable[[], None]) -> None:
        """Take whom to tell."""
        self._news = news
        self._on_end = on_end

    def data_received(self, data: bytes) -> None:  # noqa: ARG002 - what it says is that it is there
        """There are new rows."""
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - any end is the end
        """The keeper has ended, however that was."""
        self._on_end()


async def follow_keeper(news: asyncio.Event, on_end: Callable[[], None]) -> None:
    """Listen on standard input from now on.

    Raises:
        SettingsError: standard input is no pipe.
    """
    kind = os.fstat(sys.stdin.fileno()).st_mode
    if not (stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind)):
        raise SettingsError("--exit-with-stdin needs a pipe on standard input")
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: Nudge(news, on_end), sys.stdin)


async def beat() -> None:
    """Write an empty line to standard output every two seconds, until cancelled or nobody reads."""
    while True:
        try:
            os.write(sys.stdout.fileno(), b"\n")  # past a buffer that nobody could empty at the end
        except OSError:
            return
        await asyncio.sleep(BEAT_S)
