"""What goes wrong around a decision: the database, the node, two decisions at one moment, the end."""

import asyncio
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from liqctl.core.events import AccountsSeen, OutcomeSeen, Result
from liqctl.core.guards import TOKEN_ACCOUNT_RENT_LAMPORTS, Limits
from liqctl.core.record import QueueOrder
from liqctl.errors import RpcMalformed, RpcRefused, RpcUnreachable, StoreBusy, StoreError
from liqctl.keeper.late import fill_in
from liqctl.keeper.service import Keeper
from liqctl.store.open import open_store
from liqctl.store.switch import write_switch
from tests.keeper.stage import Stage, execute, next_decision, settle, signature_of, until
from tests.store.records import queue_row

FEE_LAMPORTS = 205_000
# The first transactions may also pay for two token accounts, the owner's and the liquidator's.
COST_LAMPORTS = FEE_LAMPORTS + 2 * TOKEN_ACCOUNT_RENT_LAMPORTS


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


def failing(times: int, working: Any) -> Any:
    """Return a store method that is locked out so many times and works then."""
    left = [times]

    def method(*given: Any, **named: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise StoreBusy
        return working(*given, **named)

    return method


def spoil(keeper: Keeper, monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> None:
    store = keeper._context.store.store
    monkeypatch.setattr(store, name, failing(times, getattr(store, name)))


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(hour_lamports=COST_LAMPORTS), "cost_over_hour_cap"),
        (Limits(day_lamports=COST_LAMPORTS), "cost_over_day_cap"),
    ],
    ids=["hour", "day"],
)
async def test_decisions_at_one_moment_share_one_cap(stage, limits, reason):
    keeper = stage.keeper(limits=limits)
    await keeper.start()
    decisions = [next_decision(keeper) for _ in range(3)]

    ends = await asyncio.gather(*(execute(keeper, decision) for decision in decisions))

    refused = [end.outcome.reason for end in ends if end.outcome is not None]
    assert refused == [reason, reason]
    assert len(stage.rpc.sent()) == 1


async def test_decisions_at_one_moment_share_one_balance(stage):
    rich = 100 * 10**9
    keeper = stage.keeper(limits=Limits(balance_lamports_min=rich - COST_LAMPORTS))
    await keeper.start()
    decisions = [next_decision(keeper) for _ in range(3)]

    ends = await asyncio.gather(*(execute(keeper, decision) for decision in decisions))

    refused = [end.outcome.reason for end in ends if end.outcome is not None]
    assert refused == ["balance_too_low"] * 2
    assert len(stage.rpc.sent()) == 1


@pytest.mark.parametrize("same_key", [True, False])
async def test_what_another_process_has_in_the_air_lies_on_the_same_balance(stage, same_key):
    limits = Limits(balance_lamports_min=100 * 10**9 - COST_LAMPORTS)
    other = stage.keeper(key_file=None if same_key else stage.rival_file)
    keeper = stage.keeper(limits=limits)
    await other.start()
    await keeper.start()
    stage.rpc.faults["sendTransaction"] = lambda params: signature_of(params[0])
    assert (await execute(other)).live is not None
    next_decision(keeper)

    execution = await execute(keeper)

    refused = None if execution.outcome is None else execution.outcome.reason
    assert refused == ("balance_too_low" if same_key else None)


async def test_a_mark_that_fails_after_the_send_does_not_turn_it_into_a_failure(stage, monkeypatch):
    keeper = stage.keeper()
    await keeper.start()
    spoil(keeper, monkeypatch, "mark_sent", 1)

    execution = await execute(keeper)

    assert execution.live is not None
    assert stage.rows("SELECT state FROM attempt") == [("SIGNED",)]
    await settle(stage, keeper)
    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]
    assert len(set(stage.rpc.sent())) == 1


