"""From a decision to its end, on the real program: what is recorded, sent, retried and given up."""

import ast
import asyncio
import base64
from pathlib import Path

import pytest

from liqctl.core.events import Decision, OutcomeSeen, Result
from liqctl.core.guards import Limits
from liqctl.core.intent import AttemptState
from liqctl.core.position import Position
from liqctl.core.price_terms import PriceTerms
from liqctl.errors import RpcRefused, RpcUnreachable
from liqctl.keeper.executor import Execution
from liqctl.keeper.purse import in_flight_lamports
from liqctl.keeper.service import Keeper
from liqctl.keeper.verify import audit
from tests.keeper.stage import Stage, execute, next_decision, settle, signature_of

PACKAGE = Path(__file__).parent.parent.parent / "liqctl"


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


def outcome(execution: Execution) -> OutcomeSeen:
    """The end of a decision, wherever it came to it."""
    found = execution.outcome if execution.live is None else execution.live.outcome
    assert found is not None
    return found


async def checked(stage: Stage, keeper: Keeper) -> None:
    """The books and the chain agree."""
    store = keeper._context.store.store
    rows = store.recent_liquidations(limit=1_000)
    found = await audit(stage.chain, keeper._context.venue, rows, {stage.liquidator})
    assert found.clean, found


async def test_a_full_liquidation_lands_is_recorded_and_agrees_with_the_chain(stage):
    keeper = stage.keeper()
    await keeper.start()
    decision = next_decision(keeper)

    execution = await execute(keeper, decision)
    await settle(stage, keeper)

    assert execution.live is not None
    assert outcome(execution).result is Result.LANDED
    [row] = keeper._context.store.store.recent_liquidations()
    assert row.position_pubkey == decision.position.address
    assert row.is_full_liquidation
    assert row.liquidated_size == decision.position.size
    assert row.liquidator_reward == decision.assessment.reward
    assert row.bad_debt == decision.assessment.bad_debt > 0
    assert row.fee_lamports == 205_000
    await checked(stage, keeper)


async def test_two_partial_liquidations_of_one_position_are_two_signatures(tmp_path):
    stage = Stage(tmp_path, fall_to=147)
    keeper = stage.keeper()
    await keeper.start()
    while (decision := next_decision(keeper)).assessment.kind != "partial":
        pass
    for _ in range(2):
        await keeper.executor.run(decision, keeper.engine.view, max_size=1_000_000_000)
        await settle(stage, keeper)
        await keeper.feeds.read([decision.position.address])
        keeper.absorb()
        held = keeper.engine.position(decision.position.address)
        assert isinstance(held, Position)
        decision = Decision(
            position=held, assessment=keeper.engine.assess(held), tick_ns=0, tries=0
        )

    rows = keeper._context.store.store.recent_liquidations()
    assert len({row.signature for row in rows}) == 2
    assert [row.liquidated_size for row in rows] == [1_000_000_000] * 2
    assert [key[-1] for (key,) in stage.rows("SELECT key FROM intent ORDER BY id")] == ["1", "2"]
    await checked(stage, keeper)
    await stage.close()


async def test_an_attempt_is_committed_before_its_bytes_leave(stage):
    keeper = stage.keeper()
    await keeper.start()
    committed = []

    def at_send(params):
        [(sig, state, raw)] = stage.rows("SELECT sig, state, raw FROM attempt")
        assert sig == signature_of(params[0])
        committed.append((state, raw == base64.b64decode(params[0])))

    stage.rpc.faults["sendTransaction"] = at_send
    await execute(keeper)

    assert committed == [("SIGNED", True)]


async def test_a_lost_answer_is_neither_a_failure_nor_a_second_transaction(stage):
    keeper = stage.keeper()
    await keeper.start()

    def lose(params):
        stage.rpc.really("sendTransaction", params)
        raise RpcUnreachable

    stage.rpc.faults["sendTransaction"] = lose
    await execute(keeper)
    await settle(stage, keeper)

    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]
    await checked(stage, keeper)


