"""A bot tried one account without end, and died for want of memory while others waited.

Its list of candidates was worked off from the front, the account in front failed each time, and
every try left something behind.
Source: blockworks-foundation/liquidator-v3#1 and blockworks-foundation/mango-v4#348.

Here each position has its own backoff and its own allowance; when that is spent it is set aside
for a while, and the others do not wait for it.
"""

import base64

from solders.pubkey import Pubkey

from liqctl.core.queue import Pacing
from liqctl.core.record import QueueState
from tests.incidents.replay import look, work_off
from tests.keeper.stage import settle

PACING = Pacing(backoff_ms=0, backoff_ms_max=0, tries_max=3)
BROKEN = {"InstructionError": [4, {"Custom": 6_037}]}


async def test_an_account_that_always_fails_is_tried_so_often_and_holds_up_no_other(stage):
    keeper = stage.keeper(pacing=PACING)
    await keeper.start()
    poisoned = keeper.engine.queue.entries()[0].position
    tries = []

    def fail(params):
        told = stage.rpc.really("simulateTransaction", params)
        if bytes(Pubkey.from_string(poisoned)) in base64.b64decode(params[0]):
            tries.append(poisoned)
            told["value"]["err"] = BROKEN
        return told

    stage.rpc.faults["simulateTransaction"] = fail
    for _ in range(10):
        await work_off(keeper)
        await look(stage, keeper)
    await settle(stage, keeper)

    entry = keeper.engine.queue.get(poisoned)
    assert entry is not None
    assert entry.state is QueueState.QUARANTINED
    assert len(tries) == PACING.tries_max
    assert keeper.holds.reason() is None
    assert stage.rows("SELECT COUNT(*) FROM attempt WHERE state = 'FINALIZED_OK'") == [(3,)]
