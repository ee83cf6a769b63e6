"""Stands between a store and its PostgreSQL, and cuts the connection around a COMMIT."""

import socket
import tempfile
import threading
from contextlib import suppress
from enum import Enum
from pathlib import Path
from select import select
from typing import Self

COMMIT = b"COMMIT\0"


class Cut(Enum):
    """Where the connection breaks."""

    BEFORE = "the server never gets the COMMIT"
    AFTER = "the server commits, the answer is lost"
    DELAYED = "the COMMIT is still on its way when the client is already cut off"


class CuttingProxy:
    """A socket in a directory of its own that leads to the server's."""

    def __init__(self, folder: Path, port: int) -> None:
        name = f".s.PGSQL.{port}"
        self._target = str(folder / name)
        self._folder = tempfile.TemporaryDirectory(prefix="liqctl-proxy-")
        self.host = self._folder.name
        self.cut: Cut | None = None
        self.cuts = 0
        self.refuses_from_then_on = False
        self.silent = False
        self._ended = threading.Event()
        self._delayed: list[tuple[socket.socket, bytes]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self.host}/{name}")
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for server, _data in self._delayed:
            server.close()
        self._folder.cleanup()

    def deliver(self) -> None:
        """Send on what was delayed, if the server still listens."""
        for server, data in self._delayed:
            with suppress(OSError):
                server.sendall(data)

    def _accept(self) -> None:
        pumps = []
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                break
            if self.cuts and self.refuses_from_then_on:
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            server.connect(self._target)
            pump = threading.Thread(target=self._pump, args=(client, server))
            pump.start()
            pumps.append(pump)
        for pump in pumps:
            pump.join()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        with client:
            while True:
                ready, _, _ = select([client, server], [], [], 0.05)
                if self._ended.is_set():
                    server.close()
                    return
                for end, other in ((client, server), (server, client)):
                    if end not in ready:
                        continue
                    data = self._received(end)
                    if end is client and self.cut is not None and COMMIT in data:
                        self._break(server, data)
                        return
                    if not data:
                        server.close()
                        return
                    if self.silent:
                        continue
                    with suppress(OSError):
                        other.sendall(data)

    def _received(self, end: socket.socket) -> bytes:
        try:
            return end.recv(65_536)
        except OSError:
            return b""

    def _break(self, server: socket.socket, data: bytes) -> None:
        cut, self.cut = self.cut, None
        self.cuts += 1
        if cut is Cut.DELAYED:
            self._delayed.append((server, data))
            return
        with server:
            if cut is Cut.AFTER:
                server.sendall(data)
                assert server.recv(65_536)