@pytest.mark.parametrize(
    "error",
    [
        RpcUnreachable(),
        RpcRefused("busy", code=429),
        RpcRefused("behind", code=-32005),
        RpcRefused("failed", code=-32002, detail={"err": "BlockhashNotFound", "logs": []}),
        RpcRefused("failed", code=-32002, detail={"err": "AlreadyProcessed", "logs": []}),
    ],
    ids=["reset", "429", "unhealthy", "BlockhashNotFound", "AlreadyProcessed"],
)
async def test_after_any_answer_the_same_bytes_are_sent_again_until_they_land(stage, error):
    keeper = stage.keeper(rebroadcast_ms=0)
    await keeper.start()
    answers = [error, error]

    def refuse(params):
        if answers:
            raise answers.pop()

    stage.rpc.faults["sendTransaction"] = refuse
    await execute(keeper)
    await settle(stage, keeper)

    assert len(set(stage.rpc.sent())) == 1
    assert len(stage.rpc.sent()) >= 3
    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]


async def test_an_attempt_without_hope_stays_live_but_takes_no_place(stage):
    keeper = stage.keeper()
    await keeper.start()

    def hopeless(_):
        failure = {"err": {"InstructionError": [4, {"Custom": 6000}]}, "logs": []}
        raise RpcRefused("preflight", code=-32002, detail=failure)

    stage.rpc.faults["sendTransaction"] = hopeless
    await execute(keeper)

    assert keeper.settler.unconfirmed() == 0
    assert len(keeper.settler.positions()) == 1
    assert stage.rows("SELECT state FROM attempt") == [("SENT",)]
    assert in_flight_lamports(keeper._context.store.store, stage.liquidator) > 0


async def test_a_node_that_hangs_does_not_hold_up_the_end(stage, monkeypatch):
    keeper = stage.keeper()
    await keeper.start()
    await execute(keeper)

    async def hang(*_, **__):
        await asyncio.sleep(60)

    monkeypatch.setattr(keeper.settler._chain, "epoch_info", hang)
    async with asyncio.timeout(3):
        await keeper.settler.drain(0.2)

    assert await stage.keeper().settler.recover() == 1


async def test_an_attempt_is_taken_up_after_its_venue_was_given_another_name(stage):
    keeper = stage.keeper()
    await keeper.start()
    await execute(keeper)
    stage.lapse()

    heir = stage.keeper()
    heir.venue.id = "renamed"

    assert await heir.settler.recover() == 1


async def test_a_lost_lease_ends_the_wait_for_its_attempt(stage, monkeypatch):
    monkeypatch.setattr("liqctl.keeper.settle.RENEW_MS", 0)
    keeper = stage.keeper()
    await keeper.start()
    execution = await execute(keeper)
    stage.lapse()
    heir = stage.keeper()
    assert await heir.settler.recover() == 1

    await keeper.settler.settle_once()

    assert outcome(execution).reason == "held_by_another"
    assert execution.live is not None
    assert execution.live.ended.is_set()


async def test_an_attempt_that_never_arrives_expires_by_proof_and_is_tried_anew(stage):
    keeper = stage.keeper()
    await keeper.start()
    decision = next_decision(keeper)
    stage.rpc.faults["sendTransaction"] = lambda params: signature_of(params[0])
    first = await execute(keeper, decision)
    assert first.live is not None

    stage.ticks(140)
    await keeper.settler.settle_once()
    assert first.live.attempt.signature in stage.rows("SELECT sig FROM attempt")[0]
    assert stage.rows("SELECT state FROM attempt") == [("SENT",)]

    stage.ticks(30)
    await keeper.settler.settle_once()
    [(state, proof)] = stage.rows("SELECT state, proof_json FROM attempt")
    assert state == AttemptState.EXPIRED
    assert "block_height" in proof or "height" in proof
    assert outcome(first).reason == "expired"

    del stage.rpc.faults["sendTransaction"]
    second = await execute(keeper, decision)
    await settle(stage, keeper)
    assert second.live is not None
    assert second.live.attempt.n == 2
    assert stage.rows("SELECT state FROM attempt ORDER BY n") == [("EXPIRED",), ("FINALIZED_OK",)]
    assert stage.rows("SELECT state FROM intent") == [("DONE",)]


