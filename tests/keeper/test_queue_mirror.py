"""The queue as other programs see it: the engine's, and nothing of an earlier run."""

import json

import pytest

from liqctl.core.record import QueueOrder, QueueRow, QueueState
from liqctl.core.status import read_status
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

    [(body,)] = stage.rows("SELECT value_json FROM state WHERE name = 'keeper:reference'")
    status = read_status(body)
    assert (status.waiting, status.venue, status.dry_run) == (4, "reference", False)
    assert status.coverage == keeper.status().coverage
    assert status.markets == keeper.status().markets


async def test_rows_of_another_venue_are_nobody_elses_to_forget(stage):
    keeper = stage.keeper()
    store = keeper._context.store.store
    rows = [row(venue="perpetuals", position="theirs"), row(venue="reference", position="ours")]
    store.put_queue(rows, [])
    await keeper.recorder.flush()

    assert states(stage) == {"theirs": "waiting"}


async def test_every_move_of_a_candidate_is_an_event(stage):
    keeper = stage.keeper()
    await keeper.start()
    await keeper.recorder.flush()
    taken = next_decision(keeper).position.address
    await keeper.recorder.flush()
    keeper.engine.queue.settle(taken)
    await keeper.recorder.flush()
    await keeper.recorder.flush()

    bodies = [json.loads(body) for (body,) in stage.rows(QUEUE_EVENTS)]
    assert [each["change"] for each in bodies[:4]] == ["added"] * 4
    assert all(each["health"] < 1 and each["side"] in {"long", "short"} for each in bodies[:4])
    tail = [(each["change"], each["position_id"], each.get("state")) for each in bodies[4:]]
    assert tail == [("state", taken, "in_flight"), ("removed", taken, None)]


QUEUE_EVENTS = "SELECT body_json FROM events WHERE kind = 'queue' ORDER BY seq"


def row(*, venue: str, position: str) -> QueueRow:
    return QueueRow(
        position=position,
        owner="o",
        venue=venue,
        symbol="SOL",
        side="long",
        size=1,
        health=0.5,
        state=QueueState.WAITING,
        reason="",
        tries=0,
        next_try_ms=0,
        since_ms=0,
    )
