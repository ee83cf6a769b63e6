"""`liqctl liquidate` whose lease ran out meanwhile, as after a terminal that slept."""

from collections.abc import Callable
from typing import Any

import pytest

from liqctl.cli.carry_out import Finish, carry_out
from liqctl.core.events import Result
from liqctl.core.intent import AttemptState, Ending, IntentState
from liqctl.errors import TransactionError
from liqctl.keeper.ending import liquidation_of
from liqctl.keeper.live import Live
from liqctl.keeper.service import Keeper
from liqctl.keeper.settle import LEASE_MS
from tests.keeper.stage import Stage, next_decision


@pytest.fixture
async def stage(tmp_path, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.settle.RENEW_MS", 0)
    made = Stage(tmp_path)
    yield made
    await made.close()


async def liquidated(stage: Stage, meanwhile: Callable[[Keeper, Live], None]) -> Finish:
    """Carry out a decision; once it is sent its lease runs out, and something else happens."""
    keeper = stage.keeper(settle_ms=1)
    await keeper.start()
    decision = next_decision(keeper)

    def sleep(_: list[Any]) -> None:
        del stage.rpc.faults["getSignatureStatuses"]
        stage.lapse()
        [live] = keeper.settler._live.values()
        meanwhile(keeper, live)

    stage.rpc.faults["getSignatureStatuses"] = sleep
    context = keeper._context
    return await carry_out(
        keeper, context.store, decision.position, decision.assessment, keeper.engine.view
    )


async def test_a_lease_that_nobody_else_wanted_is_no_refusal(stage):
    done = await liquidated(stage, lambda *_: stage.ticks(40))

    assert (done.result, done.error()) == (Result.LANDED, None)


async def test_what_another_keeper_settles_now_is_no_refusal_but_without_its_end(stage):
    heir = stage.keeper()._context.store.store

    with pytest.raises(TransactionError, match="another keeper on the same database"):
        await liquidated(
            stage,
            lambda _, live: heir.adopt(
                live.attempt.intent_id, "heir", live.attempt.signed_ms, LEASE_MS
            ),
        )


async def test_what_another_keeper_has_settled_is_told_as_it_ended(stage):
    def settled_elsewhere(keeper: Keeper, live: Live) -> None:
        slot = stage.world.slot
        keeper._context.store.store.end_attempt(
            live.attempt.signature,
            Ending(state=AttemptState.FINALIZED_OK, final_slot=slot, fee_lamports=205_000),
            liquidation=liquidation_of(keeper._context, live, slot),
            failure=None,
            intent_state=IntentState.DONE,
            now_ms=1,
        )

    done = await liquidated(stage, settled_elsewhere)

    assert (done.result, done.slot) == (Result.LANDED, stage.world.slot)
    assert done.closed_size