def answer_late(keeper: Keeper, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have the next call of a store method commit, and fail all the same."""
    store = keeper._context.store.store
    working = getattr(store, name)

    def method(*given: Any, **named: Any) -> Any:
        monkeypatch.setattr(store, name, working)
        working(*given, **named)
        raise StoreBusy

    monkeypatch.setattr(store, name, method)


def status_of(stage: Stage, level: str | None) -> Any:
    """Return what a node tells of a transaction that it has seen, or has not."""
    slot = stage.world.slot
    seen = {"slot": slot, "err": None, "confirmationStatus": level, "confirmations": 0}
    return {"context": {"slot": slot}, "value": [seen if level else None]}


async def test_a_send_that_was_marked_although_the_database_failed_ends_as_any_other(
    stage, monkeypatch
):
    keeper = stage.keeper()
    await keeper.start()
    stage.rpc.faults["sendTransaction"] = lambda _: False
    answer_late(keeper, monkeypatch, "mark_sent")
    await execute(keeper)
    stage.ticks(200)

    await keeper.settler.settle_once()

    assert stage.rows("SELECT state FROM attempt") == [("EXPIRED",)]


@pytest.mark.parametrize(
    ("name", "levels"),
    [("mark_seen", ["processed"]), ("mark_unseen", ["processed", None])],
)
async def test_a_sight_that_was_written_although_the_database_failed_blocks_no_end(
    stage, monkeypatch, name, levels
):
    keeper = stage.keeper()
    await keeper.start()
    stage.rpc.faults["sendTransaction"] = lambda _: False
    await execute(keeper)
    answer_late(keeper, monkeypatch, name)
    told = [status_of(stage, level) for level in levels]
    stage.rpc.faults["getSignatureStatuses"] = lambda _: told.pop(0)
    for _ in levels[1:]:
        await keeper.settler.settle_once()
    with pytest.raises(StoreBusy):
        await keeper.settler.settle_once()
    del stage.rpc.faults["getSignatureStatuses"]
    stage.ticks(200)

    for _ in range(2):
        await keeper.settler.settle_once()

    assert stage.rows("SELECT state FROM attempt") == [("EXPIRED",)]


async def test_a_sight_that_could_not_be_written_is_written_at_the_next_look(stage, monkeypatch):
    keeper = stage.keeper()
    await keeper.start()
    await execute(keeper)
    stage.rpc.faults["getSignatureStatuses"] = lambda _: status_of(stage, "processed")
    spoil(keeper, monkeypatch, "mark_seen", 1)
    with pytest.raises(StoreBusy):
        await keeper.settler.settle_once()

    await keeper.settler.settle_once()

    assert stage.rows("SELECT state FROM attempt") == [("SEEN",)]


@pytest.mark.parametrize("method", ["end_attempt", "mark_seen", "intent_of", "renew"])
async def test_an_ending_that_cannot_be_written_is_written_later_and_once(
    stage, monkeypatch, method
):
    monkeypatch.setattr("liqctl.keeper.settle.RENEW_MS", 0)
    keeper = stage.keeper(settle_ms=1)
    await keeper.start()
    await execute(keeper)
    spoil(keeper, monkeypatch, method, 2)
    settling = asyncio.create_task(keeper.settler.run())

    for _ in range(100):
        stage.ticks(1)
        await asyncio.sleep(0.01)
        if not keeper.settler.positions():
            break
    settling.cancel()

    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]
    assert stage.rows("SELECT COUNT(*) FROM liquidations") == [(1,)]
    assert stage.rows("SELECT COUNT(*) FROM failed_liquidations") == [(0,)]


async def test_a_lease_that_cannot_be_given_back_repeats_no_failure(stage, monkeypatch):
    keeper = stage.keeper(settle_ms=1)
    await keeper.start()
    stage.rpc.faults["sendTransaction"] = lambda _: False
    execution = await execute(keeper)
    stage.ticks(170)
    spoil(keeper, monkeypatch, "release", 2)
    settling = asyncio.create_task(keeper.settler.run())
    assert execution.live is not None
    async with asyncio.timeout(5):
        await execution.live.ended.wait()
    settling.cancel()

    assert stage.rows("SELECT failure_class FROM failed_liquidations") == [("expired",)]
    assert keeper.settler.counts["expired"] == 1
    assert stage.rows("SELECT owner FROM intent") == [(None,)]


@pytest.mark.parametrize("method", ["getMultipleAccounts", "simulateTransaction"])
async def test_a_node_that_fails_during_a_decision_leaves_no_lease(stage, method):
    keeper, other = stage.keeper(), stage.keeper()
    await keeper.start()
    await other.start()
    decision = next_decision(keeper)

    def down(_):
        raise RpcUnreachable

    stage.rpc.faults[method] = down
    with pytest.raises(RpcUnreachable):
        await execute(keeper, decision)
    stage.rpc.faults.clear()
    assert stage.rpc.sent() == []

    assert (await execute(other, decision)).live is not None


@pytest.mark.parametrize("during", ["the fresh read", "the claim"])
async def test_a_worker_that_is_cut_off_leaves_no_lease(stage, monkeypatch, during):
    keeper = stage.keeper()
    await keeper.start()
    loop, started, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    async def hang(*_: object, **__: object) -> None:
        started.set()
        await asyncio.sleep(60)

    def claim_slowly(*given: Any) -> object:
        loop.call_soon_threadsafe(started.set)
        go_on.wait(5)
        return claim(*given)

    store = keeper._context.store.store
    claim = store.claim
    if during == "the claim":
        monkeypatch.setattr(store, "claim", claim_slowly)
    else:
        monkeypatch.setattr("liqctl.keeper.executor.read_fresh", hang)
    working = asyncio.create_task(execute(keeper))
    await started.wait()
    await asyncio.sleep(0.05)
    working.cancel()
    await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await working

    assert stage.rows("SELECT owner, lease_until FROM intent") == [(None, 0)]


async def test_a_second_try_is_no_measure_of_how_fast_a_price_is_answered(stage):
    keeper = stage.keeper()
    await keeper.start()
    for entry in keeper.engine.queue.entries():
        keeper.engine.queue.settle(entry.position)
    stage.ticks(1)
    account = str(stage.scenario.specs[0].price_account)
    await keeper.feeds.read([account])
    [accounts] = [e for e in keeper.mailbox.drain() if isinstance(e, AccountsSeen)]
    keeper.engine.apply(replace(accounts, received_ns=1), 0)
    first = next_decision(keeper)
    assert first.tick_ns == 1

    address = first.position.address
    failed = OutcomeSeen(position=address, result=Result.FAILED, reason="store:busy")
    keeper.engine.apply(failed, 0)

    while (again := next_decision(keeper)).position.address != address:
        assert again.tick_ns == 1
    assert (again.tries, again.tick_ns) == (1, 0)


async def test_the_end_comes_although_the_database_is_locked(stage, monkeypatch):
    keeper = stage.keeper()
    await keeper.start()
    for _ in range(3):
        await execute(keeper)
    for method in ("release", "renew", "mark_seen", "end_attempt"):
        spoil(keeper, monkeypatch, method, 1_000)

    async with asyncio.timeout(3):
        await keeper.settler.drain(0.2)

    assert stage.rows("SELECT COUNT(*) FROM attempt WHERE state = 'SENT'") == [(3,)]


async def test_a_locked_database_at_the_start_of_the_recorder_is_waited_for(stage, monkeypatch):
    keeper = stage.keeper()
    await keeper.start()
    spoil(keeper, monkeypatch, "queue", 2)

    recording = asyncio.create_task(keeper.recorder.run())
    async with asyncio.timeout(5):
        while stage.rows("SELECT COUNT(*) FROM queue") != [(4,)]:
            assert not recording.done()
            await asyncio.sleep(0.02)
    recording.cancel()

    assert keeper.recorder.counts["store_errors"] > 0


@pytest.mark.parametrize("trouble", ["locked", "read-only"])
async def test_a_database_that_cannot_be_written_lets_nothing_leave_and_needs_no_restart(
    stage, monkeypatch, trouble
):
    monkeypatch.setattr("liqctl.store.open.BUSY_TIMEOUT_MS", 20)
    keeper = stage.keeper()
    await keeper.start()
    decision = next_decision(keeper)
    ours = keeper._context.store.store._connection
    with closing(sqlite3.connect(stage.place / "k.db")) as theirs:
        if trouble == "locked":
            theirs.execute("BEGIN IMMEDIATE")
        else:
            ours.execute("PRAGMA query_only = 1")
        with pytest.raises(StoreError):
            await execute(keeper, decision)
        await keeper.recorder.flush()
        assert stage.rpc.sent() == []
        assert keeper.recorder.counts["store_errors"] == 1

    ours.execute("PRAGMA query_only = 0")
    execution = await execute(keeper, decision)
    await settle(stage, keeper)
    assert execution.live is not None
    assert execution.live.outcome is not None
    assert execution.live.outcome.result is Result.LANDED
    await keeper.recorder.flush()
    assert len(stage.rows("SELECT 1 FROM events")) > 1


@pytest.mark.parametrize(
    "answer",
    [False, 7, "", "x" * 90, {"err": 1}, "1" * 64],
    ids=["false", "number", "empty", "no base58", "object", "another signature"],
)
async def test_a_senseless_answer_to_a_send_ends_nothing(stage, answer, monkeypatch):
    keeper = stage.keeper(rebroadcast_ms=0)
    await keeper.start()
    answered = []

    def senseless(params):
        stage.rpc.really("sendTransaction", params)
        answered.append(params)
        return answer

    stage.rpc.faults["sendTransaction"] = senseless
    execution = await execute(keeper)
    assert execution.live is not None
    del stage.rpc.faults["sendTransaction"]
    await settle(stage, keeper)

    assert len(answered) == 1
    assert keeper.settler.counts["send_lying"] == 1
    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]


async def test_a_transaction_that_the_node_cannot_show_is_recorded_by_the_decision(stage):
    keeper = stage.keeper()
    await keeper.start()
    decision = next_decision(keeper)
    await execute(keeper, decision)
    stage.rpc.faults["getTransaction"] = lambda _: False

    await settle(stage, keeper, rounds=4)
    assert stage.rows("SELECT state FROM attempt") == [("SEEN",)]

    stage.rpc.faults.clear()
    stage.rpc.really = blind(stage.rpc.really)
    await settle(stage, keeper, rounds=20)
    [row] = keeper._context.store.store.recent_liquidations()
    assert row.liquidated_size == decision.assessment.close_size
    assert row.fee_lamports is None


def blind(really: Any) -> Any:
    """Return the node's answers, but null for every transaction."""
    return lambda method, params: None if method == "getTransaction" else really(method, params)


async def test_a_database_opened_again_knows_what_was_spent(stage):
    keeper = stage.keeper()
    await keeper.start()
    await execute(keeper)
    await settle(stage, keeper)

    store = open_store(f"sqlite:{stage.place / 'k.db'}", read_only=True)
    spent_lamports = store.spent_lamports(0)
    store.close()
    assert FEE_LAMPORTS < spent_lamports < COST_LAMPORTS
    more_lamports = FEE_LAMPORTS + TOKEN_ACCOUNT_RENT_LAMPORTS
    heir = stage.keeper(limits=Limits(hour_lamports=spent_lamports + more_lamports - 1))
    await heir.start()
    execution = await execute(heir)

    assert execution.outcome is not None
    assert execution.outcome.reason == "cost_over_hour_cap"


async def test_the_kill_switch_is_seen_at_the_signature_although_orders_cannot_be_taken(
    stage, monkeypatch
):
    keeper = stage.keeper()
    await keeper.start()
    spoil(keeper, monkeypatch, "take_orders", 1_000)
    write_switch(keeper._context.store.store, 1, stop=True)

    execution = await execute(keeper)

    assert execution.outcome is not None
    assert execution.outcome.reason == "kill_switch_row"
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]


