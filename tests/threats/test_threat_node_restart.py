"""A node came back from a restart without its status cache, or without the history of that time."""

import pytest

from liqctl.errors import RpcRefused
from tests.keeper.stage import execute, next_decision, settle

NO_HISTORY = RpcRefused("transaction history is not available", code=-32011)


def forgetful(stage, *, first_block=None, refuses=False):
    """Have the node know nothing of any transaction."""

    def no_history(_):
        raise NO_HISTORY

    def none_known(params):
        return {"context": {"slot": stage.world.slot}, "value": [None] * len(params[0])}

    def no_entries(_):
        return []

    stage.rpc.faults["getSignatureStatuses"] = no_history if refuses else none_known
    stage.rpc.faults["getSignaturesForAddress"] = no_history if refuses else no_entries
    if first_block is not None:
        stage.rpc.faults["getFirstAvailableBlock"] = lambda _: first_block


@pytest.mark.parametrize(
    "trouble",
    [{"first_block": 10**9}, {"refuses": True}],
    ids=["history pruned", "history switched off"],
)
async def test_a_landed_transaction_that_the_node_forgot_is_not_called_expired(stage, trouble):
    keeper = stage.keeper()
    await keeper.start()
    decision = next_decision(keeper)
    await execute(keeper, decision)
    stage.ticks(400)
    forgetful(stage, **trouble)

    for _ in range(3):
        await keeper.settler.settle_once()
    again = await execute(keeper, decision)

    assert again.live is None
    assert stage.rows("SELECT state FROM attempt") == [("SENT",)]
    assert len(set(stage.rpc.sent())) == 1

    stage.rpc.faults.clear()
    await settle(stage, keeper)
    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]
