"""The proxy: a node behind it, callers before it, faults between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Self

import httpx

from liqctl.chain.rpc import quiet_transport_loggers
from liqctl.chain.urls import checked_rpc_url, checked_websocket_url, is_loopback, redacted
from liqctl.errors import SettingsError
from liqctl.ports import Clock
from liqctl.sim.chaos.calls import Answers, Call, Request, request_of
from liqctl.sim.chaos.exchange import Incoming, Listener, Wire, WireLimits
from liqctl.sim.chaos.faults import CUTS, Fault
from liqctl.sim.chaos.mutate import no_json
from liqctl.sim.chaos.plan import Plan
from liqctl.sim.chaos.relay import Relay, RelayLimits
from liqctl.sim.chaos.shelf import Shelf
from liqctl.sim.chaos.tally import Tally

HOST = "127.0.0.1"
HEALTH = "GET /health"
PORT_PAIR_TRIES = 20
PORT_MAX = 65_535
DELAY_S_MIN = 0.2
DELAY_S_SPREAD = 2.8
_JSON = (("Content-Type", "application/json"),)
_TEXT = (("Content-Type", "text/plain"),)
_OF_THE_CONNECTION = frozenset(
    {
        "connection", "keep-alive", "proxy-connection", "proxy-authorization", "trailer",
        "transfer-encoding", "upgrade", "host", "content-length", "expect", "accept-encoding",
    }
)  # fmt: skip
_PASSED_BACK = ("content-type", "content-encoding", "retry-after")
_SERVER_ERRORS = (500, 502, 503, 504)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyLimits:
    """Every wait and every body has an end.

    An answer that is changed or kept is held in memory and may have `answer_bytes_max` bytes;
    the others stream. `silence_s` is how long a connection without an answer is kept.
    """

    wire: WireLimits = field(default_factory=WireLimits)
    relay: RelayLimits = field(default_factory=RelayLimits)
    answer_bytes_max: int = 64 * 1024 * 1024
    upstream_s: float = 90.0
    silence_s: float = 60.0


class TooLarge(Exception):
    """An answer that would have to be changed does not fit into memory."""


class ChaosProxy:
    """An async context manager: inside it the proxy listens on loopback, and nowhere else."""

    def __init__(
        self,
        upstream: str,
        upstream_ws: str,
        plan: Plan,
        clock: Clock,
        *,
        ports: tuple[int, int | None] = (0, None),
        limits: ProxyLimits | None = None,
    ) -> None:
        """Check the URLs; `ports` are those of HTTP and WebSocket, which is the next unless given.

        Raises:
            SettingsError: a URL cannot be used.
        """
        self._upstream = checked_rpc_url(upstream, allow_plain=False)
        self._plan = plan
        self._clock = clock
        self._ports = ports
        self._limits = limits or ProxyLimits()
        self.tally = Tally()
        self._calls = 0
        self._started_ns = clock.monotonic_ns()
        shelf = Shelf() if Fault.STALE in plan.profile.rates else None
        self._answers = Answers(shelf, self.tally)
        self._listener = Listener(self._respond, self._limits.wire)
        self._relay = Relay(
            checked_websocket_url(upstream_ws, allow_plain=False),
            plan,
            self.tally,
            self._up_for_s,
            limits=self._limits.relay,
        )
        self._client = self._new_client()
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        """Show no more of the URL than may be printed."""
        return f"ChaosProxy({self.shown_upstream}, {self._plan.profile.name})"

    @property
    def shown_upstream(self) -> str:
        """The node behind the proxy as it may be printed."""
        return redacted(self._upstream)

    @property
    def url(self) -> str:
        """The JSON-RPC address of the proxy."""
        return f"http://{HOST}:{self._listener.port}"

    @property
    def ws_url(self) -> str:
        """The WebSocket address of the proxy."""
        return f"ws://{HOST}:{self._relay.port}"

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            SettingsError: a port cannot be used.
        """
        self._started_ns = self._clock.monotonic_ns()
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._client.aclose)
            await self._listen()
            stack.push_async_callback(self._listener.stop)
            stack.push_async_callback(self._relay.stop)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool | None:
        """Close every connection."""
        return await self._stack.__aexit__(kind, error, trace)

    async def _listen(self) -> None:
        port, ws_port = self._ports
        any_pair = port == 0 and ws_port is None
        for _ in range(PORT_PAIR_TRIES if any_pair else 1):
            await _listening(self._listener.start, port)
            wanted = self._listener.port + 1 if ws_port is None else ws_port
            try:
                await _listening(self._relay.start, wanted)
            except SettingsError:
                await self._listener.stop()
                if not any_pair:
                    raise
            else:
                return
        raise SettingsError(f"no two free neighbouring ports on {HOST}; name them")

    def _new_client(self) -> httpx.AsyncClient:
        quiet_transport_loggers()
        try:
            httpx.URL(self._upstream)
        except httpx.InvalidURL as error:
            shown = redacted(self._upstream)
            raise SettingsError(f"{shown} is no URL that can be called") from error
        connections = self._limits.wire.connections_max
        return httpx.AsyncClient(
            timeout=httpx.Timeout(self._limits.upstream_s),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=16),
            follow_redirects=False,
            trust_env=not is_loopback(self._upstream),
        )

    def _up_for_s(self) -> float:
        elapsed_s = (self._clock.monotonic_ns() - self._started_ns) / 1e9
        return self._plan.up_for_s(elapsed_s)

    async def _respond(self, incoming: Incoming, wire: Wire) -> None:
        """Answer one HTTP request, one way or another."""
        self.tally.exchanges += 1
        request = self._request(incoming)
        if request is None:
            wire.keep_alive = False  # the answer to a HEAD has no body, whatever its length says
            status = 405 if incoming.method != "POST" else 415
            await wire.whole(status, _TEXT, b"POST a JSON-RPC request as application/json\n")
            return
        for call in request.calls:
            self.tally.request(call.method)
        if self._up_for_s() == 0:
            self.tally.fault(Fault.OUTAGE, request.calls[0].method)
            wire.reset()
        elif (cut := request.first(CUTS)) is not None:
            await self._cut(cut, wire)
        else:
            await self._pass_on(incoming, request, wire)

    def _request(self, incoming: Incoming) -> Request | None:
        """Return the calls of a request, or None where it is no JSON-RPC."""
        if incoming.method == "GET" and incoming.path.partition("?")[0] == "/health":
            self._calls += 1
            verdict = self._plan.of_call(self._calls, HEALTH, None)
            if verdict.fault not in CUTS:
                verdict = replace(verdict, fault=None)
            call = Call(body=None, method=HEALTH, params=None, verdict=verdict)
            return Request(calls=(call,), batch=False)
        kind = incoming.headers.get("content-type", "").lower()
        if incoming.method != "POST" or not kind.startswith("application/json"):
            return None
        request = request_of(incoming.body, self._plan, self._calls + 1)
        self._calls += len(request.calls)
        return request

    async def _cut(self, call: Call, wire: Wire) -> None:
        """Let a request fail that the node has not seen."""
        shade = call.verdict.shade
        self.tally.fault(call.fault or Fault.RESET, call.method)
        match call.fault:
            case Fault.SERVER_ERROR:
                status = _SERVER_ERRORS[int(shade * len(_SERVER_ERRORS))]
                await wire.whole(status, _TEXT, b"upstream error")
            case Fault.RATE_LIMITED:
                await wire.whole(429, _TEXT, b"too many requests")
            case Fault.RETRY_AFTER:
                pause_s = 1 + int(shade * 3)
                body = b'{"jsonrpc":"2.0","error":{"code":429,"message":"Too many requests"}}'
                await wire.whole(429, (*_JSON, ("Retry-After", f"{pause_s}")), body)
            case Fault.NO_ANSWER:
                await wire.silence(self._limits.silence_s)
            case _:
                wire.reset()

    async def _pass_on(self, incoming: Incoming, request: Request, wire: Wire) -> None:
        """Ask the node and answer with what it says, or with what becomes of that."""
        if len(request.refused) == len(request.calls):
            now_s = self._clock.monotonic_ns() / 1e9
            await wire.whole(200, _JSON, self._answers.told(request, None, now_s))
            return
        lost = request.first(frozenset({Fault.REPLY_LOST}))
        spoiled = request.first(frozenset({Fault.NO_JSON}))
        held = lost or spoiled or self._answers.concern(request)
        try:
            async with (
                asyncio.timeout(self._limits.upstream_s),
                self._asked(incoming, request.forwarded(incoming.body), held=bool(held)) as answer,
            ):
                await self._delay(request)
                if not held or answer.status_code != 200:
                    await self._stream(answer, wire)
                    return
                body = await self._whole(answer)
        except (httpx.HTTPError, TooLarge, TimeoutError) as error:
            await self._failed(error, wire)
            return
        if lost is not None:
            await self._lose(lost, body, wire)
            return
        body = self._answers.told(request, body, self._clock.monotonic_ns() / 1e9)
        if spoiled is not None:
            self.tally.fault(Fault.NO_JSON, spoiled.method)
            body = no_json(body, spoiled.verdict.shade)
        await wire.whole(200, _JSON, body)

    @asynccontextmanager
    async def _asked(
        self, incoming: Incoming, content: bytes, *, held: bool
    ) -> AsyncIterator[httpx.Response]:
        """Send a request on to the node; a held answer is encoded as can be read here."""
        headers = [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in incoming.headers.items()
            if name not in _OF_THE_CONNECTION
        ]
        encoding = incoming.headers.get("accept-encoding", "identity")
        if held:
            encoding = "gzip" if "gzip" in encoding else "identity"
        headers.append((b"accept-encoding", encoding.encode("latin-1")))
        url = httpx.URL(self._upstream)
        if incoming.method == "GET":
            url = url.copy_with(path=f"{url.path.rstrip('/')}/health")
        async with self._client.stream(
            incoming.method, url, content=content, headers=headers
        ) as answer:
            yield answer

    async def _delay(self, request: Request) -> None:
        slow = request.first(frozenset({Fault.DELAY}))
        if slow is not None:
            self.tally.fault(Fault.DELAY, slow.method)
            await self._clock.sleep(DELAY_S_MIN + slow.verdict.shade * DELAY_S_SPREAD)

    async def _stream(self, answer: httpx.Response, wire: Wire) -> None:
        """Hand the bytes of an answer through as they come."""
        passed = [(name, answer.headers[name]) for name in _PASSED_BACK if name in answer.headers]
        length = answer.headers.get("content-length")
        await wire.begin(answer.status_code, passed, None if length is None else int(length))
        async for piece in answer.aiter_raw():
            await wire.chunk(piece)
        await wire.end()

    async def _whole(self, answer: httpx.Response) -> bytes:
        body = bytearray()
        async for piece in answer.aiter_bytes():
            body += piece
            if len(body) > self._limits.answer_bytes_max:
                raise TooLarge
        return bytes(body)

    async def _failed(self, error: Exception, wire: Wire) -> None:
        """Say that the node did not answer, as a load balancer does; no word of its URL."""
        self.tally.upstream_failures += 1
        if wire.begun:
            wire.reset()
            return
        text = "the answer is too large" if isinstance(error, TooLarge) else "no answer"
        await wire.whole(502, _TEXT, f"{redacted(self._upstream)}: {text}\n".encode())

    async def _lose(self, call: Call, body: bytes, wire: Wire) -> None:
        """Let the answer to a transaction disappear that the node has taken."""
        shade = call.verdict.shade
        self.tally.fault(Fault.REPLY_LOST, call.method)
        if shade < 0.4:
            wire.reset()
        elif shade < 0.7:
            await wire.whole(504, _TEXT, b"gateway timeout")
        elif shade < 0.9:
            await wire.begin(200, _JSON, len(body))
            await wire.chunk(body[: len(body) // 2])
            wire.reset()
        else:
            await wire.silence(self._limits.silence_s)


async def _listening(start: Callable[[str, int], Awaitable[object]], port: int) -> None:
    if port > PORT_MAX:
        raise SettingsError(f"no port follows {PORT_MAX}; name one for WebSocket")
    try:
        await start(HOST, port)
    except OSError as error:
        reason = error.strerror or str(error)
        raise SettingsError(
            f"cannot listen on {HOST}:{port}: {reason}; choose another port"
        ) from error
