"""Keepers of two venues in one process: one purse, one number of places, each its own breaker."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from liqctl.chain.wallet import load_signer
from liqctl.cli.connect import keepers_of
from liqctl.config import Settings
from liqctl.core.events import Cause, OutcomeSeen, Result
from liqctl.core.record import PositionQuery
from liqctl.keeper.context import Context
from liqctl.keeper.fleet import Fleet
from liqctl.keeper.service import Keeper
from liqctl.keeper.storage import StoreThread
from liqctl.ports import SystemClock, SystemRng
from liqctl.store.open import open_store
from liqctl.venues.mapped import MappedVenue
from liqctl.venues.registry import open_venue
from tests.cli.twin_chain import PROGRAM, deploy_again
from tests.keeper.stage import Stage, until
from tests.venues.test_mapped import MAPPED

BALANCE = 100 * 10**9
# Fee and the rent of the liquidator's token account, which both mints still lack.
COST = 205_000 + 2 * 2_039_280


@pytest.fixture
async def stage(tmp_path):
    stage = Stage(tmp_path, positions=40)
    deploy_again(stage.scenario, 40)
    yield stage
    await stage.close()


@asynccontextmanager
async def running(stage: Stage, **chosen: Any) -> AsyncIterator[Sequence[Keeper]]:
    """Both keepers as `watch` wires them, on a chain whose slots move by hand."""
    place = stage.place / "k.db"
    settings = Settings(database_url=f"sqlite:{place}", profit_floor_permille=0, **chosen)
    fleet, store = Fleet(), StoreThread(open_store(settings.database_url))
    contexts = [
        Context(
            venue=venue,
            chain=stage.chain,
            store=store,
            clock=SystemClock(),
            rng=SystemRng(),
            owner="one process",
            fleet=fleet,
        )
        for venue in (
            open_venue("reference", stage.scenario.addresses.program),
            MappedVenue(MAPPED.mapped, PROGRAM),
        )
    ]
    signer = load_signer(str(stage.key_file))
    keepers = keepers_of(contexts, settings, signer=signer, streams=False)
    for keeper in keepers:
        await keeper.start()
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for keeper in keepers:
            tasks.create_task(deciding(keeper, stop))
        yield keepers
        stop.set()
    for keeper in keepers:
        await keeper.settler.drain(0)
    await store.close()


async def deciding(keeper: Keeper, stop: asyncio.Event) -> None:
    """The decide loop and what it starts, until told to stop."""
    async with asyncio.TaskGroup() as tasks:
        loop = tasks.create_task(keeper._decide(tasks))
        await stop.wait()
        loop.cancel()


def due(keepers: Sequence[Keeper]) -> list[int]:
    return [len(keeper.engine.queue) for keeper in keepers]


async def resting(stage: Stage) -> int:
    """Return how many attempts there are once there are no more."""
    counts = [-1, -2, -3]
    while len(set(counts)) > 1:
        await asyncio.sleep(0.3)
        counts = [*counts[1:], len(stage.rows("SELECT 1 FROM attempt"))]
    return counts[0]


async def test_places_in_the_air_are_for_all_venues_together(stage):
    async with running(stage, max_in_flight=3) as keepers:
        assert min(due(keepers)) >= 2
        assert await resting(stage) == 3
        assert sum(len(keeper.settler.positions()) for keeper in keepers) == 3

        stage.ticks(2)
        for keeper in keepers:
            await keeper.settler.settle_once()
        assert await resting(stage) > 3


async def test_the_purse_is_one_and_what_another_venue_has_in_the_air_is_counted(stage):
    floor = BALANCE - 2 * COST - 1_000
    async with running(stage, max_in_flight=16, min_balance_lamports=floor) as keepers:
        assert await resting(stage) == 2
        refused = sum(keeper.recorder.counts["refused_balance_too_low"] for keeper in keepers)
        assert refused > 0


async def test_a_breaker_holds_its_own_venue_and_the_other_goes_on(stage):
    async with running(stage, max_in_flight=1) as (held, other):
        await until(lambda: sum(len(one.settler.positions()) for one in (held, other)) == 1)
        changed = OutcomeSeen(position="x", result=Result.FAILED, cause=Cause.LAYOUT)
        held.holds.ended(changed)
        assert (held.holds.reason(), other.holds.reason()) == ("breaker_program_changed", None)

        before = len(held.settler.positions())
        for _ in range(3):
            stage.ticks(5)
            for keeper in (held, other):
                await keeper.settler.settle_once()
            await resting(stage)

    venues = dict(stage.rows("SELECT venue, COUNT(*) FROM intent GROUP BY venue"))
    assert venues.get(held.venue.id, 0) == before
    assert venues[other.venue.id] >= 2


async def test_rows_for_readers_give_way_to_the_decisions_of_every_venue(stage):
    """They share the one thread that records."""
    async with running(stage, max_in_flight=1) as [first, second]:
        first._working.add("a decision under way")
        await second.mirror.step()
        rows = second._context.store.store.positions
        assert rows(PositionQuery(venue=second.venue.id)) == []

        first._working.clear()
        await second.mirror.step()
        assert rows(PositionQuery(venue=second.venue.id)) != []
