"""Subscriptions over a real socket on this host."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from liqctl.chain.answers import Commitment
from liqctl.chain.base58 import encode
from liqctl.chain.notice import (
    AccountNotice,
    SlotNotice,
    StreamDown,
    StreamItem,
    StreamUp,
    Topic,
)
from liqctl.chain.stream import StreamLimits, Subscriptions, _Connection
from liqctl.errors import SettingsError
from tests.chain.scripted import (
    ADDRESSES,
    PROGRAM,
    EvenRng,
    Json,
    StillClock,
    account,
    in_context,
    socket_node,
)

Behaviour = Callable[[ServerConnection], Awaitable[None]]
SLOT_ID, FIRST_ID = 900, 901


@asynccontextmanager
async def node(*behaviours: Behaviour) -> AsyncIterator[str]:
    """Serve one behaviour per connection; the last one is repeated."""
    queue = list(behaviours)

    async def each(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            await (queue.pop(0) if len(queue) > 1 else queue[0])(socket)

    async with serve(each, "127.0.0.1", 0, close_timeout=0.1) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/SECRETKEY"


async def grant(socket: ServerConnection, count: int) -> list[Json]:
    """Answer `count` subscriptions with 900, 901, ... and return the requests."""
    requests = []
    for number in range(SLOT_ID, SLOT_ID + count):
        request = json.loads(await socket.recv())
        requests.append(request)
        await socket.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": number}))
    return requests


async def notify(socket: ServerConnection, subscription: int, value: object) -> None:
    params = {"subscription": subscription, "result": value}
    await socket.send(json.dumps({"jsonrpc": "2.0", "method": "n", "params": params}))


async def beat(socket: ServerConnection, slot: int) -> None:
    await notify(socket, SLOT_ID, {"slot": slot, "parent": slot - 1, "root": slot - 32})


async def forever(socket: ServerConnection) -> None:
    """Say nothing more until the other side goes."""
    await socket.wait_closed()


class Ticking(StillClock):
    """Monotonic time that grows with every look."""

    def __init__(self, step_ns: int = 1) -> None:
        super().__init__()
        self.step_ns = step_ns

    def monotonic_ns(self) -> int:
        self.now_ns += self.step_ns
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0.001)


async def items_until(
    stream: Subscriptions, enough: Callable[[list[StreamItem]], bool]
) -> list[StreamItem]:
    found: list[StreamItem] = []
    done = asyncio.Event()

    def sink(item: StreamItem) -> None:
        found.append(item)
        if enough(found):
            done.set()

    task = asyncio.create_task(stream.run(sink))
    try:
        async with asyncio.timeout(5):
            await asyncio.wait(
                {task, asyncio.create_task(done.wait())}, return_when="FIRST_COMPLETED"
            )
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return found


def stream_to(url: str, *, clock: StillClock | None = None, **limits: Any) -> Subscriptions:
    return Subscriptions(url, clock or Ticking(), EvenRng(), limits=StreamLimits(**limits))


def count_of(kind: type, count: int) -> Callable[[list[StreamItem]], bool]:
    return lambda items: sum(isinstance(item, kind) for item in items) >= count


async def test_a_change_of_an_account_arrives_with_slot_and_time():
    async def behave(socket):
        requests.extend(await grant(socket, 2))
        await beat(socket, 70)
        await notify(socket, FIRST_ID, in_context(account(), 71))
        await forever(socket)

    requests: list[Json] = []
    async with node(behave) as url:
        stream = stream_to(url)
        stream.watch_account(ADDRESSES[0])
        stream.watch_account(ADDRESSES[0])
        up, slot, notice = await items_until(stream, lambda items: len(items) == 3)

    assert up == StreamUp()
    assert isinstance(slot, SlotNotice)
    assert slot.slot == 70
    assert isinstance(notice, AccountNotice)
    assert (notice.address, notice.slot) == (ADDRESSES[0], 71)
    assert notice.account is not None
    assert notice.account.data == b"\x00\x01\x02"
    assert notice.received_ns > slot.received_ns > 0
    assert [request["method"] for request in requests] == ["slotSubscribe", "accountSubscribe"]
    assert requests[1]["params"] == [
        ADDRESSES[0],
        {"encoding": "base64", "commitment": "confirmed"},
    ]


async def test_a_program_is_watched_by_discriminator():
    async def behave(socket):
        requests.extend(await grant(socket, 2))
        value = {"pubkey": ADDRESSES[1], "account": account()}
        await notify(socket, FIRST_ID, in_context(value, 71))
        await forever(socket)

    requests: list[Json] = []
    async with node(behave) as url:
        stream = stream_to(url)
        stream.watch_program(PROGRAM, b"\x01\x02")
        _, notice = await items_until(stream, lambda items: len(items) == 2)

    assert isinstance(notice, AccountNotice)
    assert notice.address == ADDRESSES[1]
    assert requests[1]["method"] == "programSubscribe"
    assert requests[1]["params"][1]["filters"] == [
        {"memcmp": {"offset": 0, "bytes": encode(b"\x01\x02")}}
    ]


@pytest.mark.parametrize("value", [None, account(lamports=0, owner="1" * 32, data_base64="")])
async def test_a_closed_account_is_none(value):
    async def behave(socket):
        await grant(socket, 2)
        await notify(socket, FIRST_ID, in_context(value, 71))
        await forever(socket)

    async with node(behave) as url:
        stream = stream_to(url)
        stream.watch_account(ADDRESSES[0])
        _, notice = await items_until(stream, lambda items: len(items) == 2)

    assert isinstance(notice, AccountNotice)
    assert notice.account is None


async def test_an_account_can_be_added_while_connected():
    async def behave(socket):
        await grant(socket, 1)
        await beat(socket, 1)
        request = json.loads(await socket.recv())
        await socket.send(json.dumps({"id": request["id"], "result": FIRST_ID}))
        await notify(socket, FIRST_ID, in_context(account(), 2))
        await forever(socket)

    async with node(behave) as url:
        stream = stream_to(url)

        def enough(items: list[StreamItem]) -> bool:
            if len(items) == 2:
                stream.watch_account(ADDRESSES[2])
            return isinstance(items[-1], AccountNotice)

        found = await items_until(stream, enough)

    assert isinstance(found[-1], AccountNotice)
    assert found[-1].address == ADDRESSES[2]


async def test_everything_is_subscribed_again_after_a_broken_connection():
    async def breaking(socket):
        first.extend(await grant(socket, 3))
        socket.transport.abort()

    async def behave(socket):
        second.extend(await grant(socket, 3))
        await forever(socket)

    first: list[Json] = []
    second: list[Json] = []
    async with node(breaking, behave) as url:
        stream = stream_to(url)
        stream.watch_account(ADDRESSES[0])
        stream.watch_program(PROGRAM, b"\x01")
        found = await items_until(stream, count_of(StreamUp, 2))

    assert [type(item) for item in found] == [StreamUp, StreamDown, StreamUp]
    assert [each["params"] for each in first] == [each["params"] for each in second]
    assert (stream.counts.connections, stream.counts.drops) == (2, 1)


async def test_a_silent_connection_is_dropped_and_made_anew():
    async def mute(socket):
        await grant(socket, 1)
        await forever(socket)

    async with node(mute) as url:
        stream = stream_to(url, silence_s=0.05)
        found = await items_until(stream, count_of(StreamUp, 2))

    assert [type(item) for item in found] == [StreamUp, StreamDown, StreamUp]
    assert found[1] == StreamDown("nothing came for 0.05 s")


async def test_slots_alone_keep_a_connection():
    async def beating(socket):
        await grant(socket, 1)
        for slot in range(20):
            await beat(socket, slot)
            await asyncio.sleep(0.02)

    async with node(beating) as url:
        stream = stream_to(url, silence_s=0.2)
        found = await items_until(stream, count_of(SlotNotice, 20))

    assert not any(isinstance(item, StreamDown) for item in found)


async def test_a_node_that_leaves_a_subscription_unanswered_is_dropped():
    async def partial(socket):
        await grant(socket, 1)
        for slot in range(100):
            await beat(socket, slot)
            await asyncio.sleep(0.005)

    clock = Ticking(step_ns=100_000_000)
    async with node(partial) as url:
        stream = stream_to(url, clock=clock, silence_s=1)
        stream.watch_account(ADDRESSES[0])
        found = await items_until(stream, count_of(StreamDown, 1))

    assert found[-1] == StreamDown("the node left a subscription unanswered")
    assert StreamUp() not in found


async def test_a_refused_subscription_is_counted_and_the_others_live():
    async def refusing(socket):
        await grant(socket, 1)
        request = json.loads(await socket.recv())
        body = {"id": request["id"], "error": {"code": -32602, "message": "no\x1b[31m"}}
        await socket.send(json.dumps(body))
        await beat(socket, 5)
        await forever(socket)

    async with node(refusing) as url:
        stream = stream_to(url)
        stream.watch_account(ADDRESSES[0])
        found = await items_until(stream, count_of(SlotNotice, 1))

    assert StreamUp() in found
    assert stream.counts.refused_subscriptions == 1


async def refuse(socket: ServerConnection, code: int) -> Json:
    """Refuse the next subscription and return its request."""
    request: Json = json.loads(await socket.recv())
    error = {"code": code, "message": "no"}
    await socket.send(json.dumps({"jsonrpc": "2.0", "id": request["id"], "error": error}))
    return request


async def test_a_refused_subscription_is_asked_for_again_and_all_is_read_anew_when_granted():
    async def behave(socket):
        await grant(socket, 1)
        await refuse(socket, -32005)
        await refuse(socket, -32005)
        request = json.loads(await socket.recv())
        await socket.send(json.dumps({"id": request["id"], "result": FIRST_ID}))
        value = {"pubkey": ADDRESSES[1], "account": account()}
        await notify(socket, FIRST_ID, in_context(value, 71))
        await forever(socket)

    async with node(behave) as url:
        stream = stream_to(url)
        stream.watch_program(PROGRAM, b"\x01")
        found = await items_until(stream, count_of(AccountNotice, 1))

    assert [type(item) for item in found] == [StreamUp, StreamUp, AccountNotice]
    assert stream.counts.refused_subscriptions == 2


async def test_what_is_refused_for_good_is_asked_for_at_a_falling_rate_and_told_once():
    async def behave(socket):
        await grant(socket, 1)
        for _ in range(9):
            await refuse(socket, -32602)
        await beat(socket, 5)
        await forever(socket)

    clock = Ticking()
    async with node(behave) as url:
        stream = stream_to(url, clock=clock)
        stream.watch_account(ADDRESSES[0])
        with capture_logs() as logs:
            await items_until(stream, count_of(SlotNotice, 1))

    assert clock.slept[:8] == [0.75, 1.5, 3.0, 6.0, 12.0, 24.0, 45.0, 45.0]
    assert [line["event"] for line in logs] == ["subscription_refused"]


async def test_a_method_that_a_node_does_not_know_is_asked_for_at_the_next_connection_only():
    async def behave(socket):
        await grant(socket, 1)
        asked.append((await refuse(socket, -32601))["method"])
        await beat(socket, 5)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                asked.append(await socket.recv())

    asked: list[object] = []
    async with node(behave) as url:
        stream = stream_to(url)
        stream.watch_program(PROGRAM, b"\x01")
        await items_until(stream, count_of(StreamDown, 2))

    assert asked == ["programSubscribe"] * 2
    assert stream.counts.unsupported == 2


@pytest.mark.parametrize(
    ("frame", "malformed", "unknown"),
    [
        ("{", 1, 0),
        ("[]", 1, 0),
        (b"\xff\xfe\x00", 1, 0),
        ("[" * 50_000, 1, 0),
        ('{"id": 999, "result": 1}', 1, 0),
        ('{"params": {"subscription": 12345, "result": {}}}', 0, 1),
        ('{"params": {"subscription": "x", "result": {}}}', 1, 0),
        ('{"params": {"subscription": 900, "result": {"slot": -1}}}', 1, 0),
        ('{"params": {"subscription": 901, "result": {"context": {"slot": 1}}}}', 1, 0),
        ('{"params": {"subscription": 901, "result": {"context": {"slot": 1}, "value": 7}}}', 1, 0),
    ],
)
async def test_a_bad_message_is_counted_and_the_next_one_counts(frame, malformed, unknown):
    async def behave(socket):
        await grant(socket, 2)
        await socket.send(frame)
        await beat(socket, 5)
        await forever(socket)

    async with node(behave) as url:
        stream = stream_to(url)
        stream.watch_account(ADDRESSES[0])
        found = await items_until(stream, count_of(SlotNotice, 1))

    assert [type(item) for item in found] == [StreamUp, SlotNotice]
    assert (stream.counts.malformed, stream.counts.unknown_subscriptions) == (malformed, unknown)


async def test_a_huge_message_ends_the_connection_not_the_stream():
    async def huge(socket):
        await grant(socket, 1)
        await socket.send("x" * 20_000)
        await forever(socket)

    async with node(huge) as url:
        stream = stream_to(url, message_bytes_max=10_000)
        found = await items_until(stream, count_of(StreamUp, 2))

    assert [type(item) for item in found] == [StreamUp, StreamDown, StreamUp]


async def test_an_absent_node_is_tried_with_growing_pauses_up_to_a_limit():
    clock = Ticking()
    async with node(forever) as url:
        gone = url
    stream = stream_to(gone, clock=clock)

    found = await items_until(stream, count_of(StreamDown, 9))

    assert all(isinstance(item, StreamDown) for item in found)
    assert clock.slept[:4] == [0.375, 0.75, 1.5, 3.0]
    assert clock.slept[7] == 11.25


async def test_a_node_that_grants_and_hangs_up_is_tried_ever_more_rarely():
    async def flapping(socket):
        await grant(socket, 1)

    clock = Ticking()
    async with node(flapping) as url:
        await items_until(stream_to(url, clock=clock), count_of(StreamDown, 4))

    assert clock.slept[:3] == [0.375, 0.75, 1.5]


async def test_each_connection_goes_to_the_next_url_and_from_the_last_to_the_first():
    def named(name: str) -> Behaviour:
        async def hang_up(socket):
            met.append(name)
            await grant(socket, 2)

        return hang_up

    met: list[str] = []
    clock = Ticking()
    async with node(named("a")) as first, node(named("b")) as second:
        stream = Subscriptions([first, second], clock, EvenRng())
        stream.watch_account(ADDRESSES[0])
        found = await items_until(stream, count_of(StreamDown, 5))

    assert met[:5] == ["a", "b", "a", "b", "a"]
    assert sum(isinstance(item, StreamUp) for item in found) == 5
    assert clock.slept[:4] == [0.1875, 0.375, 0.375, 0.75]


async def test_an_absent_node_is_left_for_the_next_one_at_once():
    async def behave(socket):
        await grant(socket, 1)
        await forever(socket)

    clock = Ticking()
    async with node(forever) as url:
        gone = url
    async with node(behave) as there:
        stream = Subscriptions([gone, there], clock, EvenRng())
        found = await items_until(stream, count_of(StreamUp, 1))

    assert [type(item) for item in found] == [StreamDown, StreamUp]
    assert clock.slept == [0.1875]
    assert "SECRET" not in f"{found}{stream!r}"


async def test_a_connection_that_lasted_is_made_anew_soon():
    async def lasting(socket):
        await grant(socket, 1)

    clock = Ticking(step_ns=400_000_000)
    async with node(lasting) as url:
        await items_until(stream_to(url, clock=clock, silence_s=1), count_of(StreamDown, 4))

    assert clock.slept[:3] == [0.1875, 0.1875, 0.1875]


async def test_a_node_that_does_not_shake_hands_is_given_up():
    async def silent(reader, _):
        await reader.read()
        await reader.read()

    async with socket_node(silent) as port:
        stream = stream_to(f"ws://127.0.0.1:{port}/", connect_s=0.05)
        found = await items_until(stream, count_of(StreamDown, 1))

    assert found == [StreamDown("no connection within 0.05 s")]


@pytest.mark.parametrize(
    "raw",
    [b"", b"garbage\r\n\r\n", b"HTTP/1.1 429 Slow\r\n\r\n", b"HTTP/1.1 3", bytes(9000)],
)
async def test_an_http_error_or_garbage_instead_of_a_handshake_is_a_drop(raw):
    async def rude(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)

    async with socket_node(rude) as port:
        stream = stream_to(f"ws://127.0.0.1:{port}/SECRETKEY")
        found = await items_until(stream, count_of(StreamDown, 2))

    assert len(found) == 2
    assert "SECRET" not in f"{found}{stream!r}"


async def test_what_the_sink_raises_ends_the_stream():
    async def behave(socket):
        await grant(socket, 1)
        await forever(socket)

    def sink(item: StreamItem) -> None:
        raise ZeroDivisionError

    async with node(behave) as url:
        with pytest.raises(ExceptionGroup) as caught:
            await stream_to(url).run(sink)

    assert caught.group_contains(ZeroDivisionError)


@pytest.mark.parametrize("url", ["http://127.0.0.1/", "ws://rpc.example/", "nonsense"])
def test_a_url_that_may_not_be_used_is_a_settings_error(url):
    with pytest.raises(SettingsError):
        stream_to(url)
    with pytest.raises(SettingsError):
        Subscriptions(["ws://127.0.0.1/", url], Ticking(), EvenRng())


def test_no_url_at_all_is_a_settings_error():
    with pytest.raises(SettingsError):
        Subscriptions([], Ticking(), EvenRng())


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=4),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["id", "result", "params", "subscription", "context", "slot", "value"]
                ),
                inner,
                max_size=4,
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=40)
)
def test_any_frame_is_a_notice_or_counted(frame):
    stream = stream_to("ws://127.0.0.1:1/")
    connection = _Connection(Ticking(), StreamLimits(), Commitment.CONFIRMED, stream.counts)
    connection.request(Topic("slotSubscribe"))
    connection._item(b'{"id": 1, "result": 1}', 1)

    before = stream.counts.malformed + stream.counts.unknown_subscriptions
    item = connection._item(frame, 2)

    after = stream.counts.malformed + stream.counts.unknown_subscriptions
    assert (item is None) == (after == before + 1)
