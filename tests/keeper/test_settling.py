"""Many attempts in the air at once: trouble with one of them holds up no other."""

import asyncio
from typing import Any

import pytest

from liqctl.core.guards import Limits
from liqctl.errors import RpcRefused, RpcUnreachable, StoreError
from liqctl.keeper.live import Live
from liqctl.keeper.service import Keeper
from tests.keeper.stage import Stage, execute, next_decision, settle, signature_of, until

NO_HISTORY, BUSY = -32011, 429


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


async def launched(keeper: Keeper, count: int) -> list[Live]:
    """Send so many transactions."""
    lives = [(await execute(keeper)).live for _ in range(count)]
    return [live for live in lives if live is not None]


def hide(stage: Stage, signature: str, code: int) -> None:
    """Have the node refuse to show a transaction."""

    def refuse(params: list[Any]) -> None:
        if params[0] == signature:
            raise RpcRefused("refused", code=code)

    stage.rpc.faults["getTransaction"] = refuse


@pytest.mark.parametrize("code", [NO_HISTORY, BUSY])
async def test_one_transaction_that_the_node_refuses_to_show_holds_up_no_other(stage, code):
    keeper = stage.keeper()
    await keeper.start()
    lives = await launched(keeper, 3)
    first = lives[0].attempt.signature
    hide(stage, first, code)
    stage.ticks(40)

    for _ in range(3):
        await keeper.settler.settle_once()

    ended = stage.rows("SELECT sig FROM attempt WHERE state = 'FINALIZED_OK'")
    assert {sig for (sig,) in ended} == {live.attempt.signature for live in lives[1:]}


async def test_a_transaction_that_no_node_ever_shows_is_recorded_by_the_decision(stage):
    keeper = stage.keeper()
    await keeper.start()
    decision = next_decision(keeper)
    execution = await execute(keeper, decision)
    assert execution.live is not None
    hide(stage, execution.live.attempt.signature, NO_HISTORY)
    stage.ticks(40)

    for _ in range(12):
        await keeper.settler.settle_once()

    [row] = keeper._context.store.store.recent_liquidations()
    assert (row.liquidated_size, row.fee_lamports) == (decision.assessment.close_size, None)
    assert keeper.settler.positions() == set()


async def test_a_node_that_is_busy_for_long_makes_nobody_record_without_the_ledger(stage):
    keeper = stage.keeper()
    await keeper.start()
    [live] = await launched(keeper, 1)
    hide(stage, live.attempt.signature, BUSY)
    stage.ticks(40)
    for _ in range(30):
        await keeper.settler.settle_once()
    assert stage.rows("SELECT COUNT(*) FROM liquidations") == [(0,)]

    stage.rpc.faults.clear()
    await keeper.settler.settle_once()

    assert stage.rows("SELECT fee_lamports FROM liquidations") == [(205_000,)]


async def test_one_ending_that_the_database_refuses_holds_up_no_other(stage, monkeypatch):
    keeper = stage.keeper(settle_ms=1)
    await keeper.start()
    lives = await launched(keeper, 3)
    first, store = lives[0].attempt.signature, keeper._context.store.store
    working = store.end_attempt

    def end_attempt(signature: str, *given: Any, **named: Any) -> None:
        if signature == first:
            raise StoreError
        working(signature, *given, **named)

    monkeypatch.setattr(store, "end_attempt", end_attempt)
    stage.ticks(40)
    settling = asyncio.create_task(keeper.settler.run())
    await until(lambda: len(keeper.settler.positions()) == 1)
    settling.cancel()

    assert keeper.settler.positions() == {lives[0].attempt.position}
    assert stage.rows("SELECT COUNT(*) FROM liquidations") == [(2,)]
    assert keeper.settler.counts["store_errors"] > 0


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("getEpochInfo", {"x": 1}),
        ("getSignatureStatuses", 7),
        ("getSignatureStatuses", {"context": {"slot": 5}, "value": []}),
        ("getTransaction", {"slot": "five"}),
    ],
)
async def test_a_senseless_answer_ends_no_attempt_and_the_next_sensible_one_does(
    stage, method, answer
):
    keeper = stage.keeper()
    await keeper.start()
    await launched(keeper, 1)
    stage.ticks(40)
    stage.rpc.faults[method] = lambda _: answer
    for _ in range(3):
        await keeper.settler.settle_once()
    assert stage.rows("SELECT state FROM attempt")[0][0] in {"SENT", "SEEN"}

    stage.rpc.faults.clear()
    await keeper.settler.settle_once()

    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]


