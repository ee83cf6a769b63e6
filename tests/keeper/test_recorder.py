"""What the recorder writes: everything, in order, once, within bounds, and in time at the end."""

import asyncio
import json
import time
from typing import Any

import pytest

from liqctl.core.engine import Engine
from liqctl.core.events import Cause, Dequeued, FundMoved, Notice, OutcomeSeen, PriceMoved, Result
from liqctl.core.insurance import InsuranceState
from liqctl.errors import StoreBusy
from liqctl.keeper.context import Context
from liqctl.keeper.metrics import Vitals
from liqctl.keeper.recorder import PENDING_MAX, Recorder
from tests.keeper.stage import Stage, until


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path, positions=3)
    yield made
    await made.close()


@pytest.fixture
async def recorder(stage):
    keeper = stage.keeper()
    return made(keeper._context, keeper.engine)


def made(context: Context, engine: Engine) -> Recorder:
    return Recorder(context, engine, lambda: "{}", Vitals(0))


def removed(*positions: str) -> list[Notice]:
    return [Dequeued(position=position, reason="recovered") for position in positions]


def fund(balance: int, *, slot: int = 5) -> list[Notice]:
    state = InsuranceState(
        address="fund",
        balance=balance,
        bad_debt_covered=1,
        bad_debt_uncovered=2,
        liquidation_count=3,
        mint="mint",
        vault="vault",
    )
    return [FundMoved(fund=state, slot=slot)]


def written(stage: Stage) -> list[str]:
    """The positions of the queue events, in the order of the stream."""
    rows = stage.rows("SELECT body_json FROM events WHERE kind = 'queue' ORDER BY seq")
    return [json.loads(body)["position_id"] for (body,) in rows]


async def test_events_are_written_in_order_and_once(stage, recorder):
    recorder.note(removed("a", "b"))
    recorder.note(removed("c"))
    await recorder.flush()
    await recorder.flush()

    assert written(stage) == ["a", "b", "c"]


async def test_a_store_that_fails_half_way_loses_nothing_and_writes_nothing_twice(
    stage, recorder, monkeypatch
):
    store = recorder._store.store
    append, calls = store.append_event, []

    def sometimes(*given: Any) -> int:
        calls.append(given)
        if len(calls) == 2:
            raise StoreBusy
        return int(append(*given))

    monkeypatch.setattr(store, "append_event", sometimes)
    recorder.note(removed("a", "b", "c"))
    for _ in range(2):
        await recorder.flush()

    assert written(stage) == ["a", "b", "c"]
    assert recorder.counts["store_errors"] == 1


async def test_what_cannot_be_written_is_kept_up_to_a_bound_and_the_rest_is_counted(
    stage, recorder, monkeypatch
):
    def locked(*_: Any) -> int:
        raise StoreBusy

    store = recorder._store.store
    with monkeypatch.context() as patch:
        patch.setattr(store, "append_event", locked)
        recorder.note(removed(*(f"p{n}" for n in range(PENDING_MAX + 3))))
        await recorder.flush()
        recorder.note(removed("last"))
        await recorder.flush()

    assert recorder.counts["events_dropped"] == 4
    assert len(recorder._events) == PENDING_MAX


async def test_an_event_that_comes_while_a_full_buffer_is_written_pushes_out_no_unwritten_one(
    stage, recorder, monkeypatch
):
    monkeypatch.setattr("liqctl.keeper.recorder.PENDING_MAX", 3)
    small = made(stage.contexts[0], recorder._engine)
    store = small._store.store
    append = store.append_event
    begun: list[int] = []

    def slow(*given: Any) -> int:
        begun.append(1)
        time.sleep(0.05)
        return int(append(*given))

    monkeypatch.setattr(store, "append_event", slow)
    small.note(removed("a", "b", "c"))
    flushing = asyncio.create_task(small.flush())
    await until(lambda: begun)
    small.note(removed("d"))
    await flushing

    assert written(stage) == ["a", "b", "c", "d"]
    assert small.counts["events_dropped"] == 0


@pytest.mark.parametrize("failures", [0, 1])
async def test_an_end_in_the_middle_of_a_write_neither_loses_nor_repeats(
    stage, recorder, monkeypatch, failures
):
    monkeypatch.setattr("liqctl.keeper.recorder.FLUSH_S", 0.01)
    store = recorder._store.store
    append, begun, left = store.append_event, asyncio.Event(), [failures]
    loop = asyncio.get_running_loop()

    def slow(*given: Any) -> int:
        loop.call_soon_threadsafe(begun.set)
        time.sleep(0.05)
        if left[0]:
            left[0] -= 1
            raise StoreBusy
        return int(append(*given))

    monkeypatch.setattr(store, "append_event", slow)
    recorder.note(removed("a", "b"))
    running = asyncio.create_task(recorder.run())
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await recorder.end(5)

    assert written(stage) == ["a", "b"]


