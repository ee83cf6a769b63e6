import asyncio
import contextlib
import gc
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from liqctl.chain.notice import SlotNotice, StreamDown, StreamUp
from liqctl.chain.rpc import HttpRpc
from liqctl.chain.stream import Subscriptions
from liqctl.errors import RpcError, RpcUnreachable
from liqctl.ports import SystemRng
from liqctl.sim.clock import SimClock
from liqctl.sim.door import DoorLog
from liqctl.sim.loop import VirtualLoop
from liqctl.sim.network import End, Network
from liqctl.sim.process import Process
from liqctl.sim.serving import LOST, RESET, SILENT, Fate, Reply, serve_node

HOST = "127.0.0.11"
PORT = 8899
URL = f"http://{HOST}:{PORT}"
WS_URL = f"ws://{HOST}:{PORT + 1}"
HOT, COLD = "getMultipleAccounts", "getProgramAccounts"


class OneSession:
    """A WebSocket that grants every subscription."""

    def __init__(self, node, send):
        self.node = node
        self.send = send
        self.asked: list[str] = []
        node.sessions.append(self)

    def receive(self, text):
        request = msgspec.json.decode(text)
        self.asked.append(request["method"])
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": len(self.asked)}
        self.send(msgspec.json.encode(answer))

    def slot(self, slot):
        result = {"slot": slot, "parent": slot - 1, "root": slot - 32}
        self.notify("slotNotification", 1, result)

    def notify(self, method, subscription, result):
        params = {"subscription": subscription, "result": result}
        self.send(msgspec.json.encode({"jsonrpc": "2.0", "method": method, "params": params}))

    def close(self):
        self.node.sessions.remove(self)


class OneNode:
    """A node that answers every method with its name, after the replies that were put first."""

    def __init__(self, network):
        self.network = network
        self.sessions: list[OneSession] = []
        self.first: list[Reply] = []
        self.calls: list[tuple[float, str, str]] = []

    def handle(self, body, method):
        request = msgspec.json.decode(body)
        assert method == "POST"
        now_s = self.network.loop.time()
        self.calls.append((now_s, self.network.caller, request["method"]))
        if self.first:
            return self.first.pop(0)
        answer = {"jsonrpc": "2.0", "id": request["id"], "result": request["method"]}
        return Reply(body=msgspec.json.encode(answer), delay_s=0.002)

    def open_session(self, send):
        return OneSession(self, send)


class Stage:
    """A loop, a network and one node on it."""

    def __init__(self, seed):
        self.loop = VirtualLoop(seed)
        self.network = Network(self.loop, SystemRng(seed))
        self.node = OneNode(self.network)
        self.link = self.network.link("keeper", HOST)
        self.clock = SimClock(self.loop, 1_700_000_000_000)
        self.rng = SystemRng(seed)
        serve_node(self.network, HOST, PORT, self.node)

    def rpc(self):
        return HttpRpc(URL, self.clock, self.rng)

    def run(self, coroutine, seconds=300.0, process=None):
        task = self.loop.spawn(process or Process("keeper"), coroutine)
        self.loop.run_until_complete(asyncio.sleep(seconds))
        return task.result()

    def call(self, *methods):
        async def calls():
            async with self.rpc() as rpc:
                return [await rpc.call(method, []) for method in methods]

        return self.run(calls())


@pytest.fixture
def stage():
    stage = Stage(7)
    yield stage
    stage.loop.close()
    assert stage.loop.unhandled == []


@pytest.mark.parametrize(("method", "connections"), [(HOT, 0), (COLD, 1)])
def test_both_ways_of_the_rpc_client_reach_the_node(stage, method, connections):
    async def calls():
        async with stage.rpc() as rpc:
            answers = [await rpc.call(method, []) for _ in range(20)]
            return answers, len(rpc._client._transport._pool.connections)

    answers, general = stage.run(calls())

    assert answers == [method] * 20
    assert general == connections
    assert {caller for _, caller, _ in stage.node.calls} == {"keeper"}
    assert stage.node.calls[-1][0] < 0.5


def test_calls_at_once_take_connections_of_their_own(stage):
    async def calls():
        async with stage.rpc() as rpc, asyncio.TaskGroup() as tasks:
            for method in (HOT, COLD) * 10:
                tasks.create_task(rpc.call(method, []))

    stage.link.latency_ms = (1, 50)
    stage.run(calls())

    assert len(stage.node.calls) == 20


def test_a_large_answer_arrives_whole(stage):
    body = msgspec.json.encode({"jsonrpc": "2.0", "id": 1, "result": "x" * 1_000_000})
    stage.link.split_rate = 1.0
    stage.node.first = [Reply(body=body)]

    assert stage.call(HOT) == ["x" * 1_000_000]


