"""A node that lagged called a blockhash invalid which the cluster still took: it did not know it yet.

Callers took that for the end of the transaction, signed another one, and both landed. That a
signature is absent cannot be learned from one call either: the answer's slot may be of a fork.
Source: solana-labs/solana#23949 and #27098.

Here no single answer ends an attempt. All of them must agree, by one endpoint, at a slot that is
finalized and past the last block that could carry the transaction.
"""

import pytest

from tests.keeper.stage import execute, next_decision, settle, signature_of


def behind(stage, method, **changes):
    """Have the node answer with changed fields."""

    def answer(params):
        told = stage.rpc.really(method, params)
        return {**told, **changes} if isinstance(told, dict) else told

    stage.rpc.faults[method] = answer


async def test_a_blockhash_that_the_node_calls_invalid_ends_nothing_while_it_can_still_land(stage):
    keeper = stage.keeper(rebroadcast_ms=0)
    await keeper.start()
    decision, held = next_decision(keeper), []

    def hold_back(params):
        held.append(params[0])
        return signature_of(params[0])

    stage.rpc.faults["sendTransaction"] = hold_back
    behind(stage, "isBlockhashValid", value=False)
    await execute(keeper, decision)
    for _ in range(7):
        stage.ticks(20)
        await keeper.settler.settle_once()
        assert (await execute(keeper, decision)).live is None

    stage.rpc.faults.clear()
    stage.rpc.really("sendTransaction", [held[0], {"encoding": "base64", "skipPreflight": True}])
    await settle(stage, keeper)

    assert len(set(held)) == 1
    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("getSignatureStatuses", {"context": {"slot": 20}, "value": [None]}),
        ("isBlockhashValid", {"context": {"slot": 20}, "value": False}),
        ("isBlockhashValid", {"value": True}),
    ],
    ids=["a status of long ago", "a validity of long ago", "still valid here"],
)
async def test_an_old_or_contrary_answer_is_no_proof_even_past_the_last_block(
    stage, method, changes
):
    keeper = stage.keeper()
    await keeper.start()
    stage.rpc.faults["sendTransaction"] = lambda params: signature_of(params[0])
    await execute(keeper)
    stage.ticks(400)
    behind(stage, method, **changes)

    for _ in range(3):
        await keeper.settler.settle_once()
    assert stage.rows("SELECT state FROM attempt") == [("SENT",)]
    assert keeper.settler.counts["unproven_expiry"] + keeper.settler.counts["rpc_errors"] == 3

    stage.rpc.faults.clear()
    await keeper.settler.settle_once()
    assert stage.rows("SELECT state FROM attempt") == [("EXPIRED",)]
