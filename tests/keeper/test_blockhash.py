"""A blockhash is held only where its last valid height is one that the chain will reach soon."""

import pytest

from liqctl.chain.client import Chain
from liqctl.errors import RpcMalformed
from liqctl.keeper.blockhash import VALIDITY_BLOCKS_MAX, RecentBlockhash
from tests.chain.scripted import ADDRESSES, ScriptedRpc, StillClock, in_context

SLOT, HEIGHT = 300_000_000, 278_000_000


def recent(last_valid_block_height: int) -> tuple[RecentBlockhash, ScriptedRpc]:
    value = {"blockhash": ADDRESSES[0], "lastValidBlockHeight": last_valid_block_height}
    rpc = ScriptedRpc(
        getEpochInfo={"absoluteSlot": SLOT - 3, "blockHeight": HEIGHT},
        getLatestBlockhash=in_context(value, slot=SLOT),
    )
    return RecentBlockhash(Chain(rpc), StillClock(), lambda: SLOT), rpc


@pytest.mark.parametrize("height", [HEIGHT + 1, HEIGHT + 150, HEIGHT + VALIDITY_BLOCKS_MAX])
async def test_one_that_ends_soon_is_held(height):
    blockhash, rpc = recent(height)

    assert (await blockhash.get()).last_valid_block_height == height
    assert rpc.calls == [
        ("getEpochInfo", [{"commitment": "confirmed", "minContextSlot": SLOT - 150}]),
        ("getLatestBlockhash", [{"commitment": "confirmed", "minContextSlot": SLOT - 150}]),
    ]


@pytest.mark.parametrize("height", [1, HEIGHT, HEIGHT + VALIDITY_BLOCKS_MAX + 1, SLOT, SLOT + 1000])
async def test_one_that_is_over_or_would_outlast_any_window_is_malformed(height):
    blockhash, _ = recent(height)

    with pytest.raises(RpcMalformed, match=f"valid up to height {height} at height {HEIGHT}"):
        await blockhash.get()


async def test_one_that_is_refused_leaves_the_one_that_is_held():
    blockhash, rpc = recent(HEIGHT + 150)
    held = await blockhash.get()
    rpc.answers["getLatestBlockhash"] = [
        in_context({"blockhash": ADDRESSES[1], "lastValidBlockHeight": SLOT}, slot=SLOT)
    ]

    with pytest.raises(RpcMalformed):
        await blockhash.refresh()

    assert await blockhash.get() == held
