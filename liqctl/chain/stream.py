"""WebSocket subscriptions that reconnect: a hint that something changed, never the truth."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from liqctl.chain.answers import Commitment
from liqctl.chain.base58 import encode
from liqctl.chain.notice import (
    FRAME,
    ErrorForm,
    FrameForm,
    StreamDown,
    StreamItem,
    StreamUp,
    Topic,
    notice_of,
)
from liqctl.chain.rpc import quiet_transport_loggers
from liqctl.chain.text import one_line
from liqctl.chain.urls import checked_websocket_url, is_loopback, redacted, without_secrets
from liqctl.errors import RpcMalformed, SettingsError
from liqctl.ports import Clock, Rng

log = structlog.get_logger(__name__)
Sink = Callable[[StreamItem], None]
_BACKOFF_S = 0.25
_BACKOFF_S_MAX = 15.0
_ASK_AGAIN_S = 1.0
_ASK_AGAIN_S_MAX = 60.0
_METHOD_NOT_FOUND = -32601
_SILENCE_SLACK = 1.1
_NS_PER_S = 1_000_000_000


@dataclass(slots=True, kw_only=True)
class StreamCounts:
    """What a stream has met since its start.

    Of the refused subscriptions, those in `unsupported` were refused because the node does not
    know the method.
    """

    connections: int = 0
    drops: int = 0
    notices: int = 0
    malformed: int = 0
    unknown_subscriptions: int = 0
    refused_subscriptions: int = 0
    unsupported: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamLimits:
    """Every wait and every message has an end."""

    silence_s: float = 10.0
    connect_s: float = 10.0
    message_bytes_max: int = 16 * 1024 * 1024


class _Dropped(Exception):
    """The connection is of no more use; the text says why."""


class Subscriptions:
    """Subscriptions of one WebSocket connection, kept up across reconnects.

    Each connection goes to the next of the URLs, and after the last to the first again.
    The slot subscription is always among them: a node that sends nothing for `silence_s`, not
    even a slot, is dropped. What a node refuses is asked for again after a pause that grows, or
    only of the next connection if the node does not know the method; polling stands in. Prices
    use an instance of their own, so that a burst of positions does not queue before them.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        clock: Clock,
        rng: Rng,
        *,
        commitment: Commitment = Commitment.CONFIRMED,
        limits: StreamLimits | None = None,
        allow_plain: bool = False,
    ) -> None:
        """Check one URL or several; nothing connects before `run`.

        Raises:
            SettingsError: no ws(s) URL, or plain ws to another host without `allow_plain`.
        """
        given = [urls] if isinstance(urls, str) else urls
        self._urls = tuple(checked_websocket_url(url, allow_plain=allow_plain) for url in given)
        if not self._urls:
            raise SettingsError("subscriptions need a WebSocket URL")
        self._next = itertools.cycle(self._urls)
        self._clock = clock
        self._rng = rng
        self._commitment = commitment
        self._limits = limits or StreamLimits()
        self._topics: dict[Topic, None] = {Topic("slotSubscribe"): None}
        self._changed = asyncio.Event()
        self.counts = StreamCounts()

    def __repr__(self) -> str:
        """Show no more of the URLs than may be printed."""
        return f"Subscriptions({', '.join(map(redacted, self._urls))})"

    def watch_account(self, address: str) -> None:
        """Subscribe to an account, now or at the next connection; twice is once."""
        self._add(Topic("accountSubscribe", address))

    def watch_program(self, program_id: str, discriminator: bytes) -> None:
        """Subscribe to the accounts of a program that begin with a discriminator."""
        self._add(Topic("programSubscribe", program_id, discriminator))

    async def run(self, sink: Sink) -> None:
        """Hand every item to the sink, in order, until cancelled.

        The sink is called on the loop and must not block; what it raises ends the stream.
        """
        quiet_transport_loggers()
        failures = 0
        while True:
            connection = _Connection(self._clock, self._limits, self._commitment, self.counts)
            started_ns = self._clock.monotonic_ns()
            reason = await self._one_connection(connection, sink)
            self.counts.drops += 1
            sink(StreamDown(reason))
            # a node that grants and hangs up at once must not cause a full read each time
            lived_s = (self._clock.monotonic_ns() - started_ns) / _NS_PER_S
            stable = connection.up and lived_s >= self._limits.silence_s
            failures = 0 if stable else failures + 1
            await self._clock.sleep(self._backoff_s(failures))

    def _add(self, topic: Topic) -> None:
        self._topics[topic] = None
        self._changed.set()

    def _backoff_s(self, failures: int) -> float:
        rounds = failures // len(self._urls)  # another node has nothing to recover from
        longest_s = min(_BACKOFF_S * 2.0 ** min(rounds, 16), _BACKOFF_S_MAX)
        return longest_s * (0.5 + self._rng.random() / 2)

    async def _one_connection(self, connection: "_Connection", sink: Sink) -> str:
        """Return why the connection ended, or never came to be."""
        try:
            socket = await self._connect(next(self._next))
        except _Dropped as reason:
            return str(reason)
        self.counts.connections += 1
        try:
            async with asyncio.TaskGroup() as group:
                asking = (
                    group.create_task(self._subscribe(connection, socket), name="subscribe"),
                    group.create_task(self._ask_again(connection), name="ask again"),
                )
                reason_text = await connection.read(socket, sink)
                for task in asking:
                    task.cancel()
        finally:
            socket.transport.abort()
        return reason_text

    async def _connect(self, url: str) -> ClientConnection:
        try:
            async with asyncio.timeout(self._limits.connect_s):
                return await connect(
                    url,
                    compression=None,
                    max_size=self._limits.message_bytes_max,
                    open_timeout=None,
                    ping_interval=None,
                    close_timeout=1.0,
                    proxy=None if is_loopback(url) else True,
                )
        except TimeoutError as error:
            raise _Dropped(f"no connection within {self._limits.connect_s:g} s") from error
        except InvalidStatus as error:
            raise _Dropped(f"refused with HTTP status {error.response.status_code}") from error
        except (OSError, EOFError, WebSocketException) as error:
            text = one_line(without_secrets(str(error), url))
            raise _Dropped(f"no connection: {text or type(error).__name__}") from error

    async def _subscribe(self, connection: "_Connection", socket: ClientConnection) -> None:
        """Ask for every topic that this connection was not asked for, now and as they come."""
        while True:
            self._changed.clear()
            for topic in connection.missing(self._topics):
                try:
                    await socket.send(connection.request(topic))
                except ConnectionClosed:
                    return  # the reader meets the same end and says why
            connection.all_asked = True
            await self._changed.wait()

    async def _ask_again(self, connection: "_Connection") -> None:
        """Have what was refused asked for again, all of it at once, each time after a longer pause."""
        for rounds in itertools.count():
            await connection.refused.wait()
            longest_s = min(_ASK_AGAIN_S * 2.0 ** min(rounds, 16), _ASK_AGAIN_S_MAX)
            await self._clock.sleep(longest_s * (0.5 + self._rng.random() / 2))
            connection.forget_refusals()
            self._changed.set()