async def test_a_status_that_is_gone_again_sends_the_attempt_back(stage):
    keeper = stage.keeper()
    await keeper.start()
    await execute(keeper)
    stage.ticks(1)
    await keeper.settler.settle_once()
    assert stage.rows("SELECT state FROM attempt") == [("SEEN",)]

    stage.rpc.faults["getSignatureStatuses"] = lambda _: {
        "context": {"slot": stage.world.slot},
        "value": [None],
    }
    await keeper.settler.settle_once()

    assert stage.rows("SELECT state FROM attempt") == [("SENT",)]


@pytest.mark.parametrize("moment", ["before the send", "after the send", "after landing"])
async def test_a_keeper_that_dies_loses_nothing_and_its_heir_sends_nothing_twice(stage, moment):
    keeper = stage.keeper()
    await keeper.start()

    class Died(BaseException):
        pass

    def die(params):
        if moment != "before the send":
            stage.rpc.really("sendTransaction", params)
        raise Died

    stage.rpc.faults["sendTransaction"] = die
    with pytest.raises(Died):
        await execute(keeper)
    if moment == "after landing":
        stage.ticks(6)
    del stage.rpc.faults["sendTransaction"]
    stage.lapse()

    heir = stage.keeper()
    await heir.start()
    assert len(heir.settler.positions()) == 1
    await settle(stage, heir)

    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]
    assert stage.rows("SELECT COUNT(*) FROM liquidations") == [(1,)]
    assert len(set(stage.rpc.sent())) == 1
    await checked(stage, heir)


async def test_the_attempt_of_a_dead_keeper_is_taken_up_when_its_lease_has_ended(stage):
    keeper = stage.keeper()
    await keeper.start()
    await execute(keeper)
    heir = stage.keeper()
    await heir.start()
    assert heir.settler.positions() == set()

    stage.lapse()

    assert await heir.settler.recover() == 1


async def test_a_second_keeper_on_the_store_is_refused_what_the_first_one_holds(stage):
    first, second = stage.keeper(), stage.keeper()
    await first.start()
    await second.start()
    decision = next_decision(first)
    await execute(first, decision)

    execution = await execute(second, decision)

    assert execution.live is None
    assert outcome(execution).reason == "held_by_another"
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(1,)]


async def test_a_race_that_somebody_else_won_is_no_failure(stage):
    ours, theirs = stage.keeper(), stage.rival()
    await ours.start()
    await theirs.start()
    decision = next_decision(ours)

    def be_late(params):
        del stage.rpc.faults["sendTransaction"]
        rival[:] = [params[0]]
        return signature_of(params[0])

    rival: list[str] = []
    stage.rpc.faults["sendTransaction"] = be_late
    execution = await execute(ours, decision)
    await execute(theirs, decision)
    stage.ticks(1)
    stage.rpc.really("sendTransaction", [rival[0], {"encoding": "base64", "skipPreflight": True}])
    await settle(stage, ours)

    assert execution.live is not None
    assert outcome(execution).result is Result.LOST_RACE
    assert ours.settler.counts["lost_races"] == 1
    assert ours.settler.counts["failed"] == 0
    totals = ours._context.store.store.totals()
    assert (totals.failed, totals.lost_races) == (0, 1)
    assert stage.rows("SELECT state FROM intent") == [("GONE",)]


