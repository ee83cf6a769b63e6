"""A keeper dies at every single call that it makes, and its heir finishes what it began."""

import base64
import itertools
import random
from typing import Any

import pytest
from solders.transaction import VersionedTransaction

from liqctl.core.events import Decision
from liqctl.core.guards import Limits
from liqctl.keeper.service import Keeper
from liqctl.keeper.verify import audit
from tests.keeper.stage import Stage, next_decision, settle

POINTS_MIN = 15


def signature_of(raw: str) -> str:
    return str(VersionedTransaction.from_bytes(base64.b64decode(raw)).signatures[0])


class Died(BaseException):
    """The process is no more; whatever it still wanted to do does not happen."""


class Mortal:
    """Counts what a keeper asks of store and node, and kills it at one of these calls.

    `after`: the call takes effect, but its answer finds nobody.
    """

    def __init__(self, stage: Stage, keeper: Keeper, point: int, *, after: bool) -> None:
        self.left = point
        self.after = after
        self.dead = False
        self.stage = stage
        self.patch = pytest.MonkeyPatch()
        self.keeper = keeper

    def __enter__(self) -> "Mortal":
        store = self.keeper._context.store
        self.patch.setattr(store, "run", self._counted(store.run))
        self.patch.setattr(self.stage.rpc, "call", self._counted(self.stage.rpc.call))
        return self

    def __exit__(self, *_: object) -> None:
        self.patch.undo()

    def _counted(self, call: Any) -> Any:
        async def counted(*given: Any, **named: Any) -> Any:
            if self.dead:
                raise Died
            self.left -= 1
            self.dead = self.left < 0
            if self.dead and not self.after:
                raise Died
            answer = await call(*given, **named)
            if self.dead:
                raise Died
            return answer

        return counted


async def one_life(stage: Stage, keeper: Keeper, decision: Decision, view: Any) -> None:
    """Finish what others began, then carry the decision out, as a start does."""
    await keeper.settler.recover()
    await settle(stage, keeper)
    await keeper.executor.run(decision, view)
    await settle(stage, keeper)


async def until_death(stage: Stage, keeper: Keeper, decision: Decision, view: Any) -> None:
    try:
        await one_life(stage, keeper, decision, view)
    except* Died:
        pass


async def check(stage: Stage, keeper: Keeper, positions: list[str]) -> None:
    """Each position was liquidated once, and all that ever left is on record."""
    store = keeper._context.store.store
    rows = store.recent_liquidations(limit=1_000)
    assert sorted(row.position_pubkey for row in rows) == sorted(positions)
    assert (await audit(stage.chain, keeper._context.venue, rows, {stage.liquidator})).clean
    assert store.live_attempts() == []
    recorded = {signature for (signature,) in stage.rows("SELECT sig FROM attempt")}
    assert {signature_of(raw) for raw in stage.rpc.sent()} <= recorded


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path, positions=240, fall_to=125)
    yield made
    await made.close()


@pytest.mark.parametrize("after", [False, True], ids=["before it", "after it"])
async def test_a_keeper_may_die_at_any_call(stage, after):
    first = stage.keeper(rebroadcast_ms=0)
    await first.start()
    positions, view = [], first.engine.view

    for point in itertools.count():
        decision = next_decision(first)
        positions.append(decision.position.address)
        keeper, heir = stage.keeper(rebroadcast_ms=0), stage.keeper(rebroadcast_ms=0)
        with Mortal(stage, keeper, point, after=after) as mortal:
            await until_death(stage, keeper, decision, view)
        stage.lapse()
        stage.ticks(point % 5)
        await one_life(stage, heir, decision, view)
        assert not heir.settler.positions()
        if not mortal.dead:
            break

    assert len(positions) > POINTS_MIN
    await check(stage, first, positions)


async def test_heirs_may_die_as_well_at_any_call(stage):
    limits = Limits(hour_lamports=100_000_000)
    first = stage.keeper(rebroadcast_ms=0)
    await first.start()
    positions, view, dice = [], first.engine.view, random.Random(11)

    for _ in range(25):
        decision = next_decision(first)
        positions.append(decision.position.address)
        for _ in range(3):
            point, after = dice.randrange(20), dice.random() < 0.5
            keeper = stage.keeper(rebroadcast_ms=0, limits=limits)
            with Mortal(stage, keeper, point, after=after):
                await until_death(stage, keeper, decision, view)
            stage.lapse()
            stage.ticks(dice.randrange(4))
        await one_life(stage, stage.keeper(rebroadcast_ms=0, limits=limits), decision, view)

    await check(stage, first, positions)
