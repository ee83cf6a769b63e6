"""Two daemons at once: on one database they share the work, on two they race for it."""

import asyncio
from typing import Any

import pytest

from liqctl.core.events import Result
from liqctl.core.guards import Limits
from liqctl.core.queue import Pacing
from liqctl.keeper.feeds import Intervals
from liqctl.keeper.service import Keeper
from liqctl.keeper.verify import audit
from tests.keeper.stage import Stage, execute, next_decision, signature_of, until

QUICK = {
    "intervals": Intervals(check_ms=40, cache_ms=0, reconcile_ms=200),
    "pacing": Pacing(backoff_ms=20, backoff_ms_max=40, quarantine_ms=50),
    "limits": Limits(in_flight_max=8),
    "settle_ms": 15,
}


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


async def run_both(stage: Stage, *keepers: Keeper) -> None:
    """Run daemons until nothing is left to do for any of them."""

    async def pass_slots() -> None:
        while True:
            await asyncio.sleep(0.005)
            stage.ticks(1)

    def at_rest() -> bool:
        return not any(len(k.engine.queue) or k.in_flight() for k in keepers)

    stop = asyncio.Event()
    slots = asyncio.create_task(pass_slots())
    daemons = [asyncio.create_task(keeper.run(stop)) for keeper in keepers]
    try:
        await until(lambda: all(k.feeds.state.check_ns for k in keepers))
        await until(at_rest)
    finally:
        stop.set()
        await asyncio.gather(*daemons)
        slots.cancel()


async def test_on_one_database_each_position_is_liquidated_once_by_one_of_them(stage):
    first, second = stage.keeper(**QUICK), stage.keeper(**QUICK)

    await run_both(stage, first, second)

    rows = stage.rows("SELECT position_pubkey FROM liquidations")
    assert len(rows) == len(set(rows)) == 4
    landed = "SELECT COUNT(*) FROM attempt WHERE state = 'FINALIZED_OK'"
    assert stage.rows(landed) == [(4,)]
    assert first.status().full + second.status().full == 4
    assert first._context.store.store.totals().failed == 0
    books = first._context.store.store.recent_liquidations()
    found = await audit(stage.chain, first._context.venue, books, {stage.liquidator})
    assert found.clean


async def test_on_two_databases_each_race_has_one_winner_and_to_lose_one_is_no_failure(stage):
    ours = stage.keeper(**QUICK)
    theirs = stage.keeper(database="rival.db", key_file=stage.rival_file, **QUICK)

    await run_both(stage, ours, theirs)

    told = [keeper._context.store.store.totals() for keeper in (ours, theirs)]
    assert sum(totals.full for totals in told) == 4
    assert [totals.failed for totals in told] == [0, 0]
    assert [keeper.status().expired for keeper in (ours, theirs)] == [0, 0]


async def test_a_race_lost_between_simulation_and_send_is_a_lost_race_once_it_is_proven(stage):
    ours, theirs = stage.keeper(), stage.rival()
    await ours.start()
    await theirs.start()
    held: list[str] = []

    def hold_back(params: list[Any]) -> object:
        held.append(params[0])
        return signature_of(params[0])

    def be_first(_: list[Any]) -> None:
        unchecked = {"encoding": "base64", "skipPreflight": True}
        stage.rpc.really("sendTransaction", [held[0], unchecked])
        stage.ticks(3)

    decision = next_decision(ours)
    stage.rpc.faults["sendTransaction"] = hold_back
    await execute(theirs, decision)
    stage.rpc.faults["sendTransaction"] = be_first
    execution = await execute(ours, decision)
    assert stage.rows("SELECT state FROM attempt") == [("SENT",)]

    stage.ticks(200)
    await ours.settler.settle_once()

    assert execution.live is not None
    assert execution.live.outcome is not None
    assert execution.live.outcome.result is Result.LOST_RACE
    assert stage.rows("SELECT state FROM attempt") == [("EXPIRED",)]
    assert stage.rows("SELECT state FROM intent") == [("GONE",)]
    totals = ours._context.store.store.totals()
    assert (totals.failed, totals.lost_races) == (0, 1)
    assert (ours.status().lost_races, ours.status().expired) == (1, 0)
