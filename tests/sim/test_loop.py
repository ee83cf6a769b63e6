import asyncio
import contextlib
import gc
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from liqctl.errors import InvariantError
from liqctl.sim.clock import SimClock
from liqctl.sim.loop import Deadlock, Livelock, VirtualLoop
from liqctl.sim.process import Process


@pytest.fixture
def loop():
    loop = VirtualLoop(7)
    yield loop
    loop.close()


class Ledger:
    """A store of one list; every call is recorded as it is carried out."""

    def __init__(self):
        self.rows: list[str] = []

    def append(self, row):
        self.rows.append(row)
        return len(self.rows)


async def wait_for_ever():
    await asyncio.Event().wait()


def test_an_hour_of_waiting_ends_at_the_exact_virtual_second(loop):
    loop.run_until_complete(asyncio.sleep(3600))

    assert loop.time() == 3600.0


def test_equal_deadlines_keep_the_order_of_the_calls(loop):
    seen: list[object] = []
    for number in range(50):
        loop.call_at(1.0, seen.append, number)

    loop.run_until_complete(asyncio.sleep(2))

    assert seen == list(range(50))


def test_a_cancelled_timer_does_not_move_the_time(loop):
    loop.call_later(5, pytest.fail).cancel()

    loop.run_until_complete(asyncio.sleep(1))

    with pytest.raises(Deadlock):
        loop.run_until_complete(wait_for_ever())
    assert loop.time() == 1.0


def test_waiting_for_what_nobody_scheduled_is_a_deadlock(loop):
    with pytest.raises(Deadlock, match=r"0\.000 s"):
        loop.run_until_complete(wait_for_ever())


def test_work_without_end_is_a_livelock():
    loop = VirtualLoop(7, steps_max=1000)

    def spin():
        loop.call_soon(spin)

    spin()
    with pytest.raises(Livelock, match="1000 steps"):
        loop.run_until_complete(wait_for_ever())
    loop.close()


def test_an_executor_call_takes_virtual_time_and_returns_its_result(loop):
    ledger = Ledger()

    result = loop.run_until_complete(loop.run_in_executor(None, ledger.append, "a"))

    assert result == 1
    assert 0.0001 <= loop.time() <= 0.003


def test_one_executor_takes_its_calls_in_their_order_whatever_each_takes(loop):
    ledger = Ledger()
    delays = iter([0.5, 0.001, 0.2])
    loop.store_delay = lambda: next(delays)
    thread = ThreadPoolExecutor(max_workers=1)

    async def three():
        calls = [loop.run_in_executor(thread, ledger.append, row) for row in "abc"]
        return [await call for call in calls]

    assert loop.run_until_complete(three()) == [1, 2, 3]
    assert ledger.rows == ["a", "b", "c"]
    assert loop.time() == pytest.approx(0.701)


@pytest.mark.parametrize("kind", [ValueError, InvariantError])
def test_what_an_executor_call_raises_reaches_its_caller(loop, kind):
    def fail():
        raise kind("no")

    with pytest.raises(kind):
        loop.run_until_complete(loop.run_in_executor(None, fail))


def test_a_clock_that_is_wrong_still_waits_right(loop):
    clock = SimClock(loop, 1_700_000_000_000, offset_ms=-3_600_000)

    loop.run_until_complete(clock.sleep(1.5))

    assert clock.unix_ms() == 1_700_000_000_000 - 3_600_000 + 1_500
    assert clock.monotonic_ns() == 1_500_000_000
    clock.offset_ms = 0
    assert clock.unix_ms() == 1_700_000_001_500


