"""TCP in memory: pipes with latency between simulated processes and simulated hosts."""

import asyncio
import contextvars
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import cast

from liqctl.ports import Rng
from liqctl.sim.loop import VirtualLoop
from liqctl.sim.process import Process

Factory = Callable[[], asyncio.BaseProtocol]
_GAP_S = 1e-6
_READ_WITHIN_S = 0.001
_CONNECT_S_MAX = 127.0
_SILENCE_S_MAX = 60.0


@dataclass(slots=True, kw_only=True)
class Link:
    """The way between one process and one host; fields may change at any time.

    `latency_ms` is the range of one direction. `reset_rate` is the share of writes, in either
    direction, that reset the connection instead of arriving. `mute`: what is written vanishes, and
    a connection that lost bytes stays silent for ever. `refuse`: no new connections.
    `split_rate` is the share of writes that arrive in two pieces.
    """

    latency_ms: tuple[float, float] = (0.2, 2.0)
    reset_rate: float = 0.0
    mute: bool = False
    refuse: bool = False
    split_rate: float = 0.05


class Network:
    """Every host and connection of one simulation.

    `caller` names the process whose request a node is answering. `accepted` holds the hosts' ends
    of all connections, oldest first.
    """

    def __init__(self, loop: VirtualLoop, rng: Rng) -> None:
        """Become the network of the loop."""
        self.loop = loop
        self.rng = rng
        self.caller = ""
        self.accepted: dict[End, None] = {}
        self._listeners: dict[tuple[str, int], Listener] = {}
        self._links: dict[tuple[str, str], Link] = {}
        self._quiet = socket.socketpair()
        self._ports = 49_152
        loop.network = self

    def link(self, process: Process | str, host: str) -> Link:
        """Return the way from every life of a process to a host."""
        name = process if isinstance(process, str) else process.name
        return self._links.setdefault((name, host), Link())

    def listen(self, host: str, port: int, protocol_factory: Factory) -> "Listener":
        """Accept connections in the process that calls; port 0 takes a free one.

        Raises:
            OSError: the address is in use.
        """
        if port == 0:
            self._ports += 1
            port = self._ports
        if (host, port) in self._listeners:
            raise OSError(f"address in use: {host}:{port}")
        listener = Listener(self, host, port, protocol_factory)
        self._listeners[host, port] = listener
        return listener

    def unlisten(self, host: str, port: int) -> None:
        """Refuse new connections to an address."""
        self._listeners.pop((host, port), None)

    def connections(
        self, process: Process | str, host: str, port: int | None = None
    ) -> "list[End]":
        """Return the host's ends of the open connections of a process, oldest first."""
        name = process if isinstance(process, str) else process.name
        return [
            end
            for end in self.accepted
            if end.peer.process.name == name
            and end.address[0] == host
            and port in {None, end.address[1]}
        ]

    def addresses(self, host: str, port: int) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        """Return the one address of a host, as getaddrinfo would.

        Raises:
            socket.gaierror: nobody listens under this name.
        """
        if not any(known == host for known, _ in self._listeners):
            raise socket.gaierror(socket.EAI_NONAME, f"unknown simulated host {host}")
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]

    async def connect(
        self, factory: Factory, host: str, port: int, options: Mapping[str, object]
    ) -> tuple["End", asyncio.BaseProtocol]:
        """Return the near end of a new connection and its protocol.

        Raises:
            OSError: refused, or no answer for a very long time.
        """
        if options.get("ssl"):
            raise OSError("the simulated network has no TLS")
        loop = self.loop
        link = self.link(loop.current, host)
        made: asyncio.Future[tuple[End, asyncio.BaseProtocol]] = loop.create_future()
        if link.mute:
            loop.call_later(_CONNECT_S_MAX, _fail, made, TimeoutError("the host does not answer"))
        else:
            delay_s = 2 * self.latency_s(link)
            loop.call_later(delay_s, self._establish, made, factory, (host, port), link)
        try:
            return await made
        except asyncio.CancelledError:
            if made.done() and not made.cancelled() and made.exception() is None:
                made.result()[0].abort()  # connected, and given up at the same moment
            raise

    def latency_s(self, link: Link) -> float:
        """Return a latency of one direction, drawn anew."""
        least, most = link.latency_ms
        return (least + (most - least) * self.rng.random()) / 1000

    def quiet_fileno(self) -> int:
        """Return a descriptor that never becomes readable."""
        return self._quiet[0].fileno()

    def close(self) -> None:
        """Give back the descriptors."""
        for each in self._quiet:
            each.close()

    def _establish(
        self,
        made: asyncio.Future[tuple["End", asyncio.BaseProtocol]],
        factory: Factory,
        address: tuple[str, int],
        link: Link,
    ) -> None:
        if made.done():
            return
        listener = self._listeners.get(address)
        if link.refuse or listener is None:
            _fail(made, ConnectionRefusedError(f"connection to {address} refused"))
            return
        cable = _Cable(self, link, address)
        near = End(cable, self.loop.current, contextvars.copy_context())
        far = End(cable, listener.process, listener.context.copy())
        near.peer, far.peer = far, near
        self.accepted[far] = None
        far.context.run(far.start, listener.factory)
        protocol = near.start(factory)
        made.set_result((near, protocol))


