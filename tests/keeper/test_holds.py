import asyncio
import errno
from collections import Counter
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from liqctl.chain.client import Chain
from liqctl.core.breaker import BreakerRules
from liqctl.core.events import Cause, OutcomeSeen, Result
from liqctl.keeper.context import Context
from liqctl.keeper.holds import Holds, Switch
from liqctl.keeper.mailbox import Mailbox
from liqctl.keeper.orders import Orders
from liqctl.keeper.storage import StoreThread
from liqctl.ports import SystemRng
from liqctl.store.switch import write_switch
from liqctl.testing import FakeRpc, ManualClock, MemoryStore
from liqctl.venues.registry import open_venue

RULES = BreakerRules(failures_max=2, pause_ms=1_000, crowd_min=10)


@pytest.fixture
async def context():
    made = Context(
        venue=open_venue("reference", None),
        chain=Chain(FakeRpc()),
        store=StoreThread(MemoryStore()),
        clock=ManualClock(),
        rng=SystemRng(1),
        owner="me",
    )
    yield made
    await made.store.close()


def failed(cause: Cause, slot: int = 5) -> OutcomeSeen:
    return OutcomeSeen(position="p", result=Result.FAILED, cause=cause, slot=slot)


def landed(*, at_loss: bool = False) -> OutcomeSeen:
    return OutcomeSeen(position="p", result=Result.LANDED, slot=5, at_loss=at_loss)


async def test_a_stop_in_the_store_holds_until_a_resume(context):
    holds = Holds(context, RULES, None)
    await holds.look()
    assert holds.reason() is None

    write_switch(context.store.store, 10, stop=True)
    await holds.look()
    assert holds.reason() == "kill_switch_row"

    write_switch(context.store.store, 20, stop=False)
    await holds.look()
    assert holds.reason() is None


async def test_a_stop_file_holds_as_long_as_it_is_there(context, tmp_path):
    holds = Holds(context, RULES, tmp_path / "STOP")
    (tmp_path / "STOP").touch()
    await holds.look()
    assert holds.reason() == "kill_switch_file"

    (tmp_path / "STOP").unlink()
    await holds.look()
    assert holds.reason() is None


@pytest.mark.parametrize("broken", [NotADirectoryError, PermissionError], ids=["path", "rights"])
async def test_a_stop_file_that_nobody_can_look_for_holds_until_it_can(
    context, tmp_path, monkeypatch, broken
):
    file = tmp_path / "folder" / "STOP"
    if broken is PermissionError:  # root is refused nothing

        def lstat(_: Path) -> None:
            raise PermissionError(errno.EACCES, "Permission denied")

        monkeypatch.setattr(Path, "lstat", lstat)
    else:
        file.parent.touch()
    holds = Holds(context, RULES, file)
    with capture_logs() as logs:
        await holds.look()
        await holds.look()
    assert holds.reason() == "kill_switch_unreadable"
    [line] = [line for line in logs if line["event"] == "kill_switch"]
    assert line["reason"].startswith(f"{file}: ")

    monkeypatch.undo()
    file.parent.unlink(missing_ok=True)
    file.parent.mkdir()
    await holds.look()
    assert holds.reason() is None


async def test_a_link_to_nowhere_is_a_stop_file_too(context, tmp_path):
    holds = Holds(context, RULES, tmp_path / "STOP")
    (tmp_path / "STOP").symlink_to(tmp_path / "nowhere")

    await holds.look()

    assert holds.reason() == "kill_switch_file"


async def test_a_signal_holds_until_a_later_resume(context):
    write_switch(context.store.store, context.clock.unix_ms() - 1, stop=False)
    holds = Holds(context, RULES, None)
    await holds.look()
    holds.pull()

    await holds.look()
    assert holds.reason() == "kill_switch_signal"

    write_switch(context.store.store, context.clock.unix_ms() + 1, stop=False)
    await holds.look()
    assert holds.reason() is None


async def test_a_resume_written_before_the_signal_and_read_after_it_does_not_lift_it(context):
    holds = Holds(context, RULES, None)
    write_switch(context.store.store, 1, stop=True)
    await holds.look()
    write_switch(context.store.store, 2, stop=False)
    holds.pull()

    await holds.look()
    assert holds.reason() == "kill_switch_signal"

    write_switch(context.store.store, 3, stop=False)
    await holds.look()
    assert holds.reason() is None


