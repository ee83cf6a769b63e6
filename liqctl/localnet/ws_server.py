"""WebSocket transport of subscriptions: one bounded queue per connection."""

import asyncio
import logging
from typing import Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode

from liqctl.localnet.subscriptions import Session
from liqctl.localnet.world import World


class _Outbox:
    """Notifications that wait for a connection; a client that is too slow is cut off."""

    def __init__(self, frames_max: int) -> None:
        self._frames: asyncio.Queue[bytes] = asyncio.Queue(frames_max)
        self._overflow = asyncio.Event()

    def put(self, frame: bytes) -> None:
        """Queue a frame, or give the connection up when the queue is full."""
        try:
            self._frames.put_nowait(frame)
        except asyncio.QueueFull:
            self._overflow.set()

    async def drain_to(self, connection: ServerConnection) -> None:
        """Send frames until the connection ends."""
        while True:
            await connection.send(await self._frames.get(), text=True)

    async def close_on_overflow(self, connection: ServerConnection) -> None:
        """Close the connection once it has fallen too far behind."""
        await self._overflow.wait()
        await connection.close(CloseCode.TRY_AGAIN_LATER, "too many notifications are waiting")


class WsServer:
    """Serves the subscriptions of a world."""

    def __init__(self, world: World, *, frames_max: int, message_bytes_max: int) -> None:
        """`frames_max` bounds the notifications that may wait for one connection."""
        self._world = world
        self._frames_max = frames_max
        self._message_bytes_max = message_bytes_max
        self._server: Server | None = None

    async def start(self, host: str, port: int) -> Self:
        """Listen; port 0 takes any free one.

        Raises:
            OSError: the address cannot be used.
        """
        # a client that hangs up in the middle of the handshake is no error of ours
        logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
        self._server = await serve(
            self._connected, host, port, compression=None, max_size=self._message_bytes_max
        )
        return self

    @property
    def port(self) -> int:
        """The port in use, 0 before the start."""
        if self._server is None:
            return 0
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    async def stop(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _connected(self, connection: ServerConnection) -> None:
        outbox = _Outbox(self._frames_max)
        session = Session(self._world, outbox.put)
        try:
            async with asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(outbox.drain_to(connection))
                guard = tasks.create_task(outbox.close_on_overflow(connection))
                async for message in connection:
                    session.receive(message)
                writer.cancel()
                guard.cancel()
        except* ConnectionClosed:
            pass
        finally:
            session.close()