def test_a_node_that_hung_up_on_idle_connections_costs_no_failed_call(stage):
    async def calls():
        async with stage.rpc() as rpc:
            for method in (HOT, COLD):
                await rpc.call(method, [])
            for end in [each for each in stage.loop.world.pipes if isinstance(each, End)]:
                end.close()
            await asyncio.sleep(1)
            for method in (HOT, COLD):
                await rpc.call(method, [])
            return rpc.counts.errors

    assert stage.run(calls()) == 0


def test_a_node_that_asks_for_a_pause_gets_it_in_virtual_time(stage):
    stage.node.first = [Reply(status=429, headers=(("retry-after", "3"),), body=b"slow down")]

    assert stage.call(COLD) == [COLD]
    first, second = (at for at, _, _ in stage.node.calls)
    assert 3.0 <= second - first < 3.1


@pytest.mark.parametrize(
    ("given_up_s", "stopped_s", "heard"),
    [(9.0, 0.0, ["keeper"]), (9.0, 5.0, ["keeper"]), (0.5, 0.0, []), (3.0, 5.0, [])],
)
def test_an_answer_is_heard_by_a_client_that_still_listens(stage, given_up_s, stopped_s, heard):
    came: list[str] = []
    process = Process("keeper")

    def note():
        came.append(stage.loop.current.name)

    async def call():
        async with stage.rpc() as rpc:
            with contextlib.suppress(RpcError, TimeoutError):
                async with asyncio.timeout(given_up_s):
                    await rpc.once(HOT, [])
            await asyncio.sleep(1.0)

    stage.node.first = [Reply(status=429, delay_s=1.0, heard=note)]
    if stopped_s:
        stage.loop.call_later(0.25, process.pause, stopped_s)
    stage.run(call(), process=process)

    assert came == heard


def test_only_what_comes_after_a_pause_was_heard_is_impatient():
    log = DoorLog()
    log.asked("keeper", "node0", 1.0)
    log.asked_pause("keeper", "node0", 1.0, 2.0)
    for at_s in (1.01, 1.2, 2.9, 3.0, 3.5):
        log.asked("keeper", "node0", at_s)
    log.asked("keeper", "node1", 1.2)
    assert [at_s for at_s, *_ in log.impatient] == [1.2, 2.9]

    log.asked_pause("keeper", "node0", 4.0, 2.0)
    log.born("keeper")
    log.asked("keeper", "node0", 5.0)
    assert len(log.impatient) == 2


@pytest.mark.parametrize(
    ("reply", "after_s"),
    [
        (RESET, 0.0),
        (LOST, 0.0),
        (Reply(fate=Fate.DROPPED, delay_s=2.0), 2.0),
        (SILENT, 10.0),
    ],
)
def test_a_write_whose_answer_is_lost_happened_once_and_counts_as_unreachable(
    stage, reply, after_s
):
    stage.node.first = [reply]

    async def send():
        async with stage.rpc() as rpc:
            with pytest.raises(RpcUnreachable):
                await rpc.call("sendTransaction", ["raw"])
        return stage.loop.time()

    ended_s = stage.run(send())

    assert len(stage.node.calls) == 1
    assert after_s <= ended_s < after_s + 0.1


def test_a_refused_link_is_unreachable_and_heals(stage):
    stage.link.refuse = True

    with pytest.raises(RpcUnreachable):
        stage.call("sendTransaction")
    assert stage.node.calls == []

    stage.link.refuse = False
    assert stage.call("sendTransaction") == ["sendTransaction"]


async def follow(stage, items):
    await Subscriptions(WS_URL, stage.clock, stage.rng).run(items.append)


async def slots(stage, seconds):
    """Send a slot to every session each second."""
    for slot in range(seconds):
        for session in list(stage.node.sessions):
            session.slot(slot)
        await asyncio.sleep(1)


def kinds(items):
    """Return the kinds of items in their order, repeats left out."""
    names = [type(item).__name__ for item in items]
    return [name for name, before in zip(names, ["", *names], strict=False) if name != before]


def test_the_product_stream_gets_every_slot_in_order(stage):
    items: list[object] = []
    stage.loop.spawn(Process("keeper"), follow(stage, items))

    stage.loop.run_until_complete(slots(stage, 60))

    assert kinds(items) == ["StreamUp", "SlotNotice"]
    assert [item.slot for item in items if isinstance(item, SlotNotice)] == list(range(1, 60))


def test_a_half_open_stream_is_noticed_by_its_silence_and_comes_back(stage):
    items: list[object] = []
    stage.loop.spawn(Process("keeper"), follow(stage, items))
    stage.loop.call_later(20.5, setattr, stage.link, "mute", True)
    stage.loop.call_later(60, setattr, stage.link, "mute", False)

    stage.loop.run_until_complete(slots(stage, 120))

    assert kinds(items) == ["StreamUp", "SlotNotice", "StreamDown", "StreamUp", "SlotNotice"]
    downs = [item.reason for item in items if isinstance(item, StreamDown)]
    assert downs[0] == "nothing came for 10 s"
    assert downs[1] == "no connection within 10 s"
    assert len(stage.node.sessions) == 1


