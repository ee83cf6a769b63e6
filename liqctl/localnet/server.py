"""The localnet as a program on a port: HTTP, WebSocket and the ticking of slots."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from liqctl.errors import SettingsError
from liqctl.localnet.http_server import HttpServer
from liqctl.localnet.rpc.answer import answer_bytes
from liqctl.localnet.world import World
from liqctl.localnet.ws_server import WsServer
from liqctl.ports import Clock

_PORT_PAIR_TRIES = 20
_LATE_SLOTS_MAX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """Where and how a world is served.

    The WebSocket port is the next one unless given, which is where clients look for it; port 0
    takes any two free neighbours. Without `ticking` the caller ticks the world. A request body may
    have `body_bytes_max` bytes; `frames_max` notifications may wait for one connection.
    """

    host: str = "127.0.0.1"
    port: int = 8899
    ws_port: int | None = None
    ticking: bool = True
    body_bytes_max: int = 50 * 1024
    frames_max: int = 20_000

    @property
    def any_pair(self) -> bool:
        """Whether any two neighbouring ports will do."""
        return self.port == 0 and self.ws_port is None


class LocalnetServer:
    """An async context manager: inside it the world is served, and with `ticking` it moves."""

    def __init__(self, world: World, clock: Clock, config: ServerConfig | None = None) -> None:
        self._world = world
        self._clock = clock
        self._config = config or ServerConfig()
        self._http = HttpServer(
            lambda body: answer_bytes(world, body),
            self._health,
            body_bytes_max=self._config.body_bytes_max,
        )
        self._ws = WsServer(
            world,
            frames_max=self._config.frames_max,
            message_bytes_max=self._config.body_bytes_max,
        )
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """The JSON-RPC address."""
        return f"http://{self._config.host}:{self._http.port}"

    @property
    def ws_url(self) -> str:
        """The WebSocket address."""
        return f"ws://{self._config.host}:{self._ws.port}"

    async def __aenter__(self) -> Self:
        """Listen and start to tick.

        Raises:
            SettingsError: a port cannot be used.
        """
        async with AsyncExitStack() as stack:
            await self._listen()
            stack.push_async_callback(self._http.stop)
            stack.push_async_callback(self._ws.stop)
            if self._config.ticking:
                # A group, so that a chain that stops ends the caller instead of standing still.
                group = await stack.enter_async_context(asyncio.TaskGroup())
                ticker = group.create_task(self._tick_for_ever())
                stack.callback(ticker.cancel)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Stop ticking and close every connection."""
        return await self._stack.__aexit__(kind, error, trace)

    async def _listen(self) -> None:
        tries = _PORT_PAIR_TRIES if self._config.any_pair else 1
        for _ in range(tries):
            if await self._listen_once():
                return
        raise SettingsError(f"localnet: no two free neighbouring ports on {self._config.host}")

    async def _listen_once(self) -> bool:
        await self._start_http()
        ws_port = self._config.ws_port
        if ws_port is None:
            ws_port = self._http.port + 1
        try:
            await self._ws.start(self._config.host, ws_port)
        except OSError as error:
            await self._http.stop()
            if self._config.any_pair:
                return False
            raise _unusable(self._config.host, ws_port, error) from error
        return True

    async def _start_http(self) -> None:
        try:
            await self._http.start(self._config.host, self._config.port)
        except OSError as error:
            raise _unusable(self._config.host, self._config.port, error) from error

    async def _tick_for_ever(self) -> None:
        slot_ns = self._world.config.slot_ms * 1_000_000
        due_ns = self._clock.monotonic_ns() + slot_ns
        while True:
            await self._clock.sleep(max(due_ns - self._clock.monotonic_ns(), 0) / 1e9)
            late = max(self._clock.monotonic_ns() - due_ns, 0) // slot_ns
            # A host that slept skips slots, as a leader that was away does.
            skipped = late if late > _LATE_SLOTS_MAX else 0
            self._world.tick(skipped=skipped)
            due_ns += slot_ns * (1 + skipped)

    def _health(self) -> str:
        behind = self._world.slots_behind
        return f"behind {{ distance: {behind} }}" if behind else "ok"


def _unusable(host: str, port: int, error: OSError) -> SettingsError:
    reason = error.strerror or str(error)
    return SettingsError(f"localnet: cannot listen on {host}:{port}: {reason}; choose another port")
