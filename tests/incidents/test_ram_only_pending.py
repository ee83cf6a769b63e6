"""Bots that keep what they have sent in memory alone forget it when they die, and send it again.

One of them, published as an example for everybody, also took the private key from its command
line, where every user of the host can read it.
Source: drift-labs/keeper-bots-v2 at commit 3a7815ac, txSender.ts and index.ts.

Here the bytes are committed before anybody else can see them and a start begins with them. The key
has no way in through an argument.
"""

import base64

import pytest

from liqctl.chain.wallet import load_signer
from liqctl.errors import SettingsError
from liqctl.keeper.verify import audit
from liqctl.localnet.scenario import liquidator_key
from tests.keeper.stage import execute, settle, signature_of


class Died(BaseException):
    """The process is no more."""


@pytest.mark.parametrize("arrives", [False, True], ids=["lost on the way", "taken by the node"])
async def test_a_keeper_that_dies_in_its_send_is_succeeded_by_one_with_the_same_bytes(
    stage, arrives
):
    keeper, committed = stage.keeper(), []
    await keeper.start()

    def die(params):
        committed.extend(stage.rows("SELECT sig, raw, lvbh, state FROM attempt"))
        if arrives:
            stage.rpc.really("sendTransaction", params)
        raise Died

    stage.rpc.faults["sendTransaction"] = die
    with pytest.raises(Died):
        await execute(keeper)
    stage.rpc.faults.clear()
    [(signature, raw, last_valid, state)] = committed
    assert state == "SIGNED"
    assert last_valid > stage.world.ledger.open_block.height
    assert [base64.b64decode(sent) for sent in stage.rpc.sent()] == [raw]

    stage.lapse()
    heir = stage.keeper(rebroadcast_ms=0)
    await heir.start()
    await settle(stage, heir)

    assert {signature_of(sent) for sent in stage.rpc.sent()} == {signature}
    rows = heir._context.store.store.recent_liquidations()
    found = await audit(stage.chain, heir._context.venue, rows, {stage.liquidator})
    assert (found.landed, found.clean) == (1, True)


@pytest.mark.parametrize("form", ["base58", "list"])
def test_a_key_in_the_place_of_a_path_is_refused_and_not_repeated(form):
    key = liquidator_key(7)
    secret = str(key) if form == "base58" else str(list(bytes(key)))

    with pytest.raises(SettingsError) as raised:
        load_signer(secret)

    assert secret not in str(raised.value)
    assert secret[:20] not in str(raised.value)
