"""A liquidation was sent without a bound on what it might bring, and brought a loss.

Between decision and execution the price had moved, and nothing in the transaction or around it
asked whether the reward was still worth the cost.
Source: UMAprotocol/protocol#3012.

Here the reward of the fresh verdict must be a multiple of what the attempt can cost, the very
transaction is simulated first, and what landed at a loss three times in a row stops the keeper.
The program decides by its price at execution: who is healthy by then is not touched.
"""

import pytest

from liqctl.core.events import Cause, Result
from liqctl.core.guards import Limits
from tests.keeper.stage import execute, next_decision, settle


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(profit_floor_permille=1_000_000), "reward_below_cost"),
        (Limits(reward_min=10**10), "reward_below_floor"),
        (Limits(transaction_lamports=204_999), "cost_over_transaction_cap"),
    ],
)
async def test_a_reward_that_is_not_worth_its_cost_signs_nothing(stage, limits, reason):
    keeper = stage.keeper(limits=limits)
    await keeper.start()

    execution = await execute(keeper)

    assert execution.outcome is not None
    assert (execution.outcome.result, execution.outcome.reason) == (Result.REFUSED, reason)
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]


async def test_a_reward_that_is_worth_it_passes_the_floor(stage):
    keeper = stage.keeper(limits=Limits(profit_floor_permille=1_000))
    await keeper.start()
    decision = next_decision(keeper)

    await execute(keeper, decision)
    await settle(stage, keeper)

    [(reward, fee)] = stage.rows("SELECT liquidator_reward, fee_lamports FROM liquidations")
    assert reward == decision.assessment.reward
    assert reward * 10**9 >= fee * 140 * 10**6


async def test_what_is_healthy_again_at_execution_costs_a_fee_and_is_a_lost_race(stage):
    keeper = stage.keeper()
    await keeper.start()
    held = []

    def hold_back(params):
        held.append(params[0])
        del stage.rpc.faults["sendTransaction"]
        return None if len(held) > 1 else "1" * 88

    stage.rpc.faults["sendTransaction"] = hold_back
    execution = await execute(keeper)
    recovered = {**stage.scenario.quotes, "SOL": stage.scenario.quotes["BTC"]}
    stage.scenario._publish(recovered)
    stage.scenario.hold()
    stage.ticks(1)
    unchecked = {"encoding": "base64", "skipPreflight": True}
    stage.rpc.really("sendTransaction", [held[0], unchecked])
    await settle(stage, keeper)

    assert execution.live is not None
    assert execution.live.outcome is not None
    assert execution.live.outcome.result is Result.LOST_RACE
    assert execution.live.outcome.cause is Cause.LOST_RACE
    assert stage.rows("SELECT state, fee_paid FROM attempt") == [("FINALIZED_ERR", 205_000)]
    assert stage.rows("SELECT COUNT(*) FROM liquidations") == [(0,)]
