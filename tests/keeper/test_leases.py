"""Leases that ran out: who takes an attempt up goes by what the store says of it then."""

from collections.abc import Callable
from typing import Any

import pytest

from liqctl.core.intent import AttemptState, Ending
from liqctl.core.record import FailureRow
from liqctl.keeper.live import Live
from liqctl.keeper.service import Keeper
from tests.keeper.stage import Stage, execute, settle

ENDED = Ending(state=AttemptState.FINALIZED_ERR, final_slot=40)


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


async def launched(keeper: Keeper) -> Live:
    await keeper.start()
    live = (await execute(keeper)).live
    assert live is not None
    return live


def end_elsewhere(keeper: Keeper, live: Live) -> None:
    """End the attempt on record, as another keeper does."""
    failure = FailureRow(
        position_pubkey=live.attempt.position,
        symbol=live.attempt.symbol,
        failure_class="setup",
        detail="",
        signature=live.attempt.signature,
        slot=40,
        at_ms=1,
    )
    keeper._context.store.store.end_attempt(
        live.attempt.signature,
        ENDED,
        liquidation=None,
        failure=failure,
        intent_state=None,
        now_ms=1,
    )


def before(
    keeper: Keeper, monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], None]
) -> None:
    """Have something happen just before a method of the keeper's store."""
    store = keeper._context.store.store
    working = getattr(store, name)

    def method(*given: Any, **named: Any) -> Any:
        act()
        return working(*given, **named)

    monkeypatch.setattr(store, name, method)


async def test_what_ended_just_before_its_lease_was_taken_is_not_taken_up(stage, monkeypatch):
    keeper = stage.keeper()
    live = await launched(keeper)
    stage.lapse()
    heir = stage.keeper()
    before(heir, monkeypatch, "adopt", lambda: end_elsewhere(keeper, live))

    assert await heir.settler.recover() == 0

    assert heir.settler.positions() == set()
    assert stage.rows("SELECT owner, lease_until FROM intent") == [(None, 0)]


async def test_what_was_seen_just_before_its_lease_was_taken_is_followed_as_seen(
    stage, monkeypatch
):
    keeper = stage.keeper()
    live = await launched(keeper)
    stage.lapse()
    heir, store = stage.keeper(), keeper._context.store.store
    before(
        heir,
        monkeypatch,
        "adopt",
        lambda: store.mark_seen(live.attempt.signature, 35, "processed"),
    )

    assert await heir.settler.recover() == 1

    [taken] = heir.settler._live.values()
    assert (taken.attempt.state, taken.attempt.seen_slot) == (AttemptState.SEEN, 35)


async def test_a_lease_that_ran_out_unnoticed_by_others_is_taken_again(stage, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.settle.RENEW_MS", 0)
    keeper = stage.keeper()
    live = await launched(keeper)
    fence = live.claim.fence
    stage.lapse()

    await keeper.settler.settle_once()

    assert not live.ended.is_set()
    assert live.claim.fence == fence + 1
    await settle(stage, keeper)
    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]


async def test_what_another_keeper_saw_meanwhile_is_known_with_the_lease(stage, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.settle.RENEW_MS", 0)
    keeper = stage.keeper()
    live = await launched(keeper)
    stage.lapse()
    keeper._context.store.store.mark_seen(live.attempt.signature, 35, "processed")
    stage.rpc.faults["getEpochInfo"] = lambda _: {"x": 1}

    await keeper.settler.settle_once()

    assert (live.attempt.state, live.attempt.seen_slot) == (AttemptState.SEEN, 35)


async def test_an_attempt_that_another_keeper_has_ended_is_let_go(stage, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.settle.RENEW_MS", 0)
    keeper = stage.keeper()
    live = await launched(keeper)
    stage.lapse()
    end_elsewhere(keeper, live)

    await keeper.settler.settle_once()

    assert keeper.settler.positions() == set()
    assert live.outcome is not None
    assert live.outcome.reason == "held_by_another"
    assert stage.rows("SELECT owner, lease_until FROM intent") == [(None, 0)]
