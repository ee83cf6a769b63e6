"""Many attempts in the air at once: trouble with one of them holds up no other."""

import asyncio
from typing import Any

import pytest

from liqctl.errors import RpcRefused, StoreError
from liqctl.keeper.service import Keeper
from liqctl.keeper.settle import Live
from tests.keeper.stage import Stage, execute, next_decision, until

NO_HISTORY, BUSY = -32011, 429


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


async def launched(keeper: Keeper, count: int) -> list[Live]:
    """Send so many transactions."""
    lives = [(await execute(keeper)).live for _ in range(count)]
    return [live for live in lives if live is not None]


def hide(stage: Stage, signature: str, code: int) -> None:
    """Have the node refuse to show a transaction."""

    def refuse(params: list[Any]) -> None:
        if params[0] == signature:
            raise RpcRefused("refused", code=code)

    stage.rpc.faults["getTransaction"] = refuse


@pytest.mark.parametrize("code", [NO_HISTORY, BUSY])
async def test_one_transaction_that_the_node_refuses_to_show_holds_up_no_other(stage, code):
    keeper = stage.keeper()
    await keeper.start()
    lives = await launched(keeper, 3)
    first = lives[0].attempt.signature
    hide(stage, first, code)
    stage.ticks(40)

    for _ in range(3):
        await keeper.settler.settle_once()

    ended = stage.rows("SELECT sig FROM attempt WHERE state = 'FINALIZED_OK'")
    assert {sig for (sig,) in ended} == {live.attempt.signature for live in lives[1:]}


async def test_a_transaction_that_no_node_ever_shows_is_recorded_by_the_decision(stage):
    keeper = stage.keeper()
    await keeper.start()
    decision = next_decision(keeper)
    execution = await execute(keeper, decision)
    assert execution.live is not None
    hide(stage, execution.live.attempt.signature, NO_HISTORY)
    stage.ticks(40)

    for _ in range(12):
        await keeper.settler.settle_once()

    [row] = keeper._context.store.store.recent_liquidations()
    assert (row.liquidated_size, row.fee_lamports) == (decision.assessment.close_size, None)
    assert keeper.settler.positions() == set()


async def test_a_node_that_is_busy_for_long_makes_nobody_record_without_the_ledger(stage):
    keeper = stage.keeper()
    await keeper.start()
    [live] = await launched(keeper, 1)
    hide(stage, live.attempt.signature, BUSY)
    stage.ticks(40)
    for _ in range(30):
        await keeper.settler.settle_once()
    assert stage.rows("SELECT COUNT(*) FROM liquidations") == [(0,)]

    stage.rpc.faults.clear()
    await keeper.settler.settle_once()

    assert stage.rows("SELECT fee_lamports FROM liquidations") == [(205_000,)]


async def test_one_ending_that_the_database_refuses_holds_up_no_other(stage, monkeypatch):
    keeper = stage.keeper(settle_ms=1)
    await keeper.start()
    lives = await launched(keeper, 3)
    first, store = lives[0].attempt.signature, keeper._context.store.store
    working = store.end_attempt

    def end_attempt(signature: str, *given: Any, **named: Any) -> None:
        if signature == first:
            raise StoreError
        working(signature, *given, **named)

    monkeypatch.setattr(store, "end_attempt", end_attempt)
    stage.ticks(40)
    settling = asyncio.create_task(keeper.settler.run())
    await until(lambda: len(keeper.settler.positions()) == 1)
    settling.cancel()

    assert keeper.settler.positions() == {lives[0].attempt.position}
    assert stage.rows("SELECT COUNT(*) FROM liquidations") == [(2,)]
    assert keeper.settler.counts["store_errors"] > 0