async def busy(ledger, thread, seen):
    """A workload of every kind of waiting; it says "finally" when it is unwound."""
    loop = asyncio.get_running_loop()
    lock = asyncio.Lock()

    async def ticker():
        for _ in range(3):
            async with lock:
                await asyncio.sleep(0.1)

    async def numbers():
        try:
            for number in range(3):
                await asyncio.sleep(0.05)
                yield number
        finally:
            seen.append("finally")

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(ticker())
            tasks.create_task(ticker())
            for row in "abc":
                await loop.run_in_executor(thread, partial(ledger.append, row))
                seen.append(row)
        async for number in numbers():
            seen.append(number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await wait_for_ever()
        seen.append("end")
    finally:
        seen.append("finally")


def lived(steps=None):
    """Run the workload, killed instead of a step or not at all; return what is left of it."""
    loop = VirtualLoop(7)
    process, ledger = Process("keeper"), Ledger()
    seen: list[object] = []
    if steps is not None:
        process.kill_after_steps(steps)
    loop.spawn(process, busy(ledger, ThreadPoolExecutor(max_workers=1), seen))
    loop.run_until_complete(asyncio.sleep(10))
    gc.collect()
    left = (process.steps, list(ledger.rows), list(seen), list(loop.unhandled))
    loop.close()
    return left


@pytest.mark.usefixtures("small_heap")
def test_a_process_killed_at_any_step_leaves_what_it_did_before_and_unwinds_nothing():
    steps, rows, seen, unhandled = lived()
    assert seen == ["a", "b", "c", 0, 1, 2, "finally", "end", "finally"]
    assert (rows, unhandled) == (["a", "b", "c"], [])

    for killed_at in range(1, steps + 1):
        left_steps, left_rows, left_seen, left_unhandled = lived(killed_at)

        assert left_steps == killed_at - 1
        assert left_rows == rows[: len(left_rows)]
        assert left_seen == seen[: len(left_seen)]
        assert left_seen.count("finally") <= (2 in left_seen)
        assert len(left_rows) - sum(row in rows for row in left_seen) in {0, 1}
        assert left_unhandled == []


def test_an_abandoned_generator_is_closed_by_its_own_process_and_by_nobody_after_its_death(loop):
    process = Process("keeper")
    seen: list[object] = []
    held = []

    async def numbers():
        try:
            while True:
                yield 1
        finally:
            seen.append(loop.current.name)

    async def begin():
        first, second = numbers(), numbers()
        held.append(second)
        await anext(first)
        await anext(second)

    loop.run_until_complete(loop.spawn(process, begin()))
    loop.run_until_complete(asyncio.sleep(1))
    assert seen == ["keeper"]

    process.kill()
    held.clear()
    loop.run_until_complete(asyncio.sleep(1))
    assert seen == ["keeper"]


@pytest.mark.parametrize(("point", "rows"), [("before_store", ["a"]), ("after_store", ["a", "b"])])
def test_a_crash_beside_a_store_call_decides_whether_it_happened_and_hides_that_it_did(
    loop, point, rows
):
    process, ledger = Process("keeper"), Ledger()
    seen: list[object] = []
    asked = []

    def crash_at(now, name):
        asked.append((now, name))
        return now == point and ledger.rows[:1] == ["a"] and len(asked) > 2

    process.crash_at = crash_at
    loop.spawn(process, busy(ledger, ThreadPoolExecutor(max_workers=1), seen))
    loop.run_until_complete(asyncio.sleep(10))

    assert asked[-1] == (point, "append")
    assert ledger.rows == rows
    assert seen == ["a"]
    assert process.dead


def test_a_stopped_process_takes_up_in_order_what_fell_due(loop):
    process = Process("keeper")
    seen: list[object] = []

    async def count():
        for number in range(5):
            await asyncio.sleep(1)
            seen.append((number, loop.time()))

    async def other():
        await asyncio.sleep(2.5)
        seen.append(("other", loop.time()))

    loop.spawn(process, count())
    loop.spawn(process, other())
    loop.call_later(1.5, process.pause, 60)
    loop.run_until_complete(asyncio.sleep(100))

    assert seen == [(0, 1.0), (1, 61.5), ("other", 61.5), (2, 62.5), (3, 63.5), (4, 64.5)]


def test_a_process_stopped_again_sleeps_until_the_later_end(loop):
    process = Process("keeper")
    loop.spawn(process, asyncio.sleep(1))
    loop.call_later(0.5, process.pause, 60)
    loop.call_later(30.5, process.pause, 60)

    loop.run_until_complete(asyncio.sleep(89))
    assert process.paused
    loop.run_until_complete(asyncio.sleep(2))
    assert not process.paused


def test_the_timers_of_a_dead_process_hide_no_deadlock(loop):
    process = Process("keeper")
    loop.spawn(process, asyncio.sleep(3600))
    loop.call_later(1, process.kill)

    with pytest.raises(Deadlock, match=r"1\.000 s"):
        loop.run_until_complete(wait_for_ever())


def test_a_process_killed_while_stopped_does_not_wake(loop):
    process = Process("keeper")
    seen: list[object] = []

    async def count():
        await asyncio.sleep(1)
        seen.append("woke")

    loop.spawn(process, count())
    loop.call_later(0.5, process.pause, 60)
    loop.call_later(10, process.kill)
    loop.run_until_complete(asyncio.sleep(100))

    assert seen == []


def test_a_signal_reaches_the_process_that_asked_for_it_and_kills_one_that_did_not(loop):
    polite, rude = Process("polite"), Process("rude")
    seen: list[object] = []

    async def stop_on_signal():
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        seen.append(loop.current.name)

    loop.spawn(polite, stop_on_signal())
    loop.spawn(rude, wait_for_ever())
    loop.call_later(1, polite.signal, signal.SIGTERM)
    loop.call_later(1, rude.signal, signal.SIGTERM)
    loop.run_until_complete(asyncio.sleep(2))

    assert seen == ["polite"]
    assert (polite.dead, rude.dead) == (False, True)


def test_the_world_learns_of_a_death_at_once_and_outside_of_the_process(loop):
    process = Process("keeper")
    seen: list[object] = []
    process.at_death.append(lambda: seen.append((loop.current.name, loop.time())))
    process.crash_at = lambda *_: True

    async def store():
        await loop.run_in_executor(None, Ledger().append, "a")

    loop.store_delay = lambda: 0.25
    loop.spawn(process, store())
    loop.run_until_complete(asyncio.sleep(1))

    assert seen == [("world", 0.25)]


def test_what_a_task_starts_belongs_to_its_process(loop):
    process = Process("keeper")
    seen: list[object] = []

    async def leaf():
        await asyncio.sleep(5)
        seen.append("leaf")

    async def root():
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(leaf())

    loop.spawn(process, root())
    loop.call_later(1, process.kill)
    loop.run_until_complete(asyncio.sleep(10))

    assert seen == []


def test_the_trace_tells_seeds_notes_and_kills_apart():
    def hash_of(seed, *notes, killed=False):
        loop = VirtualLoop(seed)
        process = Process("keeper")
        loop.spawn(process, busy(Ledger(), None, []))
        if killed:
            loop.call_later(0.05, process.kill)
        for note in notes:
            loop.note(note)
        loop.run_until_complete(asyncio.sleep(1))
        loop.close()
        return loop.trace_hash()

    assert hash_of(1) == hash_of(1)
    assert len({hash_of(1), hash_of(2), hash_of(1, "a"), hash_of(1, killed=True)}) == 4


def test_what_nobody_handled_is_kept_with_its_error(loop):
    def fail():
        raise ValueError("no")

    loop.call_soon(fail)
    loop.run_until_complete(asyncio.sleep(1))

    assert [type(each["exception"]) for each in loop.unhandled] == [ValueError]
