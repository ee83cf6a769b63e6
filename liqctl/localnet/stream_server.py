"""A TCP server on asyncio streams: it listens, knows its connections, and ends with all of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Self

HEAD_BYTES_MAX = 16 * 1024

Speak = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class StreamServer:
    """Has a function speak with each caller until it returns or the connection breaks."""

    def __init__(self, speak: Speak) -> None:
        """Listen from `start` on."""
        self._speak = speak
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def connections(self) -> int:
        """How many callers there are now, the one that is spoken with included."""
        return len(self._connections)

    @property
    def port(self) -> int:
        """The port in use, 0 before the start."""
        if self._server is None:
            return 0
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def start(self, host: str, port: int) -> Self:
        """Listen; port 0 takes any free one.

        Raises:
            OSError: the address cannot be used.
        """
        self._server = await asyncio.start_server(self._connected, host, port, limit=HEAD_BYTES_MAX)
        return self

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is None:
            return
        self._server.close()
        open_connections = tuple(self._connections)
        for connection in open_connections:
            connection.cancel()
        if open_connections:
            await asyncio.wait(open_connections)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._connections.add(task)
            task.add_done_callback(self._connections.discard)
        try:
            await self._speak(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            pass
        except asyncio.CancelledError:
            # Only stop() cancels; a cancelled stream task would be reported as an error.
            pass
        finally:
            writer.close()
