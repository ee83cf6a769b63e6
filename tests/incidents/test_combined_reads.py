"""A position that had been closed was liquidated from two reads of two different moments.

The bot took the position from one call and the price from a later one; together they described a
state that had never been on the chain.
Source: UMAprotocol/protocol#1787.

Here a decision is confirmed by one read: position, market, price, fund and the cluster's clock in
one answer with one slot, and the simulation may not be older than that answer.
"""

from liqctl.core.events import Result
from liqctl.keeper.decode import CLOCK_SYSVAR
from tests.incidents.replay import look
from tests.keeper.stage import execute, next_decision, settle


async def test_a_decision_reads_everything_in_one_call_and_simulates_no_earlier(stage):
    keeper = stage.keeper()
    await keeper.start()
    decision = next_decision(keeper)
    calls = len(stage.rpc.calls)

    execution = await execute(keeper, decision)

    made = stage.rpc.calls[calls:]
    [(asked, options)] = [params for method, params in made if method == "getMultipleAccounts"]
    position, spec = decision.position, stage.scenario.specs[0]
    fund = keeper._context.venue.insurance_address()
    together = {position.address, position.market, str(spec.price_account), fund, CLOCK_SYSVAR}
    assert together <= set(asked)
    assert options["commitment"] == "confirmed"
    assert execution.read is not None
    assert {seen.slot for seen in execution.read.view.values()} == {execution.read.slot}
    simulated = [params for method, params in made if method == "simulateTransaction"]
    assert all(options["minContextSlot"] >= decision.assessment.slot for _, options in simulated)
    assert execution.trial is not None
    assert execution.trial.simulation.slot >= execution.read.slot


async def test_a_simulation_that_is_older_than_the_read_is_made_again(stage):
    keeper = stage.keeper()
    await keeper.start()
    decision = next_decision(keeper)
    stage.ticks(10)
    asked = []

    def of_before(params):
        told = stage.rpc.really("simulateTransaction", params)
        asked.append(params[1]["minContextSlot"])
        if len(asked) == 1:
            told["context"]["slot"] = decision.assessment.slot + 1
        return told

    stage.rpc.faults["simulateTransaction"] = of_before
    execution = await execute(keeper, decision)

    assert execution.read is not None
    assert asked == [decision.assessment.slot, execution.read.slot]
    assert execution.live is not None


async def test_a_position_that_closed_between_scan_and_decision_is_left_alone(stage):
    ours, theirs = stage.keeper(), stage.rival()
    await ours.start()
    await theirs.start()
    decision = next_decision(ours)
    await execute(theirs, decision)
    await settle(stage, theirs)
    sent = len(stage.rpc.sent())
    await look(stage, ours)

    execution = await execute(ours, decision)

    assert execution.outcome is not None
    assert (execution.outcome.result, execution.outcome.reason) == (Result.GONE, "gone")
    assert len(stage.rpc.sent()) == sent
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]


async def test_a_price_that_recovered_between_scan_and_decision_is_seen(stage):
    keeper = stage.keeper()
    await keeper.start()
    decision = next_decision(keeper)

    stage.scenario._publish({**stage.scenario.quotes, "SOL": stage.scenario.quotes["BTC"]})
    stage.scenario.hold()
    stage.ticks(2)
    execution = await execute(keeper, decision)

    assert execution.outcome is not None
    assert (execution.outcome.result, execution.outcome.reason) == (Result.RECOVERED, "healthy")
    assert stage.rpc.sent() == []
