"""The queue as other programs see it: the engine's, and nothing of an earlier run."""

import pytest

from liqctl.core.record import QueueOrder
from tests.keeper.stage import Stage, next_decision


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


def states(stage: Stage) -> dict[str, str]:
    return dict(stage.rows("SELECT position, state FROM queue"))


async def test_the_rows_follow_the_queue(stage):
    keeper = stage.keeper()
    await keeper.start()
    await keeper.recorder.flush()
    expected = dict.fromkeys(keeper.engine.queue.positions(), "waiting")
    assert len(expected) == 4
    assert states(stage) == expected

    taken = next_decision(keeper).position.address
    await keeper.recorder.flush()
    assert states(stage) == {**expected, taken: "in_flight"}

    keeper.engine.queue.settle(taken)
    await keeper.recorder.flush()
    del expected[taken]
    assert states(stage) == expected


async def test_a_row_of_an_earlier_run_is_forgotten_unless_it_carries_an_order(stage):
    earlier = stage.keeper()
    await earlier.start()
    await earlier.recorder.flush()
    [first, second, *_] = states(stage)

    keeper = stage.keeper()
    store = keeper._context.store.store
    store.set_order(second, QueueOrder.RETRY)
    await keeper.recorder.flush()

    assert states(stage) == {second: "waiting"}
    assert first != second


async def test_a_state_is_there_for_other_programs(stage):
    keeper = stage.keeper()
    await keeper.start()
    await keeper.recorder.flush()

    [(body,)] = stage.rows("SELECT value_json FROM state WHERE name = 'keeper'")
    assert '"waiting": 4' in body
