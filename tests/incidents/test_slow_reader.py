"""A WebSocket client that read slowly made a server's memory grow without bound.

The server queued for it whatever it did not take. Source: aio-libs/aiohttp#1367.

Here a client has a short queue and a small buffer. When both are full it is told to come back
(1013), and if it does not even read that, it is cut off. The others get every event meanwhile.
"""

import asyncio
import json
import socket
from contextlib import closing
from dataclasses import replace
from typing import cast

from websockets.asyncio.client import connect

from liqctl.ports import SystemClock
from liqctl.server.options import Limits, ServeOptions
from liqctl.store.open import open_store
from tests.keeper.stage import until
from tests.server.guarded import listening
from tests.server.world import application, filled

FRAME = "x" * 30_000
EVENTS = 400  # twelve megabytes: more than the buffers of any kernel between two local sockets
LIMITS = Limits(stalled_s=0.5, shutdown_s=1.0, client_queue=16)
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def deaf(port: int) -> socket.socket:
    """Return a client that has said hello, and will never read."""
    loop = asyncio.get_running_loop()
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    client.setblocking(False)
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, HANDSHAKE)
    return client


async def test_who_does_not_read_is_let_go_and_costs_neither_memory_nor_others(tmp_path):
    file = filled(tmp_path)
    options = replace(ServeOptions(database_url=f"sqlite:{file}"), limits=LIMITS)
    app = application(file, clock=SystemClock(), limits=LIMITS)
    body = json.dumps({"type": "price_update", "symbol": "SOL", "price": 1, "refusal": FRAME})
    buffered, seen, written = [], [], []

    async with listening(app, options) as there, asyncio.timeout(30):
        transports = there.server.config.door._guests
        with closing(await deaf(there.port)), closing(open_store(f"sqlite:{file}")) as store:
            async with connect(there.ws_url, proxy=None) as reads:
                await reads.recv()  # hello
                for _ in range(EVENTS):
                    written.append(store.append_event("price_update", body, 1))
                    app.state.news.set()
                    seen.append(json.loads(await reads.recv())["seq"])
                    sizes = [
                        cast("asyncio.Transport", t).get_write_buffer_size() for t in transports
                    ]
                    buffered.append(max(sizes))
                await until(lambda: there.inside() == 1)
                dropped = app.state.hub.counts["too_slow"]

    assert seen == written
    assert dropped == 1
    assert max(buffered) <= LIMITS.write_bytes + 2 * len(FRAME)
