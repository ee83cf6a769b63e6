"""A stand-in for the API before a crowd: one client of it passes on to all what it hears.

The keeper's processors have the same work at the same moments as with the crowd at the API itself,
but the API, the database and the keeper have one client only.
"""

import asyncio
import os
import sys
from contextlib import suppress

from liqctl.cli.bench_websocket import HANDSHAKE
from liqctl.server.limits import FILES_BESIDE, allow_files
from liqctl.server.run import BEHIND_THE_KEEPER

GREETING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
UNREAD_MAX = 65_536
CLIENTS_MAX = 10_000
TEXT, PING, PONG = 0x81, 0x89, 0x8A


class Listener(asyncio.Protocol):
    """A client of the relay, greeted whatever it asks for."""

    def __init__(self, listeners: dict["Listener", None]) -> None:
        self.listeners = listeners

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.listeners[self] = None
        transport.write(GREETING)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.listeners.pop(self, None)


async def relay(port: int) -> None:
    listeners: dict[Listener, None] = {}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Listener(listeners), "127.0.0.1", 0, backlog=CLIENTS_MAX
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - a script
    while True:
        head = await reader.readexactly(2)
        wide = await reader.readexactly(2) if head[1] == 126 else b""
        body = await reader.readexactly(int.from_bytes(wide) if wide else head[1])
        if head[0] == PING:
            # The mask of a client may be any number; nought leaves everything as it is.
            writer.write(bytes((PONG, 0x80 | len(body))) + bytes(4) + body)
        elif head[0] == TEXT:
            message = head + wide + body
            for each in listeners:
                if each.transport.get_write_buffer_size() < UNREAD_MAX:
                    each.transport.write(message)


if __name__ == "__main__":
    allow_files(CLIENTS_MAX + FILES_BESIDE)
    os.nice(BEHIND_THE_KEEPER)
    with suppress(asyncio.IncompleteReadError):  # the API has ended
        asyncio.run(relay(int(sys.argv[1])))