async def test_a_position_that_is_gone_or_healthy_by_the_fresh_read_is_not_sent(tmp_path):
    stage = Stage(tmp_path)
    ours, theirs = stage.keeper(), stage.rival()
    await ours.start()
    await theirs.start()
    decision = next_decision(ours)
    await execute(theirs, decision)
    stage.ticks(3)
    sent = len(stage.rpc.sent())

    gone = await execute(ours, decision)

    assert outcome(gone).result is Result.GONE
    assert len(stage.rpc.sent()) == sent
    assert stage.rows("SELECT state, reason FROM intent") == [("GONE", "gone")]
    await stage.close()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(hour_lamports=1), "cost_over_hour_cap"),
        (Limits(day_lamports=1), "cost_over_day_cap"),
        (Limits(transaction_lamports=1), "cost_over_transaction_cap"),
        (Limits(balance_lamports_min=10**12), "balance_too_low"),
        (Limits(reward_min=10**12), "reward_below_floor"),
        (Limits(prices=PriceTerms(confidence_bps_max=1)), "price_wider_than_own_limit"),
        (Limits(markets_denied=frozenset({"SOL"})), "market_denied"),
        (Limits(markets_allowed=frozenset({"BTC"})), "market_not_allowed"),
        (Limits(attempts_max=0), "attempts_spent"),
    ],
)
async def test_a_limit_refuses_before_anything_is_signed(stage, limits, reason):
    keeper = stage.keeper(limits=limits)
    await keeper.start()

    execution = await execute(keeper)

    assert outcome(execution).result is Result.REFUSED
    assert outcome(execution).reason == reason
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]
    assert stage.rpc.sent() == []
    state = "FAILED" if reason == "attempts_spent" else "NEW"
    assert stage.rows("SELECT state, owner FROM intent") == [(state, None)]


async def test_what_was_signed_counts_against_the_hour_until_it_is_over(stage):
    keeper = stage.keeper(limits=Limits(hour_lamports=5_000_000))
    await keeper.start()
    assert (await execute(keeper)).live is not None

    second = await execute(keeper)

    assert outcome(second).reason == "cost_over_hour_cap"


async def test_a_kill_switch_pulled_during_the_simulation_stops_the_signature(stage):
    keeper = stage.keeper()
    await keeper.start()
    stage.rpc.faults["simulateTransaction"] = lambda _: keeper.holds.pull()

    execution = await execute(keeper)

    assert outcome(execution).reason == "kill_switch_signal"
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]


async def test_a_simulation_that_fails_stops_the_decision_with_its_class(stage):
    keeper = stage.keeper()
    await keeper.start()
    stage.rpc.faults["simulateTransaction"] = lambda _: {
        "context": {"slot": stage.world.slot},
        "value": {"err": {"InstructionError": [4, {"Custom": 99}]}, "logs": []},
    }

    execution = await execute(keeper)

    assert outcome(execution).result is Result.FAILED
    assert outcome(execution).reason.startswith("bug:")
    assert stage.rpc.sent() == []


async def test_a_set_up_instruction_that_fails_is_not_the_venues_word(stage):
    keeper = stage.keeper()
    await keeper.start()
    stage.rpc.faults["simulateTransaction"] = lambda _: {
        "context": {"slot": stage.world.slot},
        "value": {"err": {"InstructionError": [2, {"Custom": 6000}]}, "logs": []},
    }

    execution = await execute(keeper)

    assert outcome(execution).reason.startswith("setup:")


async def test_a_dry_run_decides_everything_and_neither_signs_nor_claims_nor_sends(stage):
    keeper = stage.keeper(dry=True)
    await keeper.start()

    execution = await execute(keeper)

    assert outcome(execution).reason == "dry_run"
    assert execution.trial is not None
    assert execution.trial.simulation.failure is None
    assert stage.rpc.sent() == []
    assert stage.rows("SELECT COUNT(*) FROM intent") == [(0,)]


def test_the_gate_is_the_only_way_out():
    """`Chain.send` is called in one place; what the doctor has signed is no transaction.

    The simulator's faulty keepers go other ways on purpose.
    """
    sends, signs = [], []
    for file in set(PACKAGE.rglob("*.py")) - set((PACKAGE / "sim").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                if node.func.attr == "send" and "chain" in ast.unparse(node.func.value):
                    sends.append(file.relative_to(PACKAGE).as_posix())
                if node.func.attr == "sign" and "signer" in ast.unparse(node.func.value):
                    signs.append(file.relative_to(PACKAGE).as_posix())
    assert sends == ["keeper/gate.py"]
    assert sorted(signs) == ["chain/transaction.py", "keeper/checkup_host.py"]
