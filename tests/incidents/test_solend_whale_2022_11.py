"""November 2022: a position of Solend's largest account stood below its line and could not be closed.

Solana was congested, the oracle was updated only now and then, and each update was too old again
by the time a liquidation could land.
Source: the press, 9 November 2022.

Here everything that waits is worked off once prices come again: the least healthy first, the
larger one first among equals, and what failed meanwhile is not forgotten.
"""

from itertools import pairwise

from tests.incidents.replay import Replay, dollars, look, work_off
from tests.keeper.stage import settle


async def test_after_the_oracle_comes_back_the_backlog_drains_worst_first(tmp_path):
    stage = Replay(tmp_path, {"SOL": "150"}, positions=60)
    stage.publish("SOL", dollars(150, 0.1))
    stage.ticks(12)
    keeper = stage.keeper()
    await keeper.start()
    for price in (146, 143, 140):
        await stage.show(keeper, "SOL", dollars(price, 0.1, age_s=55))
        stage.publish("SOL", None)
        stage.ticks(30)
        await look(stage, keeper)
        await work_off(keeper)
        assert keeper.engine.coverage().evaluated == 40
    assert stage.rpc.sent() == []

    await stage.show(keeper, "SOL", dollars(140, 0.1))
    waiting = [(entry.health, -entry.size) for entry in keeper.engine.queue.entries()]
    addresses = [entry.position for entry in keeper.engine.queue.entries()]
    await work_off(keeper)
    order = [row for (row,) in stage.rows("SELECT position FROM intent ORDER BY id")]
    await settle(stage, keeper)

    assert len(waiting) == 4
    assert all(before <= after for before, after in pairwise(waiting))
    assert order == addresses
    assert stage.rows("SELECT COUNT(*) FROM attempt WHERE state = 'FINALIZED_OK'") == [(4,)]
    await stage.close()
