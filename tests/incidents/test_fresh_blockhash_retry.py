"""Retry on timeout with a fresh blockhash: two confirmed transactions for one liquidation.

The first one had not failed, only its answer was late. Where the program refuses the second, it
still costs a fee; where it does not, twice as much is closed.
Source: percolator#76 and hydration-node#1264.

Here a timeout means "maybe sent". The same bytes go out again, which the chain takes once, and a
new transaction is signed only after the proof that the old one can no longer land.
"""

from liqctl.errors import RpcUnreachable
from liqctl.keeper.verify import audit
from tests.keeper.stage import execute, next_decision, settle


async def test_answers_that_time_out_make_one_transaction_and_one_liquidation(stage):
    keeper = stage.keeper(rebroadcast_ms=0)
    await keeper.start()
    decision = next_decision(keeper)
    timeouts = []

    def late(params):
        stage.rpc.really("sendTransaction", params)
        timeouts.append(params)
        raise RpcUnreachable("no answer within 5 s")

    stage.rpc.faults["sendTransaction"] = late
    await execute(keeper, decision)
    stage.ticks(1)
    again = await execute(keeper, decision)
    await settle(stage, keeper)

    assert timeouts
    assert again.live is None
    assert len(set(stage.rpc.sent())) == 1
    await one_on_chain(stage, keeper)


async def test_a_transaction_that_lands_in_the_last_possible_block_is_not_doubled(stage):
    keeper = stage.keeper()
    await keeper.start()
    decision = next_decision(keeper)
    held = []

    def hold_back(params):
        held.append(params[0])
        raise RpcUnreachable("no answer within 5 s")

    stage.rpc.faults["sendTransaction"] = hold_back
    execution = await execute(keeper, decision)
    assert execution.live is not None
    last = execution.live.attempt.last_valid_block_height
    while stage.world.ledger.open_block.height <= last:
        stage.ticks(1)
        if stage.world.ledger.open_block.height % 20 == 0:
            await keeper.settler.settle_once()
            assert (await execute(keeper, decision)).live is None
    unchecked = {"encoding": "base64", "skipPreflight": True}
    stage.rpc.really("sendTransaction", [held[0], unchecked])
    await settle(stage, keeper)

    assert stage.rows("SELECT n, state FROM attempt") == [(1, "FINALIZED_OK")]
    await one_on_chain(stage, keeper)


async def one_on_chain(stage, keeper):
    rows = keeper._context.store.store.recent_liquidations()
    found = await audit(stage.chain, keeper._context.venue, rows, {stage.liquidator})
    assert (found.landed, found.clean) == (1, True)