async def test_an_intent_is_given_up_after_the_allowed_attempts_each_proven_expired(stage):
    keeper = stage.keeper(limits=Limits(attempts_max=2))
    await keeper.start()
    decision = next_decision(keeper)
    stage.rpc.faults["sendTransaction"] = lambda params: signature_of(params[0])
    for number in (1, 2):
        execution = await execute(keeper, decision)
        assert execution.live is not None
        assert execution.live.attempt.n == number
        stage.ticks(200)
        await keeper.feeds.read([str(spec.price_account) for spec in stage.scenario.specs])
        keeper.absorb()
        await keeper.settler.settle_once()
        assert stage.rows("SELECT COUNT(*) FROM attempt WHERE state <> 'EXPIRED'") == [(0,)]

    last = await execute(keeper, decision)

    assert last.outcome is not None
    assert last.outcome.reason == "attempts_spent"
    assert stage.rows("SELECT state, reason FROM intent") == [("FAILED", "attempts_spent")]
    assert len(set(stage.rpc.sent())) == 2


async def test_a_start_that_fails_gives_back_the_leases_that_it_took(stage, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.service.START_PAUSES_S", (0.01,))
    keeper = stage.keeper()
    await keeper.start()
    await launched(keeper, 2)
    stage.lapse()
    heir = stage.keeper()

    def down(_: list[Any]) -> None:
        raise RpcUnreachable

    stage.rpc.faults["getProgramAccounts"] = down
    with pytest.raises(RpcUnreachable):
        await heir.run(asyncio.Event())

    assert stage.rows("SELECT COUNT(*) FROM intent WHERE owner IS NOT NULL") == [(0,)]
    assert stage.rows("SELECT COUNT(*) FROM attempt WHERE state = 'SENT'") == [(2,)]


async def test_a_confirmed_attempt_leaves_its_place_and_takes_it_again_when_it_is_rolled_back(
    stage,
):
    keeper = stage.keeper()
    await keeper.start()
    await launched(keeper, 1)
    assert keeper.settler.unconfirmed() == 1
    for _ in range(4):
        stage.ticks(1)
        await keeper.settler.settle_once()
        if keeper.settler.unconfirmed() == 0:
            break
    assert (keeper.settler.unconfirmed(), len(keeper.settler.positions())) == (0, 1)

    stage.rpc.faults["getSignatureStatuses"] = lambda _: {
        "context": {"slot": stage.world.slot},
        "value": [None],
    }
    await keeper.settler.settle_once()

    assert keeper.settler.unconfirmed() == 1


async def test_a_send_that_answers_after_the_attempt_was_lost_changes_nothing(stage, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.settle.RENEW_MS", 0)
    keeper = stage.keeper()
    await keeper.start()
    gate, answered = keeper.executor._gate, asyncio.Event()
    assert gate is not None
    send = gate.send

    async def slowly(*given, **named):
        await answered.wait()
        return await send(*given, **named)

    monkeypatch.setattr(gate, "send", slowly)
    sending = asyncio.create_task(execute(keeper))
    await until(keeper.settler.positions)
    stage.lapse()
    heir = stage.keeper()
    assert await heir.settler.recover() == 1

    await keeper.settler.settle_once()
    assert not keeper.settler.positions()
    answered.set()
    execution = await sending

    assert execution.live is not None
    assert execution.live.outcome is not None
    assert execution.live.outcome.reason == "held_by_another"


async def test_an_attempt_is_not_followed_while_it_is_only_just_being_sent(stage, monkeypatch):
    keeper = stage.keeper()
    await keeper.start()
    gate, answered = keeper.executor._gate, asyncio.Event()
    assert gate is not None
    send = gate.send

    async def slowly(*given, **named):
        answer = await send(*given, **named)
        await answered.wait()
        return answer

    monkeypatch.setattr(gate, "send", slowly)
    sending = asyncio.create_task(execute(keeper))
    await until(stage.rpc.sent)
    stage.ticks(8)
    await keeper.settler.settle_once()
    assert stage.rows("SELECT state FROM attempt") == [("SIGNED",)]

    answered.set()
    await sending
    await settle(stage, keeper)
    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]


@pytest.mark.parametrize("other", ["slot", "end"])
async def test_a_node_that_shows_a_transaction_on_a_fork_of_its_own_is_not_believed(stage, other):
    keeper = stage.keeper()
    await keeper.start()
    [live] = await launched(keeper, 1)

    def on_another_fork(params: list[Any]) -> object:
        shown = stage.rpc.really("getTransaction", params)
        if other == "slot":
            return {**shown, "slot": shown["slot"] + 4}
        return {**shown, "meta": {**shown["meta"], "err": "AccountInUse"}}

    stage.rpc.faults["getTransaction"] = on_another_fork
    stage.ticks(40)
    await keeper.settler.settle_once()
    assert keeper.settler.positions() == {live.attempt.position}

    stage.rpc.faults.clear()
    await keeper.settler.settle_once()

    assert stage.rows("SELECT fee_lamports FROM liquidations") == [(205_000,)]


@pytest.mark.parametrize("code", [-32601, 403, -32603, -32602])
async def test_a_ledger_that_is_refused_for_good_is_waited_for_a_counted_number_of_times(
    stage, code
):
    keeper = stage.keeper()
    await keeper.start()
    [live] = await launched(keeper, 1)
    hide(stage, live.attempt.signature, code)
    stage.ticks(40)
    for _ in range(9):
        await keeper.settler.settle_once()
    assert stage.rows("SELECT state FROM attempt")[0][0] in {"SENT", "SEEN"}

    await keeper.settler.settle_once()

    assert stage.rows("SELECT state, fee_paid FROM attempt") == [("FINALIZED_OK", None)]


@pytest.mark.parametrize("code", [BUSY, 503, -32005, -32016, None])
async def test_an_outage_of_the_ledger_is_waited_for_and_holds_up_no_other(stage, code):
    keeper = stage.keeper()
    await keeper.start()
    lives = await launched(keeper, 4)
    hidden = {live.attempt.signature for live in lives[:2]}

    def refuse(params: list[Any]) -> None:
        if params[0] in hidden:
            raise RpcUnreachable if code is None else RpcRefused("later", code=code)

    stage.rpc.faults["getTransaction"] = refuse
    stage.ticks(40)
    for _ in range(30):
        await keeper.settler.settle_once()
    ended = stage.rows("SELECT sig FROM attempt WHERE state = 'FINALIZED_OK'")
    assert {sig for (sig,) in ended} == {live.attempt.signature for live in lives[2:]}

    stage.rpc.faults.clear()
    await keeper.settler.settle_once()

    assert stage.rows("SELECT COUNT(*) FROM attempt WHERE fee_paid > 0") == [(4,)]


async def test_what_waits_for_the_ledger_alone_holds_up_nothing_in_the_air(stage):
    keeper = stage.keeper(rebroadcast_ms=0)
    await keeper.start()
    [*_, newest] = await launched(keeper, 4)

    def unseen(params: list[Any]) -> object:
        told = stage.rpc.really("getSignatureStatuses", params)
        pairs = zip(params[0], told["value"], strict=True)
        seen = [None if sig == newest.attempt.signature else value for sig, value in pairs]
        return {**told, "value": seen}

    def busy(_: object) -> None:
        raise RpcRefused("later", code=BUSY)

    stage.rpc.faults |= {"getSignatureStatuses": unseen, "getTransaction": busy}
    stage.ticks(40)
    sends = len(stage.rpc.sent())
    for rounds in (1, 2):
        await keeper.settler.settle_once()
        assert len(stage.rpc.sent()) == sends + rounds


async def test_a_node_that_is_away_is_asked_for_one_transaction_a_round(stage):
    keeper = stage.keeper()
    await keeper.start()
    await launched(keeper, 4)
    asked = []

    def away(params: list[Any]) -> None:
        asked.append(params[0])
        raise RpcUnreachable

    stage.rpc.faults["getTransaction"] = away
    stage.ticks(40)
    for _ in range(4):
        await keeper.settler.settle_once()

    assert len(asked) == len(set(asked)) == 4


async def test_a_node_that_hangs_over_late_figures_holds_up_no_attempt_and_ends_with_the_rest(
    stage, monkeypatch
):
    ended = []

    async def hang(_: object) -> int:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)
        return 0

    monkeypatch.setattr("liqctl.keeper.settle.fill_in", hang)
    keeper = stage.keeper(settle_ms=1)
    await keeper.start()
    await launched(keeper, 1)
    stage.ticks(40)

    settling = asyncio.create_task(keeper.settler.run())
    await until(lambda: not keeper.settler.positions())
    settling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await settling

    assert ended == [True]
    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]
