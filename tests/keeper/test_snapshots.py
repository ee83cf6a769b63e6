"""Full reads that go wrong: what they say is never taken for more than it is."""

import asyncio
import time
from typing import Any

import pytest

from liqctl.chain.notice import StreamUp
from liqctl.errors import RpcUnreachable
from liqctl.keeper.feeds import Intervals
from liqctl.keeper.service import Keeper
from tests.keeper.stage import Stage, until


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


def change_positions(stage: Stage, change: Any) -> None:
    """Have the node change its list of positions before it tells it."""

    def changed(params: list[Any]) -> Any:
        answer = stage.rpc.really("getProgramAccounts", params)
        if len(answer["value"]) >= 50:
            answer["value"] = change(answer["value"])
        return answer

    stage.rpc.faults["getProgramAccounts"] = changed


async def load(keeper: Keeper) -> None:
    await keeper.feeds.load()
    keeper.absorb()


async def test_a_full_read_that_fails_after_a_reconnection_is_repeated_at_the_next_interval(stage):
    keeper = stage.keeper(intervals=Intervals(check_ms=50, reconcile_ms=60_000))
    await keeper.start()
    failures: list[Any] = []

    def down(params: list[Any]) -> None:
        if len(failures) < 3:
            failures.append(params)
            raise RpcUnreachable

    stage.rpc.faults["getProgramAccounts"] = down
    feeding = asyncio.create_task(keeper.feeds.run())
    before_ns = time.monotonic_ns()
    keeper.feeds._take(StreamUp())

    await until(lambda: keeper.feeds.state.snapshot_ns > before_ns)
    feeding.cancel()

    assert len(failures) == 3
    assert time.monotonic_ns() - before_ns > 2 * 50_000_000


async def test_an_entry_that_names_no_account_counts_as_unknown_until_a_read_without_it(stage):
    keeper = stage.keeper()
    change_positions(stage, lambda entries: [*entries, {"pubkey": 7}, None])
    await load(keeper)
    coverage = keeper.engine.coverage()
    assert (coverage.positions, coverage.evaluated) == (62, 60)
    assert coverage.unknown == {"malformed": 2}

    stage.rpc.faults.clear()
    await load(keeper)

    assert keeper.engine.coverage().unknown == {}


async def test_an_entry_that_comes_twice_hides_not_even_its_own_account(stage):
    keeper = stage.keeper()
    change_positions(stage, lambda entries: [*entries, *entries])

    await load(keeper)

    coverage = keeper.engine.coverage()
    assert (coverage.positions, coverage.evaluated, coverage.unknown) == (60, 60, {})
    assert len(keeper.engine.queue) == 4
    assert keeper.feeds.state.refused_entries == 60


async def test_an_answer_below_the_asked_slot_is_no_answer(stage):
    keeper = stage.keeper()
    await keeper.start()
    account = str(stage.scenario.specs[0].price_account)
    known = keeper.engine.view[account]

    def behind(params: list[Any]) -> Any:
        answer = stage.rpc.really("getMultipleAccounts", params)
        return {**answer, "context": {"slot": known.slot - 1}}

    stage.ticks(3)
    stage.rpc.faults["getMultipleAccounts"] = behind
    reading = asyncio.create_task(keeper.feeds._read_wanted())
    keeper.feeds.want([account], min_context_slot=stage.world.slot - 1)
    await until(lambda: keeper.feeds.state.rpc_errors)
    keeper.absorb()
    assert keeper.engine.view[account] is known

    stage.rpc.faults.clear()
    await until(lambda: keeper.absorb() or keeper.engine.view[account] is not known)
    reading.cancel()


async def test_an_older_answer_that_comes_late_changes_nothing(stage):
    keeper = stage.keeper()
    await keeper.start()
    account = str(stage.scenario.specs[0].price_account)
    old = stage.rpc.really("getMultipleAccounts", [[account], {"encoding": "base64"}])
    stage.ticks(3)
    await keeper.feeds.read([account])
    keeper.absorb()
    newer = keeper.engine.view[account]

    def late(params: list[Any]) -> Any:
        answer = stage.rpc.really("getMultipleAccounts", params)
        answer["value"][0] = old["value"][0]
        return {**answer, "context": old["context"]}

    stage.rpc.faults["getMultipleAccounts"] = late
    await keeper.feeds.read([account])
    keeper.absorb()

    assert keeper.engine.view[account] is newer