class _Connection:
    """The state of one connection: what was asked, what was granted, and since when."""

    def __init__(
        self, clock: Clock, limits: StreamLimits, commitment: Commitment, counts: StreamCounts
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._commitment = commitment
        self._counts = counts
        self._ids = itertools.count(1)
        self._asked: dict[int, tuple[Topic, int]] = {}
        self._sent: set[Topic] = set()
        self._granted: dict[int, Topic] = {}
        self._refused: set[Topic] = set()
        self._once_refused: set[Topic] = set()
        self.refused = asyncio.Event()
        self.all_asked = False
        self.up = False

    def missing(self, topics: dict[Topic, None]) -> list[Topic]:
        """Return the topics that were not asked for yet."""
        return [topic for topic in topics if topic not in self._sent]

    def forget_refusals(self) -> None:
        """Count what was refused as not asked for yet."""
        self.refused.clear()
        self._sent -= self._refused
        self._refused.clear()

    def request(self, topic: Topic) -> str:
        """Return the request for a topic, and remember that it was asked."""
        request_id = next(self._ids)
        self._asked[request_id] = (topic, self._clock.monotonic_ns())
        self._sent.add(topic)
        body = {
            "jsonrpc": "2.0",
            "id": request_id,
            "method": topic.method,
            "params": self._params(topic),
        }
        return msgspec.json.encode(body).decode()

    def _params(self, topic: Topic) -> list[object]:
        config: dict[str, object] = {"encoding": "base64", "commitment": self._commitment}
        match topic.method:
            case "slotSubscribe":
                return []
            case "accountSubscribe":
                return [topic.address, config]
            case _:
                match_start = {"offset": 0, "bytes": encode(topic.discriminator)}
                return [topic.address, config | {"filters": [{"memcmp": match_start}]}]

    async def read(self, socket: ClientConnection, sink: Sink) -> str:
        """Read frames into the sink; return why the connection is of no more use."""
        silence_s, loop = self._limits.silence_s, asyncio.get_running_loop()
        silence = asyncio.timeout(silence_s)
        try:
            async with silence:
                while True:
                    frame = await _frame(socket)
                    # A timer for each frame would cost more than the frame.
                    if (silence.when() or 0.0) - loop.time() < silence_s:
                        silence.reschedule(loop.time() + silence_s * _SILENCE_SLACK)
                    self._take(frame, sink)
        except _Dropped as reason:
            return str(reason)
        except TimeoutError:
            if not silence.expired():
                raise
            return f"nothing came for {silence_s:g} s"

    def _take(self, frame: bytes, sink: Sink) -> None:
        received_ns = self._clock.monotonic_ns()
        item = self._item(frame, received_ns)
        if item is not None:
            self._counts.notices += 1
            sink(item)
        self._check_answers(received_ns)
        if not self.up and self.all_asked and not self._asked:
            self.up = True
            sink(StreamUp())

    def _check_answers(self, now_ns: int) -> None:
        """Drop a node that leaves a request unanswered: it would be silent about that topic."""
        oldest_ns = next((asked_ns for _, asked_ns in self._asked.values()), now_ns)
        if now_ns - oldest_ns > self._limits.silence_s * _NS_PER_S:
            raise _Dropped("the node left a subscription unanswered")

    def _item(self, frame: bytes, received_ns: int) -> StreamItem | None:
        """Return the notice in a frame, or None for an answer and for what is counted only."""
        try:
            form = FRAME.decode(frame)
            if form.params is None:
                self._answer(form)
                return None
            topic = self._granted.get(form.params.subscription)
            if topic is None:
                self._counts.unknown_subscriptions += 1
                return None
            return notice_of(topic, form.params.result, received_ns)
        except (RpcMalformed, msgspec.MsgspecError, UnicodeError, RecursionError):
            self._counts.malformed += 1
            return None

    def _answer(self, form: FrameForm) -> None:
        if form.id is None or form.id not in self._asked:
            raise RpcMalformed("the node answered what was not asked")
        topic, _ = self._asked[form.id]
        if form.error is not None:
            self._refuse(topic, form.error)
        elif type(form.result) is int:
            self._granted[form.result] = topic
            if topic in self._once_refused:
                self._once_refused.discard(topic)
                self.up = False  # what changed meanwhile was not told: all is to be read again
        else:
            raise RpcMalformed("the node granted a subscription without a number")
        del self._asked[form.id]

    def _refuse(self, topic: Topic, error: ErrorForm) -> None:
        """Note a refusal; the first of a topic is logged, the others are counted."""
        self._counts.refused_subscriptions += 1
        if error.code == _METHOD_NOT_FOUND:
            self._counts.unsupported += 1
        else:
            self._refused.add(topic)
            self.refused.set()
        if topic not in self._once_refused:
            self._once_refused.add(topic)
            log.warning(
                "subscription_refused",
                method=topic.method,
                address=topic.address,
                code=error.code,
                reason=one_line(error.message),
            )


async def _frame(socket: ClientConnection) -> bytes:
    try:
        return await socket.recv(decode=False)
    except ConnectionClosed as error:
        raise _Dropped(f"the connection broke: {one_line(str(error))}") from error
