"""The daemon as a whole, on a chain without sockets: polling, faults, supervision and its end."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress

import pytest
from solders.pubkey import Pubkey

from liqctl.core.guards import Limits
from liqctl.core.queue import Pacing
from liqctl.core.record import QueueOrder
from liqctl.errors import InvariantError, RpcUnreachable, StoreBusy
from liqctl.keeper.feeds import Intervals
from liqctl.keeper.service import Keeper
from liqctl.localnet.account import AccountState
from liqctl.store.open import open_store
from tests.keeper.stage import Stage, settle

QUICK = {
    "intervals": Intervals(check_ms=40, cache_ms=0, insurance_ms=50, reconcile_ms=120),
    "pacing": Pacing(backoff_ms=20, backoff_ms_max=40),
    "limits": Limits(in_flight_max=8),
    "settle_ms": 15,
}
PRICE, CONFIDENCE, EXPONENT, PUBLISHED = (73, "<q"), (81, "<Q"), (89, "<i"), (93, "<q")


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


async def until(condition: Callable[[], object]) -> None:
    for _ in range(800):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that")


@asynccontextmanager
async def running(stage: Stage, keeper: Keeper) -> AsyncIterator[asyncio.Event]:
    """Run the daemon while slots pass; the block ends it."""

    async def pass_slots() -> None:
        while True:
            await asyncio.sleep(0.02)
            stage.ticks(1)

    stop = asyncio.Event()
    slots = asyncio.create_task(pass_slots())
    daemon = asyncio.create_task(keeper.run(stop))
    try:
        yield stop
        stop.set()
        async with asyncio.timeout(10):
            await daemon
    finally:
        slots.cancel()
        daemon.cancel()
        with suppress(asyncio.CancelledError, Exception):
            await daemon


async def test_by_polling_alone_everything_liquidatable_is_liquidated_once(stage):
    keeper = stage.keeper(**QUICK)

    async with running(stage, keeper):
        await until(lambda: keeper.status().full == 4)
        await until(lambda: not keeper.in_flight())

    assert stage.rows("SELECT state, COUNT(*) FROM attempt GROUP BY 1") == [("FINALIZED_OK", 4)]
    assert stage.rows("SELECT COUNT(*) FROM queue") == [(0,)]
    kinds = {kind for (kind,) in stage.rows("SELECT DISTINCT kind FROM events")}
    assert {"liquidation", "queue", "insurance_fund", "price_update"} <= kinds


async def test_the_end_releases_every_lease_and_leaves_nothing_undecided(stage):
    keeper = stage.keeper(**QUICK)

    async with running(stage, keeper):
        await until(lambda: keeper.in_flight() > 0)

    assert stage.rows("SELECT COUNT(*) FROM attempt WHERE state IN ('SIGNED')") == [(0,)]
    assert stage.rows("SELECT COUNT(*) FROM intent WHERE owner IS NOT NULL") == [(0,)]


async def die(*_: object) -> None:
    raise ZeroDivisionError


async def end(*_: object) -> None:
    return


async def be_cancelled(*_: object) -> None:
    raise asyncio.CancelledError


PARTS = [
    "feeds._check",
    "feeds._reconcile",
    "feeds._read_wanted",
    "settler.run",
    "_blockhash.run",
    "recorder.run",
    "orders.run",
    "_sample_fund",
    "_decide",
    "executor.run",
]


def put_in(keeper: Keeper, monkeypatch: pytest.MonkeyPatch, name: str, part: object) -> None:
    *place, method = name.split(".")
    monkeypatch.setattr(getattr(keeper, place[0]) if place else keeper, method, part)


@pytest.mark.parametrize("name", PARTS)
async def test_a_part_that_dies_ends_the_daemon_with_its_error(stage, monkeypatch, name):
    keeper = stage.keeper(**QUICK)
    put_in(keeper, monkeypatch, name, die)

    with pytest.raises(BaseExceptionGroup, match="unhandled errors") as raised:
        async with asyncio.timeout(8):
            await keeper.run(asyncio.Event())

    assert raised.group_contains(ZeroDivisionError)


@pytest.mark.parametrize("how", [end, be_cancelled])
@pytest.mark.parametrize("name", ["feeds.run", "settler.run", "recorder.run", "_decide"])
async def test_a_part_that_ends_by_itself_ends_the_daemon_with_an_error(
    stage, monkeypatch, name, how
):
    keeper = stage.keeper(**QUICK)
    put_in(keeper, monkeypatch, name, how)

    with pytest.raises(BaseExceptionGroup) as raised:
        async with asyncio.timeout(8):
            await keeper.run(asyncio.Event())

    assert raised.group_contains(InvariantError, match=name.split(".")[0].strip("_"))


async def test_the_end_comes_within_ten_seconds_although_the_node_hangs(stage, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.service.WORKERS_S_MAX", 0.2)
    monkeypatch.setattr("liqctl.keeper.service.DRAIN_S_MAX", 0.2)
    keeper = stage.keeper(**QUICK)
    really, hanging = stage.rpc.call, asyncio.Event()

    async def call(method: str, params: object) -> object:
        if hanging.is_set() or method == "sendTransaction":
            hanging.set()
            await asyncio.sleep(60)
        return await really(method, params)

    monkeypatch.setattr(stage.rpc, "call", call)
    stop = asyncio.Event()
    daemon = asyncio.create_task(keeper.run(stop))
    await hanging.wait()
    await asyncio.sleep(0.1)

    stop.set()
    async with asyncio.timeout(3):
        await daemon

    live = "SELECT COUNT(*) FROM attempt WHERE state IN ('SIGNED', 'SENT')"
    assert stage.rows(live)[0][0] > 0
    assert stage.rows("SELECT COUNT(*) FROM intent WHERE owner IS NOT NULL") == [(0,)]


async def test_a_dry_daemon_works_everything_out_and_sends_and_claims_nothing(stage):
    keeper = stage.keeper(dry=True, **QUICK)

    async with running(stage, keeper):
        await until(lambda: keeper.status().refused.get("dry_run", 0) >= 4)

    assert stage.rpc.sent() == []
    assert stage.rows("SELECT COUNT(*) FROM intent") == [(0,)]


async def test_the_fund_is_sampled_again_and_again_and_when_it_moves(stage):
    keeper = stage.keeper(**QUICK)

    async with running(stage, keeper):
        await until(lambda: keeper.status().full == 4)
        await until(lambda: len(stage.rows("SELECT 1 FROM insurance_balance")) >= 4)

    balances = [balance for (balance,) in stage.rows("SELECT balance FROM insurance_balance")]
    assert len(set(balances)) > 1
    assert balances[-1] == keeper.status().fund_balance


async def test_without_a_commit_nothing_is_sent_and_it_goes_on_when_the_database_is_back(
    stage, monkeypatch
):
    keeper = stage.keeper(**QUICK)
    store = keeper._context.store.store
    working = store.record_attempt
    failures = []

    def locked(*given, **_more):
        failures.append(given)
        raise StoreBusy

    monkeypatch.setattr(store, "record_attempt", locked)
    async with running(stage, keeper):
        await until(lambda: len(failures) >= 3)
        assert stage.rpc.sent() == []
        monkeypatch.setattr(store, "record_attempt", working)
        await until(lambda: keeper.status().full > 0)

    assert stage.rows("SELECT COUNT(*) FROM attempt WHERE state = 'FINALIZED_OK'")[0][0] > 0


async def test_a_node_that_is_down_for_a_while_is_counted_and_used_again(stage):
    keeper = stage.keeper(**QUICK)

    def down(_):
        raise RpcUnreachable

    async with running(stage, keeper):
        await until(lambda: keeper.feeds.state.check_ns > 0)
        for method in ("getMultipleAccounts", "getProgramAccounts", "getEpochInfo"):
            stage.rpc.faults[method] = down
        await until(lambda: keeper.status().rpc_errors >= 3)
        stage.rpc.faults.clear()
        await until(lambda: keeper.status().full == 4)


async def test_a_malformed_account_is_counted_and_hides_nobody(stage):
    keeper = stage.keeper()
    program = Pubkey.from_string(stage.scenario.addresses.program)
    head = keeper._context.venue.discriminators()["position"]
    for number, body in enumerate((head, head + bytes(135), head + bytes(136), head + bytes(137))):
        stage.world.set_account(
            Pubkey(bytes([number + 1] * 32)),
            AccountState(lamports=10**7, data=body, owner=program),
        )
    stage.ticks(3)

    await keeper.start()

    coverage = keeper.engine.coverage()
    assert (coverage.positions, coverage.evaluated) == (64, 60)
    assert sum(coverage.unknown.values()) == 4
    assert len(keeper.engine.queue) == 4


async def test_a_snapshot_that_is_cut_short_removes_nothing(stage):
    keeper = stage.keeper()
    await keeper.start()

    def cut(params):
        answer = stage.rpc.really("getProgramAccounts", params)
        return {**answer, "value": answer["value"][:3]}

    stage.rpc.faults["getProgramAccounts"] = cut
    stage.ticks(2)
    await keeper.feeds.load()
    keeper.absorb()

    assert keeper.engine.coverage().positions == 60


async def test_a_position_that_somebody_closed_is_forgotten_at_the_next_snapshot(stage):
    ours, theirs = stage.keeper(), stage.rival()
    await ours.start()
    await theirs.start()
    decision = theirs.engine.next(0)
    assert decision is not None
    await theirs.executor.run(decision, theirs.engine.view)
    await settle(stage, theirs)

    reading = asyncio.create_task(ours.feeds._read_wanted())
    await ours.feeds.load()
    ours.absorb()
    while ours.engine.coverage().positions == 60:
        await asyncio.sleep(0.01)
        ours.absorb()
    reading.cancel()

    assert ours.engine.position(decision.position.address) is None


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        (PRICE, 0, "price_not_positive"),
        (PRICE, -1, "price_not_positive"),
        (EXPONENT, 20, "price_bad_exponent"),
        (EXPONENT, -19, "price_bad_exponent"),
        (CONFIDENCE, 2**63, "price_too_wide"),
        (PUBLISHED, 1, "price_stale"),
        ((41, "<Q"), 7, "price_wrong_feed"),
        ((40, "<B"), 0, "price_not_fully_verified"),
        ((0, "<Q"), 7, "price_wrong_type"),
    ],
)
async def test_a_bad_price_makes_its_market_unknown_until_a_good_one_comes(
    stage, field, value, reason
):
    keeper = stage.keeper()
    await keeper.start()
    account = stage.scenario.specs[0].price_account
    good = stage.world.account(account)
    assert good is not None
    spoiled = bytearray(good.data)
    struct.pack_into(field[1], spoiled, field[0], value)

    def spoil(params):
        """Answer as the node does, with the spoiled bytes in the place of the price."""
        answer = stage.rpc.really("getMultipleAccounts", params)
        at = params[0].index(str(account))
        answer["value"][at]["data"] = [base64.b64encode(bytes(spoiled)).decode(), "base64"]
        return answer

    stage.ticks(1)
    stage.rpc.faults["getMultipleAccounts"] = spoil
    await keeper.feeds.read([str(account)])
    keeper.absorb()
    assert reason in keeper.engine.coverage().unknown
    assert all(
        keeper.engine.position(p).market != stage.scenario.addresses.markets["SOL"]
        for p in keeper.engine.queue.positions()
    )

    stage.rpc.faults.clear()
    stage.ticks(2)
    await keeper.feeds.read([str(account)])
    keeper.absorb()
    assert keeper.engine.coverage().unknown == {}


async def test_a_drop_survives_a_restart_and_a_retry_lifts_it(stage):
    keeper = stage.keeper(**QUICK)
    await keeper.start()
    first = keeper.engine.queue.entries()[0].position
    await keeper.recorder.flush()
    assert keeper._context.store.store.set_order(first, QueueOrder.DROP)
    await keeper.orders.take()
    keeper.absorb()
    await keeper.recorder.flush()

    heir = stage.keeper(**QUICK)
    async with running(stage, heir):
        await until(lambda: heir.status().full == 3)
        assert heir.status().quarantined == 1
        await until(lambda: stage.rows("SELECT 1 FROM queue WHERE state = 'quarantined'"))
        with closing(open_store(f"sqlite:{stage.place / 'k.db'}")) as another:
            assert another.set_order(first, QueueOrder.RETRY)
        await until(lambda: heir.status().full == 4)