async def test_the_kill_switch_is_seen_by_a_look_for_orders_that_fails(stage, monkeypatch):
    keeper = stage.keeper()
    await keeper.start()
    spoil(keeper, monkeypatch, "take_orders", 1)
    with closing(open_store(f"sqlite:{stage.place / 'k.db'}")) as another:
        write_switch(another, 1, stop=True)

    with pytest.raises(StoreError):
        await keeper.orders.take()

    assert keeper.holds.reason() == "kill_switch_row"


async def test_an_order_that_was_taken_is_carried_out_though_the_exclusions_cannot_be_read(
    stage, monkeypatch
):
    keeper = stage.keeper()
    await keeper.start()
    [position, *_] = keeper.engine.queue.positions()
    with closing(open_store(f"sqlite:{stage.place / 'k.db'}")) as another:
        another.order_queue([queue_row(position, order=QueueOrder.DROP)])
    spoil(keeper, monkeypatch, "exclusions", 1)

    with pytest.raises(StoreError):
        await keeper.orders.take()
    keeper.absorb()

    assert keeper.engine.exclusion(position, keeper._context.steady.ms()) is not None


async def test_a_blockhash_of_long_ago_is_not_signed_with(stage):
    keeper = stage.keeper()
    stage.ticks(200)
    await keeper.start()
    told = stage.rpc.really("getLatestBlockhash", [{"commitment": "confirmed"}])
    value = {**told["value"], "lastValidBlockHeight": 1}
    stage.rpc.faults["getLatestBlockhash"] = lambda _: {"context": {"slot": 0}, "value": value}

    with pytest.raises(RpcMalformed):
        await execute(keeper)

    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]


