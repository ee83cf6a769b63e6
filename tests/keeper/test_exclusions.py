"""What people set aside is left alone by a running keeper, by its heir, and for as long as told."""

import time
from collections import Counter
from collections.abc import Iterator

import pytest

from liqctl.chain.client import Chain
from liqctl.core.breaker import BreakerRules
from liqctl.core.events import ExclusionsSeen
from liqctl.core.record import Exclusion, QueueOrder
from liqctl.keeper.context import Context
from liqctl.keeper.holds import Holds
from liqctl.keeper.mailbox import Mailbox
from liqctl.keeper.orders import Orders
from liqctl.keeper.service import Keeper
from liqctl.keeper.storage import StoreThread
from liqctl.ports import Store, SystemClock, SystemRng
from liqctl.store.open import open_store
from liqctl.testing import FakeRpc, MemoryStore
from liqctl.venues.registry import open_venue
from tests.keeper.stage import Stage
from tests.keeper.test_service import QUICK, running, until


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


@pytest.fixture
def person(stage: Stage) -> Iterator[Store]:
    """The database as somebody beside the keeper has it."""
    store = open_store(f"sqlite:{stage.place / 'k.db'}")
    yield store
    store.close()


def exclusion(position: str, lasts_ms: int | None = None) -> Exclusion:
    now_ms = SystemClock().unix_ms()
    until_ms = None if lasts_ms is None else now_ms + lasts_ms
    return Exclusion(position=position, reason="why", since_ms=now_ms, until_ms=until_ms)


async def queued(stage: Stage) -> list[str]:
    """The four positions that the fall of the price makes liquidatable."""
    keeper = stage.keeper(dry=True, database="look.db")
    await keeper.start()
    return keeper.engine.queue.positions()


def liquidated(stage: Stage) -> set[str]:
    return {position for (position,) in stage.rows("SELECT position_pubkey FROM liquidations")}


def is_excluded(keeper: Keeper, position: str) -> bool:
    return keeper.engine.exclusion(position, SystemClock().unix_ms()) is not None


async def test_an_excluded_position_is_left_alone_until_it_is_taken_back(stage, person):
    first, *others = await queued(stage)
    person.exclude(exclusion(first))
    keeper = stage.keeper(**QUICK)

    async with running(stage, keeper):
        await until(lambda: liquidated(stage) == set(others))
        assert keeper.status().quarantined == 1
        row = "SELECT state, reason FROM queue"
        await until(lambda: stage.rows(row) == [("quarantined", "excluded: why")])
        assert person.include(first)
        await until(lambda: first in liquidated(stage))


async def test_what_is_excluded_while_a_keeper_reads_its_first_accounts_is_not_begun(stage, person):
    first, *_ = await queued(stage)
    keeper = stage.keeper(**QUICK)

    def slow(_params: list[object]) -> None:
        person.exclude(exclusion(first))

    stage.rpc.faults["getProgramAccounts"] = slow
    await keeper.start()

    assert is_excluded(keeper, first)


async def test_a_running_keeper_takes_in_an_exclusion_within_a_second(stage, person):
    first, *_ = await queued(stage)
    person.exclude(exclusion(first))
    keeper = stage.keeper(**QUICK)

    async with running(stage, keeper):
        await until(lambda: is_excluded(keeper, first))
        started = time.monotonic()
        person.include(first)
        await until(lambda: not is_excluded(keeper, first))
        taken_back = time.monotonic()
        person.exclude(exclusion("elsewhere"))
        await until(lambda: is_excluded(keeper, "elsewhere"))

        assert taken_back - started < 1
        assert time.monotonic() - taken_back < 1


async def test_an_exclusion_with_a_time_ends_without_anybody(stage, person):
    first, *others = await queued(stage)
    person.exclude(exclusion(first, lasts_ms=1_500))
    keeper = stage.keeper(**QUICK)

    async with running(stage, keeper):
        await until(lambda: liquidated(stage) == set(others))
        assert is_excluded(keeper, first)
        await until(lambda: first in liquidated(stage))
        assert not is_excluded(keeper, first)


async def test_a_keeper_killed_as_it_takes_a_drop_leaves_the_drop_behind(stage, person):
    keeper = stage.keeper(**QUICK)
    await keeper.start()
    await keeper.recorder.flush()
    first = keeper.engine.queue.positions()[0]
    assert person.set_order(first, QueueOrder.DROP)
    await keeper.orders.take()

    heir = stage.keeper(**QUICK)
    async with running(stage, heir):
        await until(lambda: len(liquidated(stage)) == 3)
        assert is_excluded(heir, first)

    assert first not in liquidated(stage)


class SteppedClock(SystemClock):
    ahead_ms = 0

    def unix_ms(self) -> int:
        return super().unix_ms() + self.ahead_ms


@pytest.mark.parametrize("ahead_ms", [3_600_000, -3_600_000])
async def test_an_exclusion_lasts_as_long_as_told_although_the_clock_was_off_at_the_start(ahead_ms):
    clock = SteppedClock()
    clock.ahead_ms = ahead_ms
    store = MemoryStore()
    context = Context(
        venue=open_venue("reference", None),
        chain=Chain(FakeRpc()),
        store=StoreThread(store),
        clock=clock,
        rng=SystemRng(1),
        owner="me",
    )
    clock.ahead_ms = 0
    store.exclude(exclusion("p", lasts_ms=1_800_000))
    mailbox = Mailbox()
    await Orders(context, Holds(context, BreakerRules(), None), mailbox, Counter()).take()

    (seen,) = mailbox.drain()
    assert isinstance(seen, ExclusionsSeen)
    (kept,) = seen.exclusions
    now_ms = context.steady.ms()
    assert kept.holds(now_ms + 1_795_000)
    assert not kept.holds(now_ms + 1_805_000)
    await context.store.close()