def test_a_reset_stream_comes_back_and_the_node_forgets_the_old_one(stage):
    items: list[object] = []
    stage.loop.spawn(Process("keeper"), follow(stage, items))
    stage.loop.call_later(20.5, setattr, stage.link, "reset_rate", 1.0)
    stage.loop.call_later(21.5, setattr, stage.link, "reset_rate", 0.0)

    stage.loop.run_until_complete(slots(stage, 60))

    assert kinds(items)[:3] == ["StreamUp", "SlotNotice", "StreamDown"]
    assert kinds(items)[-2:] == ["StreamUp", "SlotNotice"]
    assert sum(isinstance(item, StreamUp) for item in items) == 2
    assert len(stage.node.sessions) == 1


def test_garbage_does_not_end_the_product_stream(stage):
    items: list[object] = []
    stage.loop.spawn(Process("keeper"), follow(stage, items))
    stage.loop.call_later(5, lambda: stage.node.sessions[0].send(b"\xff not json"))

    stage.loop.run_until_complete(slots(stage, 20))

    assert kinds(items) == ["StreamUp", "SlotNotice"]
    assert len(stage.node.sessions) == 1


def test_the_sessions_of_a_killed_process_end(stage):
    process = Process("keeper")
    items: list[object] = []
    stage.loop.spawn(process, follow(stage, items))
    stage.loop.call_later(5, process.kill)

    stage.loop.run_until_complete(slots(stage, 20))

    assert stage.node.sessions == []
    assert kinds(items) == ["StreamUp", "SlotNotice"]


async def call_twice(stage, method):
    async with stage.rpc() as rpc:
        for _ in range(2):
            await rpc.call(method, [])


@pytest.mark.usefixtures("small_heap")
@pytest.mark.parametrize(
    "program",
    [
        lambda stage: call_twice(stage, HOT),
        lambda stage: call_twice(stage, COLD),
        lambda stage: follow(stage, []),
    ],
    ids=["hot", "cold", "stream"],
)
def test_a_process_killed_anywhere_in_its_transport_ends_without_a_complaint(program):
    dead = True
    killed_at = 0
    while dead and killed_at < 60:
        killed_at += 1
        stage, process = Stage(7), Process("keeper")
        process.kill_after_steps(killed_at)
        stage.loop.spawn(process, program(stage))
        stage.loop.run_until_complete(slots(stage, 3))
        dead = process.dead
        assert not dead or stage.network.connections("keeper", HOST) == []
        stage.loop.close()
        gc.collect()
        assert stage.loop.unhandled == []
    assert killed_at > 5


async def worker(stage, rpc, number):
    for _ in range(10):
        with contextlib.suppress(RpcError):
            await rpc.call((HOT, COLD, "sendTransaction")[number % 3], [])
        await stage.clock.sleep(0.5 + stage.rng.random())


async def life(stage, items):
    loop = asyncio.get_running_loop()
    async with stage.rpc() as rpc:
        for _ in range(5):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(6), asyncio.TaskGroup() as tasks:
                    tasks.create_task(follow(stage, items))
                    for number in range(7):
                        tasks.create_task(worker(stage, rpc, number))
            await loop.run_in_executor(None, items.append, "stored")


def hash_of(seed):
    """Return the trace hash of two keepers under faults, one of which dies."""
    stage = Stage(seed)
    stage.link.reset_rate = 0.05
    stage.node.first = [RESET, LOST, SILENT, Reply(status=429)] * 5
    items: list[object] = []
    keeper = Process("keeper")
    keeper.kill_after_steps(900)
    stage.loop.spawn(keeper, life(stage, items))
    stage.loop.spawn(Process("other"), life(stage, items))
    stage.loop.run_until_complete(slots(stage, 60))
    seen = f"{stage.loop.trace_hash()} {stage.loop.steps} {len(stage.node.calls)} {keeper.dead}"
    stage.loop.close()
    return seen


def test_a_seed_takes_the_same_steps_in_every_process_whatever_its_hash_seed():
    here = Path(__file__)
    code = f"from tests.sim.{here.stem} import hash_of; print(hash_of(1), '/', hash_of(2))"

    def elsewhere(hash_seed):
        return subprocess.run(
            [sys.executable, "-c", code],
            cwd=here.parents[2],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    first, second = elsewhere("1"), elsewhere("4711")

    assert first == second == f"{hash_of(1)} / {hash_of(2)}"
    one, two = first.split(" / ")
    assert one != two
    assert one.endswith("True")