@dataclass(frozen=True, slots=True)
class _Listening:
    address: tuple[str, int]

    def getsockname(self) -> tuple[str, int]:
        return self.address


class Listener:
    """An address where connections are accepted."""

    def __init__(self, network: Network, host: str, port: int, factory: Factory) -> None:
        """Accept in the current process."""
        self.address = (host, port)
        self.factory = factory
        self.context = contextvars.copy_context()
        self.process = network.loop.current
        self._network = network
        self.process.pipes[self] = None

    def sever(self) -> None:
        """Accept no more, because the process is dead."""
        self.close()

    def close(self) -> None:
        """Accept no more; open connections stay."""
        self._network.unlisten(*self.address)
        self.process.pipes.pop(self, None)

    async def wait_closed(self) -> None:
        """Return at once."""

    @property
    def sockets(self) -> tuple[_Listening, ...]:
        """The one listening socket, which knows its address."""
        return (_Listening(self.address),)


@dataclass(slots=True)
class _Cable:
    """What both ends of a connection share; `silent` once bytes were lost on it."""

    network: Network
    link: Link
    address: tuple[str, int]
    silent: bool = False

    def swallows(self) -> bool:
        """Return whether bytes sent now vanish; once some did, the connection is half open."""
        if self.link.mute:
            self.silent = True
        return self.silent


class _Socket:
    """As much of a socket as clients ask a transport for."""

    family = socket.AF_INET

    def __init__(self, end: "End", network: Network) -> None:
        self._end = end
        self._network = network

    def fileno(self) -> int:
        """Return a descriptor that polls as the connection would; -1 counts as readable."""
        return -1 if self._end.is_readable() else self._network.quiet_fileno()

    def getsockname(self) -> tuple[str, int]:
        return ("127.0.0.1", 0)

    def getpeername(self) -> tuple[str, int]:
        return self._end.address

    def setsockopt(self, *_option: object) -> None:
        return None


