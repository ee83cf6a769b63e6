"""5,133 jobs of a job queue stood as running for up to 91 days; whoever should rescue them was silent.

The workers had died, and the part that gives back the work of dead workers had stopped as well,
which nobody noticed because nothing watched it.
Source: riverqueue/river#1258.

Here what a dead keeper left is taken up by any other as soon as its lease has ended, and the part
that does so cannot stop alone: its end is the end of the keeper.
"""

import asyncio

import pytest

from liqctl.errors import InvariantError, StoreBusy
from tests.keeper.stage import Stage, execute, until


@pytest.fixture
def quick_rescue(monkeypatch):
    monkeypatch.setattr("liqctl.keeper.settle.RESCUE_MS", 20)


async def abandoned(stage: Stage) -> None:
    """Leave an attempt behind, as a keeper does that is killed right after its send."""
    keeper = stage.keeper()
    await keeper.start()
    await execute(keeper)
    stage.ticks(6)


async def test_what_a_dead_keeper_left_is_finished_by_one_that_was_running_already(
    stage, quick_rescue
):
    heir = stage.keeper(settle_ms=10)
    await heir.start()
    settling = asyncio.create_task(heir.settler.run())
    await abandoned(stage)
    await asyncio.sleep(0.1)
    assert stage.rows("SELECT state FROM attempt") == [("SENT",)]

    stage.lapse()

    await until(lambda: stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)])
    await until(lambda: not heir.settler.positions())
    assert stage.rows("SELECT COUNT(*) FROM liquidations") == [(1,)]
    settling.cancel()


async def test_a_rescue_that_fails_for_a_while_is_tried_again(stage, quick_rescue, monkeypatch):
    heir = stage.keeper(settle_ms=10)
    await heir.start()
    store = heir._context.store.store
    await abandoned(stage)
    stage.lapse()
    working, failures = store.live_attempts, []

    def locked(*venue):
        failures.append(1)
        if len(failures) > 3:
            return working(*venue)
        raise StoreBusy

    monkeypatch.setattr(store, "live_attempts", locked)
    settling = asyncio.create_task(heir.settler.run())

    await until(lambda: stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)])
    assert heir.settler.counts["store_errors"] == 3
    settling.cancel()


async def test_a_rescuer_that_stops_takes_the_keeper_down(stage, quick_rescue, monkeypatch):
    keeper = stage.keeper(settle_ms=10)

    async def stop():
        raise ZeroDivisionError

    monkeypatch.setattr(keeper.settler, "_rescue", stop)

    with pytest.raises(BaseExceptionGroup) as raised:
        async with asyncio.timeout(5):
            await keeper.run(asyncio.Event())

    assert raised.group_contains((ZeroDivisionError, InvariantError))
