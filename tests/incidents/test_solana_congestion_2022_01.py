"""January 2022: bots flooded Solana with copies of one another's transactions, and feeds stood still.

Blocks were full of duplicates, prices on chain were hours old, and people whose deposits the
network would not take were liquidated by what the old prices said.
Source: Solana's status page and the press, 6 to 22 January 2022.

Here an old price stops every decision of its market, a transaction that is not taken is sent again
as the very same bytes and never faster than the operator allows, and nothing new is signed before
it is proven that the old one can no longer land.
"""

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from liqctl.chain.client import Chain
from liqctl.chain.wallet import load_signer
from liqctl.core.price import PriceRefusal
from liqctl.keeper.gate import Gate
from liqctl.testing import ManualClock
from tests.incidents.replay import Replay, dollars, look, work_off
from tests.keeper.stage import execute, next_decision, signature_of


async def test_an_old_price_stops_its_market_and_a_new_one_starts_it_again(tmp_path):
    stage = Replay(tmp_path, {"SOL": "150"})
    stage.publish("SOL", dollars(150, 0.1))
    stage.ticks(12)
    keeper = stage.keeper()
    await keeper.start()

    await stage.show(keeper, "SOL", dollars(140, 0.1))
    waiting = len(keeper.engine.queue)
    stage.publish("SOL", None)
    stage.ticks(200)
    await look(stage, keeper)
    await work_off(keeper)
    assert keeper.engine.coverage().unknown == {PriceRefusal.STALE: 10}
    assert stage.rpc.sent() == []

    await stage.show(keeper, "SOL", dollars(140, 0.1))
    assert waiting == len(keeper.engine.queue) == 3
    await stage.close()


async def test_a_network_that_takes_nothing_gets_the_same_bytes_and_no_second_transaction(stage):
    keeper = stage.keeper(rebroadcast_ms=0)
    await keeper.start()
    decision = next_decision(keeper)
    stage.rpc.faults["sendTransaction"] = lambda params: signature_of(params[0])

    await execute(keeper, decision)
    for _ in range(14):
        stage.ticks(10)
        await keeper.settler.settle_once()
        refused = await execute(keeper, decision)
        assert refused.outcome is not None
        assert refused.outcome.reason == "held_by_another"
    sent = stage.rpc.sent()
    assert len(sent) > 10
    assert len(set(sent)) == 1

    stage.ticks(30)
    await keeper.settler.settle_once()
    await look(stage, keeper)
    await execute(keeper, decision)
    assert stage.rows("SELECT n, state FROM attempt ORDER BY n") == [(1, "EXPIRED"), (2, "SENT")]


@pytest.mark.parametrize("per_second", [1, 5])
async def test_no_second_has_more_sends_than_the_operator_allows(stage, per_second):
    clock, times = ManualClock(), []

    def note(_):
        times.append(clock.monotonic_ns())
        return "1" * 88

    stage.rpc.faults["sendTransaction"] = note
    signer = load_signer(str(stage.key_file))
    gate = Gate(Chain(stage.rpc), signer, clock, sends_per_second_max=per_second)

    flood = [gate.send(b"x" * 100, first=False, min_context_slot=0) for _ in range(4 * per_second)]
    await _passed(clock, flood)

    assert len(times) == 4 * per_second
    assert max(sum(a <= b < a + 10**9 for b in times) for a in times) == per_second


async def _passed(clock: ManualClock, sends: Sequence[Coroutine[Any, Any, object]]) -> None:
    """Let time pass until every send has returned."""
    tasks = [asyncio.create_task(send) for send in sends]
    while not all(task.done() for task in tasks):
        await clock.advance(0.1)