async def test_one_wrong_answer_at_the_start_does_not_end_the_daemon(stage, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.service.START_PAUSES_S", (0.01,))
    keeper, stop = stage.keeper(), asyncio.Event()
    wrong = [{"context": {"slot": 1}, "value": {}}]
    stage.rpc.faults["getProgramAccounts"] = lambda _: wrong.pop() if wrong else None

    daemon = asyncio.create_task(keeper.run(stop))
    await until(lambda: keeper.feeds.state.snapshot_ns)
    stop.set()
    await daemon

    assert wrong == []


async def test_a_resume_while_the_keeper_only_starts_lifts_what_a_signal_set(stage, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.service.START_PAUSES_S", (1.0,))
    monkeypatch.setattr("liqctl.keeper.orders.LOOK_S", 0.01)
    keeper, stop = stage.keeper(), asyncio.Event()
    wrong = [{"context": {"slot": 1}, "value": {}}]
    stage.rpc.faults["getProgramAccounts"] = lambda _: wrong.pop() if wrong else None

    daemon = asyncio.create_task(keeper.run(stop))
    await until(lambda: not wrong)
    keeper.holds.pull()
    await asyncio.sleep(0.2)
    write_switch(keeper._context.store.store, 1, stop=False)
    assert not keeper.feeds.state.snapshot_ns
    await until(lambda: keeper.feeds.state.snapshot_ns)

    assert keeper.holds.reason() is None
    stop.set()
    await daemon


async def test_a_node_that_stays_wrong_at_the_start_ends_the_daemon_with_its_error(
    stage, monkeypatch
):
    monkeypatch.setattr("liqctl.keeper.service.START_PAUSES_S", (0.01, 0.01))
    keeper = stage.keeper()
    stage.rpc.faults["getProgramAccounts"] = lambda _: {"context": {"slot": 1}, "value": {}}

    with pytest.raises(RpcMalformed):
        await keeper.run(asyncio.Event())


async def test_what_the_ledger_tells_late_is_filled_in(stage, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.settle.FILL_IN_MS", 0)
    keeper = stage.keeper(settle_ms=1)
    await keeper.start()
    stage.rpc.faults["getTransaction"] = lambda _: False
    execution = await execute(keeper)
    assert execution.live is not None
    stage.ticks(8)
    for _ in range(12):
        await keeper.settler.settle_once()
    assert stage.rows("SELECT fee_paid FROM attempt") == [(None,)]

    del stage.rpc.faults["getTransaction"]
    settling = asyncio.create_task(keeper.settler.run())
    await until(lambda: stage.rows("SELECT fee_paid FROM attempt") != [(None,)])
    settling.cancel()

    [(fee,)] = stage.rows("SELECT fee_paid FROM attempt")
    assert stage.rows("SELECT fee_lamports FROM liquidations") == [(fee,)]
    assert fee > 5_000


async def test_a_node_far_behind_the_cluster_is_not_asked_for_the_fresh_read(stage):
    keeper = stage.keeper()
    await keeper.start()
    stage.ticks(80)
    await keeper.feeds.read([])
    keeper.absorb()
    slot = keeper.engine.slot
    asked = []
    stage.rpc.faults["getMultipleAccounts"] = lambda params: asked.append(params[1])

    await execute(keeper)

    assert asked[0]["minContextSlot"] >= slot - 50


@pytest.mark.parametrize("other", ["slot", "end"])
async def test_what_the_ledger_tells_late_of_another_fork_is_not_filled_in(stage, other):
    keeper = stage.keeper(settle_ms=1)
    await keeper.start()
    stage.rpc.faults["getTransaction"] = lambda _: False
    await execute(keeper)
    stage.ticks(8)
    for _ in range(12):
        await keeper.settler.settle_once()

    def of_another_fork(params):
        shown = stage.rpc.really("getTransaction", params)
        if other == "slot":
            return {**shown, "slot": shown["slot"] + 1}
        return {**shown, "meta": {**shown["meta"], "err": "AccountInUse"}}

    stage.rpc.faults["getTransaction"] = of_another_fork
    assert await fill_in(keeper._context) == 0
    assert stage.rows("SELECT fee_paid FROM attempt") == [(None,)]

    del stage.rpc.faults["getTransaction"]
    assert await fill_in(keeper._context) == 1


async def test_a_transaction_that_a_node_does_not_show_holds_up_no_other_s_late_figures(stage):
    keeper = stage.keeper(settle_ms=1)
    await keeper.start()
    stage.rpc.faults["getTransaction"] = lambda _: False
    for _ in range(2):
        await execute(keeper)
    await settle(stage, keeper)
    signatures = [row[0] for row in stage.rows("SELECT sig FROM attempt ORDER BY signed_ms DESC")]

    def not_the_newest(params):
        if params[0] == signatures[0]:
            raise RpcRefused("unknown version", code=-32015)
        return stage.rpc.really("getTransaction", params)

    stage.rpc.faults["getTransaction"] = not_the_newest

    assert await fill_in(keeper._context) == 1
    assert stage.rows("SELECT COUNT(*) FROM attempt WHERE fee_paid IS NULL") == [(1,)]
