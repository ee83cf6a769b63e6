"""WebSocket connections handed through to the node, frame by frame, and what befalls them."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import CloseCode
from websockets.http11 import Request, Response

from liqctl.chain.urls import is_loopback
from liqctl.sim.chaos.faults import Fault
from liqctl.sim.chaos.plan import Plan
from liqctl.sim.chaos.tally import Tally

SOCKET = "(socket)"
REPLY = "(reply)"
GARBAGE: tuple[str | bytes, ...] = (
    "",
    "{",
    "null",
    "[1,2",
    b"\xff\xfe\x00",
    '{"jsonrpc":"2.0","method":"accountNotification","params":{"subscription":"x","result":[]}}',
    '{"jsonrpc":"2.0","method":"slotNotification","params":{"subscription":0,"result":{"slot":-1}}}',
    '{"jsonrpc":"2.0","id":999999999,"result":true}',
    "[" * 5_000,
)
# Connections break here on purpose; each would be reported with a traceback.
_QUIET = logging.getLogger(f"{__name__}.quiet")
_QUIET.setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RelayLimits:
    """How many connections, how large their frames; `silence_s` is how long a mute one is kept."""

    connections_max: int = 64
    request_bytes_max: int = 1024 * 1024
    frame_bytes_max: int = 16 * 1024 * 1024
    connect_s: float = 10.0
    silence_s: float = 60.0


class _Form(msgspec.Struct):
    method: str | None = None


_FORM = msgspec.json.Decoder(_Form)


class Relay:
    """A WebSocket server whose every connection has one of its own to the node."""

    def __init__(
        self,
        upstream: str,
        plan: Plan,
        tally: Tally,
        up_for_s: Callable[[], float],
        *,
        limits: RelayLimits,
    ) -> None:
        """`up_for_s` says how long it is until the next outage, 0 during one."""
        self._upstream = upstream
        self._plan = plan
        self._tally = tally
        self._up_for_s = up_for_s
        self._limits = limits
        self._open = 0
        self._stopped = asyncio.Event()
        self._server: Server | None = None

    async def start(self, host: str, port: int) -> Self:
        """Listen; port 0 takes any free one.

        Raises:
            OSError: the address cannot be used.
        """
        self._server = await serve(
            self._connected,
            host,
            port,
            # A browser names the page that connects; no page has a business here.
            origins=[None],
            compression=None,
            max_size=self._limits.request_bytes_max,
            ping_interval=None,
            close_timeout=1.0,
            process_request=self._admit,
            logger=_QUIET,
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
        self._stopped.set()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:  # noqa: ARG002 - the signature of websockets
        if self._up_for_s() == 0:
            self._tally.fault(Fault.OUTAGE, SOCKET)
        elif self._open < self._limits.connections_max:
            return None
        return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "not now\n")

    async def _connected(self, caller: ServerConnection) -> None:
        self._open += 1
        self._tally.sockets += 1
        try:
            async with connect(
                self._upstream,
                compression=None,
                max_size=self._limits.frame_bytes_max,
                open_timeout=self._limits.connect_s,
                close_timeout=1.0,
                proxy=None if is_loopback(self._upstream) else True,
                logger=_QUIET,
            ) as node:
                ending = await self._between(caller, node)
            await self._end(caller, ending, node.close_code)
        except (OSError, TimeoutError, WebSocketException):
            self._tally.upstream_failures += 1
            await caller.close(CloseCode.TRY_AGAIN_LATER, "the node cannot be reached")
        finally:
            self._open -= 1

    async def _between(self, caller: ServerConnection, node: ClientConnection) -> Fault | None:
        """Hand frames through both ways; return the fault that ends it, None for an ordinary end."""
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(_pass_requests(caller, node), name="requests")
            looking = tasks.create_task(self._await_outage(node), name="outage")
            ending = await self._pass_frames(caller, node)
            if looking.done():
                ending = Fault.OUTAGE
            asking.cancel()
            looking.cancel()
        return ending

    async def _pass_frames(self, caller: ServerConnection, node: ClientConnection) -> Fault | None:
        held: str | bytes | None = None
        try:
            while True:
                frame = await node.recv()
                fault, before = self._befalls(frame)
                if fault in {Fault.WS_MUTE, Fault.WS_DROP}:
                    return fault
                if fault is Fault.WS_REORDER and held is None:
                    held = frame
                    continue
                after = [] if held is None else [held]
                held = None
                for each in (*before, frame, *after):
                    await caller.send(each)
        except ConnectionClosed:
            return None

    def _befalls(self, frame: str | bytes) -> tuple[Fault | None, list[str | bytes]]:
        """Return the fault of a frame, and the frames that come before it."""
        self._tally.frames += 1
        method = _method_of(frame)
        verdict = self._plan.of_frame(self._tally.frames, notification=method is not None)
        if verdict.fault is not None:
            self._tally.fault(verdict.fault, method or REPLY)
        match verdict.fault:
            case Fault.WS_GARBAGE:
                return verdict.fault, [GARBAGE[int(verdict.shade * len(GARBAGE))]]
            case Fault.WS_DUPLICATE:
                return verdict.fault, [frame]
            case _:
                return verdict.fault, []

    async def _await_outage(self, node: ClientConnection) -> None:
        """Break the connection to the node when the outage begins."""
        await asyncio.sleep(self._up_for_s())
        self._tally.fault(Fault.OUTAGE, SOCKET)
        node.transport.abort()

    async def _end(self, caller: ServerConnection, ending: Fault | None, code: int | None) -> None:
        match ending:
            case None:
                sendable = code is not None and code not in {1005, 1006, 1015}
                await caller.close(code if sendable and code else CloseCode.INTERNAL_ERROR)
            case Fault.WS_MUTE:
                # Nothing is read any more either: a ping stays without its pong.
                caller.transport.pause_reading()
                try:
                    async with asyncio.timeout(self._limits.silence_s):
                        await self._stopped.wait()
                except TimeoutError:
                    pass
                caller.transport.abort()
            case _:
                caller.transport.abort()


async def _pass_requests(caller: ServerConnection, node: ClientConnection) -> None:
    """Hand requests to the node until the caller leaves; then leave the node."""
    try:
        while True:
            await node.send(await caller.recv())
    except ConnectionClosed:
        await node.close()


def _method_of(frame: str | bytes) -> str | None:
    """Return the method of a notification, None for anything else."""
    try:
        return _FORM.decode(frame).method
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return None
