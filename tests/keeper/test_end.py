"""The end of the daemon while another program keeps the database locked."""

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest

from liqctl.core.guards import Limits
from liqctl.core.queue import Pacing
from liqctl.keeper.feeds import Intervals
from tests.keeper.stage import Stage, until

BUSY_S = 0.4
QUICK = {
    "intervals": Intervals(check_ms=40, cache_ms=0),
    "pacing": Pacing(backoff_ms=20, backoff_ms_max=40),
    "limits": Limits(in_flight_max=8),
    "settle_ms": 15,
}


@pytest.fixture
async def stage(tmp_path, monkeypatch):
    monkeypatch.setattr("liqctl.store.open.BUSY_TIMEOUT_MS", int(BUSY_S * 1_000))
    monkeypatch.setattr("liqctl.keeper.service.WORKERS_S_MAX", BUSY_S / 2)
    made = Stage(tmp_path)
    yield made
    await made.close()


@pytest.mark.parametrize("moment", ["attempts in the air", "decisions under way"])
async def test_a_locked_database_holds_up_the_end_once_and_not_once_for_every_row(stage, moment):
    keeper = stage.keeper(**QUICK)
    stop = asyncio.Event()
    with closing(sqlite3.connect(stage.place / "k.db")) as other:
        daemon = asyncio.create_task(keeper.run(stop))
        if moment == "attempts in the air":
            await until(lambda: len(keeper.settler.positions()) == 4)
            other.execute("BEGIN IMMEDIATE")
            stage.ticks(40)
        else:
            other.execute("BEGIN IMMEDIATE")
            await until(keeper.in_flight)
        await asyncio.sleep(0.05)

        stop.set()
        started = time.monotonic()
        await daemon
        await keeper._context.store.close()
        stage.contexts.clear()

        assert time.monotonic() - started < 3 * BUSY_S
        other.rollback()
    assert len(set(stage.rpc.sent())) == len(stage.rows("SELECT 1 FROM attempt"))


async def test_a_node_that_hangs_at_the_start_does_not_hold_up_the_end(stage, monkeypatch):
    keeper = stage.keeper(**QUICK)
    stop = asyncio.Event()
    hanging = asyncio.Event()

    async def hang():
        hanging.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(keeper.feeds, "load", hang)
    daemon = asyncio.create_task(keeper.run(stop))
    await hanging.wait()
    stop.set()

    async with asyncio.timeout(2):
        await daemon


@pytest.mark.parametrize("hangs", [True, False])
async def test_the_database_is_told_that_the_end_has_come(stage, monkeypatch, hangs):
    keeper = stage.keeper(**QUICK)
    stop, begun, told = asyncio.Event(), asyncio.Event(), asyncio.Event()
    really = keeper.feeds.load

    async def load():
        begun.set()
        await (asyncio.sleep(60) if hangs else really())

    monkeypatch.setattr(keeper.feeds, "load", load)
    monkeypatch.setattr(keeper._context.store.store, "hurry", told.set)
    daemon = asyncio.create_task(keeper.run(stop))
    await begun.wait()
    if not hangs:
        await until(lambda: keeper.started_slot)
    assert not told.is_set()

    stop.set()
    async with asyncio.timeout(5):
        await daemon

    assert told.is_set()