async def test_what_has_gathered_is_written_before_the_state_is_due(stage, recorder, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.recorder.FLUSH_S", 0.01)
    recorder._stated_ns = 2**62
    running = asyncio.create_task(recorder.run())
    recorder.note(removed("a"))
    await until(lambda: written(stage) == ["a"])
    assert stage.rows("SELECT COUNT(*) FROM state") == [(0,)]

    queue = recorder._engine.queue
    queue.put("b", health=0.5, size=1, now_ms=1)
    queue.take(1)
    await until(lambda: written(stage) == ["a", "b"])
    running.cancel()
    await recorder.end(5)


async def test_the_end_takes_no_longer_than_it_may(stage, recorder, monkeypatch):
    append = recorder._store.store.append_event

    def slow(*given: Any) -> int:
        time.sleep(0.02)
        return int(append(*given))

    monkeypatch.setattr(recorder._store.store, "append_event", slow)
    recorder.note(removed(*(f"p{n}" for n in range(500))))

    started = time.monotonic()
    await recorder.end(0.2)

    assert time.monotonic() - started < 1
    assert 0 < len(written(stage)) < 500


async def test_prices_make_at_most_one_event_a_second_but_a_refusal_always_does(stage, recorder):
    recorder.note([moved(1), moved(2), moved(0, "price_stale"), moved(3)])
    await recorder.flush()

    assert prices(stage) == [(1, None), (None, "price_stale")]


async def test_the_last_price_of_a_rush_is_told_when_its_second_is_over(
    stage, recorder, monkeypatch
):
    recorder.note([moved(1), moved(2), moved(3)])
    await recorder.flush()
    assert prices(stage) == [(1, None)]

    steady = recorder._context.steady
    later_ms = steady.ms() + 1_000
    monkeypatch.setattr(steady, "ms", lambda: later_ms)
    await recorder.flush()
    await recorder.flush()

    assert prices(stage) == [(1, None), (3, None)]


async def test_a_clock_that_is_set_back_holds_no_price_up(stage, recorder, monkeypatch):
    recorder.note([moved(1)])
    steady, clock = recorder._context.steady, recorder._clock
    later_ms, earlier_ms = steady.ms() + 1_000, clock.unix_ms() - 3_600_000
    monkeypatch.setattr(steady, "ms", lambda: later_ms)
    monkeypatch.setattr(clock, "unix_ms", lambda: earlier_ms)
    recorder.note([moved(2)])
    await recorder.flush()

    assert prices(stage) == [(1, None), (2, None)]


def moved(price_e6: int, refusal: str | None = None) -> Notice:
    return PriceMoved(market="m", symbol="SOL", price_e6=price_e6, slot=1, refusal=refusal)


def prices(stage: Stage) -> list[tuple[int | None, str | None]]:
    rows = stage.rows("SELECT body_json FROM events WHERE kind = 'price_update' ORDER BY seq")
    told = [json.loads(body) for (body,) in rows]
    assert all(each["venue"] == "reference" and each["symbol"] == "SOL" for each in told)
    return [(each["price"], each["refusal"]) for each in told]


async def test_the_fund_is_told_when_it_changes_and_kept_at_every_interval(stage, recorder):
    recorder.sample_fund()
    recorder.note(fund(100))
    recorder.note(fund(100, slot=6))
    recorder.sample_fund()
    recorder.note(fund(90, slot=7))
    recorder.sample_fund()
    await recorder.flush()

    events = stage.rows("SELECT body_json FROM events WHERE kind = 'insurance_fund' ORDER BY seq")
    assert [json.loads(body)["balance"] for (body,) in events] == [100, 90]
    samples = stage.rows("SELECT balance, slot FROM insurance_balance ORDER BY id")
    assert samples == [(100, 5), (100, 6), (90, 7), (90, 7)]


async def test_only_a_failure_before_the_send_becomes_a_row_here(stage, recorder):
    for result, reason in (
        (Result.FAILED, "rpcunreachable:no connection"),
        (Result.REFUSED, "cost_over_hour_cap"),
        (Result.RECOVERED, "healthy"),
        (Result.GONE, "gone"),
    ):
        recorder.note_outcome(OutcomeSeen(position="p", result=result, reason=reason), "SOL")
    await recorder.flush()

    rows = stage.rows("SELECT failure_class, detail, signature FROM failed_liquidations")
    assert rows == [("rpcunreachable", "no connection", None)]
    assert recorder.counts["refused_cost_over_hour_cap"] == 1


async def test_what_the_database_kept_from_being_tried_is_no_failed_liquidation(stage):
    keeper = stage.keeper()
    for cause in (Cause.STORE, Cause.STORE, Cause.RPC):
        outcome = OutcomeSeen(position="p", result=Result.FAILED, cause=cause, reason="why:so")
        keeper.recorder.note_outcome(outcome, "SOL")

    await keeper.recorder.flush()

    assert keeper.status().failed == 1
    assert stage.rows("SELECT COUNT(*) FROM failed_liquidations") == [(3,)]
