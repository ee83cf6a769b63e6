"""Sends with a fresh blockhash were refused although nothing was wrong with them.

Without a word about it the preflight looks at the newest finalized block, which a hash of a
confirmed block has not reached; the caller reads "blockhash not found" and thinks of expiry.
Source: anza-xyz/agave#483.

Here each first send says at which commitment its preflight may look and which slot the node must
have reached, a rebroadcast asks for no preflight at all, and this refusal never ends an attempt.
"""

import pytest

from liqctl.errors import RpcRefused
from tests.keeper.stage import execute, settle


async def test_a_hash_that_the_default_preflight_refuses_is_taken_from_us(stage):
    keeper = stage.keeper()
    await keeper.start()
    told = []

    def default_first(params):
        raw, options = params
        bare = {"encoding": options["encoding"]}
        with pytest.raises(RpcRefused) as raised:
            stage.rpc.really("sendTransaction", [raw, bare])
        told.append(str(raised.value.detail))

    stage.rpc.faults["sendTransaction"] = default_first
    await execute(keeper)
    stage.rpc.faults.clear()
    await settle(stage, keeper)

    assert len(told) == 1
    assert "BlockhashNotFound" in told[0]
    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]


async def test_what_a_send_says_about_its_preflight(stage):
    keeper = stage.keeper(rebroadcast_ms=0)
    await keeper.start()
    stage.rpc.faults["sendTransaction"] = lambda _: "1" * 88
    execution = await execute(keeper)
    await keeper.settler.settle_once()

    assert execution.live is not None
    first, again = (p[1] for m, p in stage.rpc.calls if m == "sendTransaction")
    assert first == {
        "encoding": "base64",
        "skipPreflight": False,
        "preflightCommitment": "confirmed",
        "maxRetries": 0,
        "minContextSlot": execution.live.attempt.min_context_slot,
    }
    assert again == {"encoding": "base64", "skipPreflight": True, "maxRetries": 0}


async def test_a_node_that_has_not_seen_the_hash_yet_ends_nothing(stage):
    keeper = stage.keeper(rebroadcast_ms=0)
    await keeper.start()

    def unknown(_):
        raise RpcRefused("preflight", code=-32002, detail={"err": "BlockhashNotFound", "logs": []})

    stage.rpc.faults["sendTransaction"] = unknown
    await execute(keeper)
    for _ in range(3):
        await keeper.settler.settle_once()
    assert stage.rows("SELECT state FROM attempt") == [("SENT",)]

    stage.rpc.faults.clear()
    await settle(stage, keeper)
    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]