async def test_a_file_that_comes_and_goes_does_not_lift_what_a_signal_has_set(context, tmp_path):
    file = tmp_path / "STOP"
    holds = Holds(context, RULES, file)
    await holds.look()
    holds.pull()
    file.touch()
    await holds.look()
    assert holds.reason() == "kill_switch_file"

    file.unlink()
    await holds.look()
    assert holds.reason() == "kill_switch_signal"

    write_switch(context.store.store, 2, stop=False)
    await holds.look()
    assert holds.reason() is None


async def test_a_resume_counts_although_the_file_is_still_there(context, tmp_path):
    file = tmp_path / "STOP"
    holds = Holds(context, RULES, file)
    await holds.look()
    holds.ended(failed(Cause.BUG))
    file.touch()
    await holds.look()
    write_switch(context.store.store, 2, stop=False)
    await holds.look()
    assert holds.reason() == "kill_switch_file"

    file.unlink()
    await holds.look()
    assert holds.reason() is None


async def test_what_was_read_before_the_signal_does_not_make_an_earlier_resume_lift_it(context):
    store = context.store.store
    holds = Holds(context, RULES, None)
    write_switch(store, 1, stop=True)
    await holds.look()
    read_before = holds.read(store)
    write_switch(store, 2, stop=False)
    holds.pull()
    holds.note(read_before)

    await holds.look()
    assert holds.reason() == "kill_switch_signal"


async def test_a_resume_soon_after_the_signal_is_heard(context, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.orders.LOOK_S", 3_600)
    store, looked = context.store.store, asyncio.Event()
    holds = Holds(context, RULES, None)
    write_switch(store, 1, stop=False)
    await holds.look()

    def note(found: Switch) -> None:
        Holds.note(holds, found)
        looked.set()

    monkeypatch.setattr(holds, "note", note)
    watching = asyncio.create_task(Orders(context, holds, Mailbox(), Counter()).heed_switch())
    await asyncio.sleep(0)
    holds.pull()

    async with asyncio.timeout(10):
        await looked.wait()
    write_switch(store, 2, stop=False)
    await holds.look()
    watching.cancel()

    assert holds.reason() is None


async def test_failures_on_chain_open_the_breaker_and_a_resume_closes_it(context):
    holds = Holds(context, RULES, None)
    await holds.look()
    holds.ended(failed(Cause.NO_FUNDS))
    assert holds.reason() is None
    holds.ended(failed(Cause.NO_FUNDS))
    assert holds.reason() == "breaker_failures"

    write_switch(context.store.store, context.clock.unix_ms() + 1, stop=False)
    await holds.look()
    assert holds.reason() is None


async def test_a_resume_is_heard_although_the_clock_has_been_set_back(context):
    write_switch(context.store.store, context.clock.unix_ms() + 3_600_000, stop=False)
    holds = Holds(context, RULES, None)
    await holds.look()
    holds.pull()
    await holds.look()
    assert holds.reason() == "kill_switch_signal"

    write_switch(context.store.store, context.clock.unix_ms(), stop=False)
    await holds.look()

    assert holds.reason() is None


async def test_failures_before_anything_was_sent_do_not_count(context):
    holds = Holds(context, RULES, None)
    for _ in range(5):
        holds.ended(failed(Cause.RPC, slot=0))

    assert holds.reason() is None


async def test_an_error_that_the_venue_does_not_know_holds_at_once(context):
    holds = Holds(context, RULES, None)

    holds.ended(failed(Cause.BUG, slot=0))

    assert holds.reason() == "breaker_unknown_error"


async def test_accounts_of_another_layout_hold_for_good_and_a_pause_for_a_while(context):
    changed = Holds(context, RULES, None)
    changed.ended(failed(Cause.LAYOUT, slot=0))
    paused = Holds(context, RULES, None)
    paused.ended(failed(Cause.PAUSED, slot=0))
    assert paused.reason() == "breaker_paused"

    await context.clock.advance(1)

    assert paused.reason() is None
    assert changed.reason() == "breaker_program_changed"


async def test_three_landings_at_a_loss_in_a_row_hold(context):
    holds = Holds(context, RULES, None)
    for at_loss in (True, True, False, True, True):
        holds.ended(landed(at_loss=at_loss))
    assert holds.reason() is None

    holds.ended(landed(at_loss=True))

    assert holds.reason() == "breaker_unprofitable"


async def test_a_tick_that_takes_most_positions_holds(context):
    holds = Holds(context, RULES, None)
    holds.turned(40, 100)
    assert holds.reason() is None

    holds.turned(60, 100)

    assert holds.reason() == "breaker_crowd"