class End(asyncio.Transport):
    """One end of a connection. What is written arrives in order, later, in the peer's process."""

    peer: "End"
    protocol: asyncio.Protocol

    def __init__(self, cable: _Cable, process: Process, context: contextvars.Context) -> None:
        """Belong to a process; callbacks run in its context."""
        super().__init__()
        self.process = process
        self.context = context
        self.address = cable.address
        self.ended = False
        self._cable = cable
        self._network = cable.network
        self._loop = cable.network.loop
        self._closing = False
        self._paused = False
        self._at_eof = False
        self._arrives_s = 0.0
        self._unread: deque[bytes | None] = deque()

    def start(self, factory: Factory) -> asyncio.BaseProtocol:
        """Return the protocol, connected."""
        self.protocol = cast("asyncio.Protocol", factory())
        self.process.pipes[self] = None
        self.protocol.connection_made(self)
        return self.protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; writers are never made to wait."""
        self.write_later(bytes(data), 0.0)

    def write_later(self, data: bytes, delay_s: float) -> None:
        """Send as if written after a delay; later writes still arrive later."""
        if self._closing or not data or self._cable.swallows():
            return
        link, rng = self._cable.link, self._network.rng
        if link.reset_rate and rng.random() < link.reset_rate:
            self.reset(delay_s)
            return
        if link.split_rate and len(data) > 1 and rng.random() < link.split_rate:
            cut = 1 + int(rng.random() * (len(data) - 1))
            self.push(delay_s, self.peer.receive, data[:cut])
            data = data[cut:]
        self.push(delay_s, self.peer.receive, data)

    def ask(self, heard: Callable[[], None]) -> None:
        """Call back in the peer's process once it has what was sent before and still listens."""
        if not self._closing and not self._cable.swallows():
            self._loop.call_at(self._arrives_s, self.peer.confirm, heard, context=self.peer.context)

    def push(self, delay_s: float, arrive: Callable[..., None], what: object) -> None:
        """Let something arrive at the peer, behind everything sent before."""
        latency_s = self._network.latency_s(self._cable.link)
        when_s = self._loop.time() + delay_s + latency_s
        if when_s <= self._arrives_s:
            when_s = self._arrives_s + _GAP_S
        self._arrives_s = when_s
        self._loop.call_at(when_s, arrive, what, context=self.peer.context)

    def reset(self, delay_s: float = 0.0) -> None:
        """Break the connection for both sides, as a middlebox would."""
        if self._cable.swallows():
            return
        broken = ConnectionResetError("connection reset by peer")
        self.push(delay_s, self.peer.lose, broken)
        self.peer.push(delay_s, self.lose, broken)

    def mute(self) -> None:
        """Make the connection half open: from now on nothing arrives on either side."""
        self._cable.silent = True

    @property
    def half_open(self) -> bool:
        """Whether bytes were lost on it although the client has not given it up."""
        return self._cable.silent and not self.peer.is_closing()

    def write_eof(self) -> None:
        """Send the end of the stream; reading goes on."""
        if not self._closing and not self._cable.swallows():
            self.push(0.0, self.peer.receive, None)

    def close(self) -> None:
        """End the stream; what was written still arrives."""
        if self._closing:
            return
        self._tell(self.peer.receive, None)
        self._closing = True
        self._soon_lost()

    def abort(self) -> None:
        """Break the connection at once."""
        if self.ended:
            return
        self._break_off()
        self._soon_lost()

    def sever(self) -> None:
        """Die with the process: the peer is told, the process is not."""
        self._break_off()
        self.ended = True
        self._network.accepted.pop(self, None)

    def receive(self, data: bytes | None) -> None:
        """Take what arrived; None is the end of the stream."""
        if self._closing:
            return
        if self._paused or self._unread:
            self._unread.append(data)
        else:
            self._hand_over(data)

    def confirm(self, heard: Callable[[], None]) -> None:
        """Tell the peer that this end still listens a moment after the bytes have come.

        A process that was stopped finds the answer and the end of its patience at the same time; it
        gives the call up, closes the connection and has read nothing.
        """
        self._loop.call_later(_READ_WITHIN_S, self._confirm, heard)

    def _confirm(self, heard: Callable[[], None]) -> None:
        if not self._closing:
            heard()

    def lose(self, error: Exception | None) -> None:
        """Tell the protocol, once, that the connection is over."""
        if self.ended:
            return
        self.ended = self._closing = True
        self._unread.clear()
        self.process.pipes.pop(self, None)
        self._network.accepted.pop(self, None)
        self.protocol.connection_lost(error)

    def pause_reading(self) -> None:
        """Hand nothing over until `resume_reading`."""
        self._paused = True

    def resume_reading(self) -> None:
        """Hand over what waits, soon."""
        if self._paused:
            self._paused = False
            if self._unread:
                self._loop.call_soon(self._drain, context=self.context)

    def is_readable(self) -> bool:
        """Return whether a read would not wait: bytes, the end of the stream or a reset."""
        return self.ended or self._at_eof or bool(self._unread)

    def is_reading(self) -> bool:
        """Return whether arriving data is handed over."""
        return not self._paused and not self._closing

    def is_closing(self) -> bool:
        """Return whether the end came or was asked for."""
        return self._closing

    def can_write_eof(self) -> bool:
        """Return True."""
        return True

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return who is told."""
        return self.protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Change who is told."""
        self.protocol = cast("asyncio.Protocol", protocol)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Do nothing: nothing is buffered here."""

    def get_write_buffer_size(self) -> int:
        """Return 0."""
        return 0

    def get_extra_info(self, name: str, default: object = None) -> object:
        """Return a stand-in for the socket, or the addresses."""
        match name:
            case "socket":
                return _Socket(self, self._network)
            case "peername":
                return self.address
            case "sockname":
                return ("127.0.0.1", 0)
            case _:
                return default

    def _break_off(self) -> None:
        self._closing = True
        self._tell(self.peer.lose, ConnectionResetError("connection reset by peer"))

    def _tell(self, arrive: Callable[..., None], what: object) -> None:
        """Tell the peer of the end; on a half-open connection it notices by itself, in the end."""
        if self._cable.swallows():
            self.push(_SILENCE_S_MAX, self.peer.lose, TimeoutError("connection timed out"))
        else:
            self.push(0.0, arrive, what)

    def _soon_lost(self) -> None:
        self._loop.call_soon(self.lose, None, context=self.context)

    def _hand_over(self, data: bytes | None) -> None:
        if data is not None:
            self.protocol.data_received(data)
            return
        self._at_eof = True
        if not self.protocol.eof_received():
            self.close()

    def _drain(self) -> None:
        while self._unread and not self._paused and not self._closing:
            self._hand_over(self._unread.popleft())


def _fail(made: "asyncio.Future[tuple[End, asyncio.BaseProtocol]]", error: OSError) -> None:
    if not made.done():
        made.set_exception(error)
