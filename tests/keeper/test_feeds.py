"""What the sources put into the mailbox: notices, snapshots, re-reads, and what they leave out."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import pytest

from liqctl.chain.notice import AccountNotice, SlotNotice, StreamDown, StreamItem, StreamUp
from liqctl.chain.stream import Subscriptions
from liqctl.core.account import Account, Gone, Seen
from liqctl.core.events import AccountsSeen, CheckDue, ClockSeen, Event, SnapshotSeen
from liqctl.errors import RpcUnreachable
from liqctl.keeper.decode import CLOCK_SYSVAR
from liqctl.keeper.feeds import Feeds, Intervals
from liqctl.keeper.mailbox import Mailbox
from tests.keeper.stage import Stage

NEVER_MS = 10**9
RESTING = Intervals(check_ms=NEVER_MS, cache_ms=NEVER_MS, reconcile_ms=NEVER_MS)


class PlayedStream:
    """A subscription connection whose notices the test makes up."""

    def __init__(self) -> None:
        self.watched: list[str] = []
        self.sink: Callable[[StreamItem], None] = lambda _: None
        self.running = asyncio.Event()

    def watch_account(self, address: str) -> None:
        self.watched.append(address)

    def watch_program(self, program_id: str, discriminator: bytes) -> None:
        self.watched.append(f"{program_id} {discriminator.hex()}")

    async def run(self, sink: Callable[[StreamItem], None]) -> None:
        self.sink = sink
        self.running.set()
        await asyncio.Event().wait()


class Setting:
    """Feeds alone, on a chain, with played connections."""

    def __init__(self, stage: Stage, intervals: Intervals) -> None:
        self.stage = stage
        self.context = stage.keeper()._context
        self.mailbox = Mailbox()
        self.prices, self.accounts = PlayedStream(), PlayedStream()
        self.feeds = Feeds(
            self.context,
            self.mailbox,
            prices=cast("Subscriptions", self.prices),
            accounts=cast("Subscriptions", self.accounts),
            intervals=intervals,
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.feeds.run())
        await self.prices.running.wait()
        await self.accounts.running.wait()
        yield
        assert not task.done()
        task.cancel()

    def asked(self, method: str) -> list[Any]:
        return [params for called, params in self.stage.rpc.calls if called == method]

    def price_account(self) -> str:
        return str(self.stage.scenario.specs[0].price_account)

    def notice(self, address: str, *, slot: int | None = None, received_ns: int = 77) -> Any:
        held = self.stage.rpc.really("getAccountInfo", [address, {"encoding": "base64"}])
        value, at = held["value"], slot or held["context"]["slot"]
        account = Account(
            address=address,
            owner=value["owner"],
            lamports=value["lamports"],
            data=base64.b64decode(value["data"][0]),
            slot=at,
        )
        return AccountNotice(address=address, account=account, slot=at, received_ns=received_ns)


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def setting(stage):
    return Setting(stage, RESTING)


async def until(condition: Callable[[], object]) -> None:
    for _ in range(500):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


async def test_every_reconnection_has_everything_read_again(setting):
    taken: list[Event] = []

    def reached(snapshots: int) -> bool:
        taken.extend(setting.mailbox.drain())
        return sum(isinstance(event, SnapshotSeen) for event in taken) == snapshots

    async with setting.running():
        for expected in (1, 2):
            setting.accounts.sink(StreamUp())
            await until(partial(reached, expected))
        await asyncio.sleep(0.05)
        assert reached(2)


async def test_a_connection_that_went_down_is_counted_and_is_no_sign_of_life(setting):
    async with setting.running():
        setting.prices.sink(StreamDown("silent"))
        setting.accounts.sink(StreamDown("silent"))
        assert setting.feeds.state.streams_down == 2
        assert setting.feeds.state.notice_ns == 0

        setting.prices.sink(SlotNotice(slot=1, received_ns=1))
        assert setting.feeds.state.notice_ns > 0


async def test_prices_and_positions_come_over_connections_of_their_own(setting):
    await setting.feeds.load()
    await setting.feeds.load()
    async with setting.running():
        program = setting.context.venue.program_id
        kinds = setting.context.venue.discriminators().values()
        assert setting.accounts.watched == [f"{program} {kind.hex()}" for kind in kinds]
        specs = setting.stage.scenario.specs
        fund = setting.context.venue.insurance_address()
        expected = {CLOCK_SYSVAR, fund, *(str(spec.price_account) for spec in specs)}
        assert set(setting.prices.watched) == expected
        assert len(setting.prices.watched) == len(expected)


async def test_a_price_notice_carries_its_arrival_and_a_position_notice_does_not(setting):
    async with setting.running():
        notice = setting.notice(setting.price_account())
        setting.prices.sink(notice)
        [event] = setting.mailbox.drain()
        assert isinstance(event, AccountsSeen)
        assert event.received_ns == 77

        setting.accounts.sink(notice)
        [event] = setting.mailbox.drain()
        assert event.received_ns == 0


async def test_a_notice_of_an_account_that_closed_says_gone(setting):
    async with setting.running():
        gone = AccountNotice(address="A", account=None, slot=9, received_ns=1)
        setting.accounts.sink(gone)

        [event] = setting.mailbox.drain()
        assert event.seen == (Seen(address="A", slot=9, value=Gone()),)


async def test_the_clock_comes_as_time_and_a_broken_one_not_at_all(setting):
    async with setting.running():
        notice = setting.notice(CLOCK_SYSVAR)
        setting.prices.sink(notice)
        [event] = setting.mailbox.drain()
        assert isinstance(event, ClockSeen)
        assert event.unix_timestamp >= 1_750_000_000

        account = Account(address=CLOCK_SYSVAR, owner="o", lamports=1, data=b"x", slot=9)
        setting.prices.sink(
            AccountNotice(address=CLOCK_SYSVAR, account=account, slot=9, received_ns=1)
        )
        assert setting.mailbox.drain() == []


async def test_what_was_seen_just_now_is_not_read_again_but_everything_is_looked_at(stage):
    setting = Setting(stage, Intervals(check_ms=20, cache_ms=NEVER_MS, reconcile_ms=NEVER_MS))
    await setting.feeds.load()
    setting.mailbox.drain()
    before = len(setting.asked("getMultipleAccounts"))
    async with setting.running():
        await until(lambda: len(setting.asked("getMultipleAccounts")) >= before + 2)

    assert setting.asked("getMultipleAccounts")[-1][0] == [CLOCK_SYSVAR]
    assert sum(isinstance(event, CheckDue) for event in setting.mailbox.drain()) >= 1


async def test_a_node_that_is_down_does_not_stop_the_periodic_look(stage):
    setting = Setting(stage, Intervals(check_ms=10, cache_ms=0, reconcile_ms=NEVER_MS))

    def down(_):
        raise RpcUnreachable

    stage.rpc.faults["getMultipleAccounts"] = down
    async with setting.running():
        await until(lambda: setting.feeds.state.rpc_errors >= 2)
        assert any(isinstance(event, CheckDue) for event in setting.mailbox.drain())
        assert setting.feeds.state.check_ns == 0
        stage.rpc.faults.clear()
        await until(lambda: setting.feeds.state.check_ns > 0)


async def test_what_is_wanted_is_read_at_its_slot_or_later_and_again_until_it_worked(setting):
    address = setting.price_account()
    refused = [0]

    def behind(params):
        if refused[0] < 1:
            refused[0] += 1
            raise RpcUnreachable

    setting.stage.rpc.faults["getMultipleAccounts"] = behind
    async with setting.running():
        slot = setting.stage.world.slot - 3
        setting.feeds.want([address], min_context_slot=slot)
        setting.feeds.want([address], min_context_slot=slot - 5)
        await until(lambda: len(setting.asked("getMultipleAccounts")) == 2)
        await asyncio.sleep(0.05)

    assert len(setting.asked("getMultipleAccounts")) == 2
    [addresses, options] = setting.asked("getMultipleAccounts")[-1]
    assert addresses == [address, CLOCK_SYSVAR]
    assert options["minContextSlot"] == slot


async def test_a_malformed_entry_of_a_snapshot_is_counted_and_hides_no_other(stage):
    keeper = stage.keeper()

    def spoil(params):
        answer = stage.rpc.really("getProgramAccounts", params)
        if len(answer["value"]) > 50:
            entries = answer["value"]
            entries[0]["account"]["data"] = ["%%%", "base64"]
            entries[1]["account"]["lamports"] = "many"
            entries.append({"pubkey": 7})
            entries.append(None)
        return answer

    stage.rpc.faults["getProgramAccounts"] = spoil
    await keeper.start()

    coverage = keeper.engine.coverage()
    assert keeper.feeds.state.refused_entries == 4
    assert (coverage.positions, coverage.evaluated) == (62, 58)
    assert coverage.unknown == {"malformed": 4}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda _: None, "price_missing"),
        (lambda held: {**held, "owner": "1" * 32}, "price_missing"),
        (lambda held: {**held, "owner": CLOCK_SYSVAR}, "price_wrong_owner"),
        (lambda held: {**held, "data": ["", "base64"]}, "price_wrong_type"),
        (lambda held: {**held, "lamports": 0}, "price_missing"),
    ],
    ids=["closed", "handed back", "forged", "emptied", "without lamports"],
)
async def test_a_price_account_that_is_none_stops_its_market_until_it_is_back(
    stage, change, reason
):
    keeper = stage.keeper()
    await keeper.start()
    waiting = len(keeper.engine.queue)
    account = str(stage.scenario.specs[0].price_account)

    def replaced(params):
        answer = stage.rpc.really("getMultipleAccounts", params)
        at = params[0].index(account)
        answer["value"][at] = change(answer["value"][at])
        return answer

    stage.ticks(1)
    stage.rpc.faults["getMultipleAccounts"] = replaced
    await keeper.feeds.read([account])
    keeper.absorb()
    assert keeper.engine.coverage().unknown.keys() == {reason}
    assert len(keeper.engine.queue) == 0
    assert waiting > 0

    stage.rpc.faults.clear()
    stage.ticks(1)
    await keeper.feeds.read([account])
    keeper.absorb()
    assert keeper.engine.coverage().unknown == {}
    assert len(keeper.engine.queue) == waiting


async def test_markets_can_be_read_without_the_positions(tmp_path):
    stage = Stage(tmp_path)
    keeper = stage.keeper(dry=True)

    await keeper.feeds.load_markets()
    keeper.absorb()

    assert keeper.engine.mark_prices_e6().keys() == {"SOL", "BTC", "ETH"}
    assert keeper.engine.positions == 0
    await stage.close()
