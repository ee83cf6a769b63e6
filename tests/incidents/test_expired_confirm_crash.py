"""A client library's wait for confirmation crashed when the transaction had expired before it looked.

Its loop never ran, and the variable that the loop sets was read all the same. The same client gave
up after a fixed time and had no way to say from which slot on a history must be known.
Source: michaelhly/solana-py#553, #399 and #425.

Here the transport is our own. Time plays no part in an end; the first look may come at any moment;
and each question of the expiry proof names the slot that its answer must have reached.
"""

from tests.keeper.stage import execute, signature_of


async def test_an_attempt_that_had_expired_before_the_first_look_ends_by_proof(stage):
    keeper = stage.keeper()
    await keeper.start()
    stage.rpc.faults["sendTransaction"] = lambda params: signature_of(params[0])
    execution = await execute(keeper)
    assert execution.live is not None
    stage.ticks(400)

    await keeper.settler.settle_once()

    assert execution.live.ended.is_set()
    assert stage.rows("SELECT state FROM attempt") == [("EXPIRED",)]
    assert stage.rows("SELECT failure_class FROM failed_liquidations") == [("expired",)]


async def test_every_question_of_the_proof_names_its_slot_and_looks_into_history(stage):
    keeper = stage.keeper()
    await keeper.start()
    stage.rpc.faults["sendTransaction"] = lambda params: signature_of(params[0])
    execution = await execute(keeper)
    assert execution.live is not None
    attempt = execution.live.attempt
    stage.ticks(400)
    stage.rpc.calls.clear()

    await keeper.settler.settle_once()

    asked = dict(stage.rpc.calls)
    slot = asked["getEpochInfo"][-1]["minContextSlot"]
    assert slot == attempt.min_context_slot
    assert asked["getSignaturesForAddress"][0] == attempt.position
    assert asked["getSignaturesForAddress"][1]["commitment"] == "finalized"
    assert asked["getSignaturesForAddress"][1]["minContextSlot"] > attempt.min_context_slot
    assert asked["isBlockhashValid"][1]["minContextSlot"] > attempt.min_context_slot
    assert asked["getSignatureStatuses"][1] == {"searchTransactionHistory": True}
    assert "getFirstAvailableBlock" in asked
