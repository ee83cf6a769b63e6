"""A worker whose event loop was blocked lost its lock without noticing, and the job ran twice.

Somebody else had taken the job over in good faith; the first one woke and went on where it was.
Source: the notes on stalled jobs in the documentation of BullMQ.

Here owning is not remembered but proven with each write: a fence number and the lease are part of
the one statement that records an attempt, and only recorded bytes can leave.
"""

import pytest

from liqctl.core.events import Result
from tests.keeper.stage import execute, next_decision, settle


@pytest.mark.parametrize("heir_does", ["nothing", "signs and sends", "has finished"])
async def test_a_keeper_that_slept_past_its_lease_signs_nothing_when_it_wakes(stage, heir_does):
    sleeper, heir = stage.keeper(), stage.keeper()
    await sleeper.start()
    await heir.start()
    decision = next_decision(sleeper)
    weigh, before = sleeper.executor._weigh, []

    async def sleep_a_minute(work):
        """Between the claim and the signature."""
        weighed = await weigh(work)
        stage.lapse()
        if heir_does != "nothing":
            assert (await execute(heir, decision)).live is not None
        if heir_does == "has finished":
            await settle(stage, heir)
        before.extend(stage.rpc.sent())
        return weighed

    sleeper.executor._weigh = sleep_a_minute
    woken = await execute(sleeper, decision)

    assert woken.live is None
    assert woken.outcome is not None
    assert (woken.outcome.result, woken.outcome.reason) == (Result.REFUSED, "claim_lost")
    assert stage.rpc.sent() == before
    recorded = 0 if heir_does == "nothing" else 1
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(recorded,)]


async def test_a_keeper_that_slept_with_its_attempt_in_the_air_leaves_it_to_the_heir(
    stage, monkeypatch
):
    monkeypatch.setattr("liqctl.keeper.settle.RENEW_MS", 0)
    sleeper, heir = stage.keeper(rebroadcast_ms=0), stage.keeper(rebroadcast_ms=0)
    await sleeper.start()
    await heir.start()
    await execute(sleeper)
    stage.lapse()
    assert await heir.settler.recover() == 1
    sent = len(stage.rpc.sent())

    await sleeper.settler.settle_once()

    assert len(stage.rpc.sent()) == sent
    assert sleeper.settler.positions() == set()
    await settle(stage, heir)
    assert stage.rows("SELECT COUNT(*) FROM liquidations") == [(1,)]
    assert len(set(stage.rpc.sent())) == 1
