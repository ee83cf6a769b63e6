"""What a draft offers and asks for, against the real program: its units, its price, its ceiling."""

from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from liqctl.chain.transaction import BUDGET_INSTRUCTIONS
from liqctl.core.guards import TOKEN_ACCOUNT_RENT_LAMPORTS
from liqctl.core.instruction import Failure, budget_exceeded
from liqctl.errors import present
from liqctl.keeper.blockhash import RecentBlockhash
from liqctl.keeper.draft import Draft, Drafter, Fees, Offer
from liqctl.keeper.service import Keeper
from tests.keeper.stage import Stage

METHOD = "getRecentPrioritizationFees"
DYNAMIC = Fees(dynamic=True, price_micro_lamports=50_000)
RICH = Offer(worth_lamports=10**9)


class Desk:
    """A drafter with a position to liquidate."""

    def __init__(self, stage: Stage, keeper: Keeper, fees: Fees) -> None:
        self.stage, self.keeper = stage, keeper
        context = keeper._context
        blockhash = RecentBlockhash(stage.chain, context.clock, lambda: 0)
        self.drafter = Drafter(context, blockhash, stage.liquidator, fees)
        first = keeper.engine.queue.entries()[0].position
        self.position = present(keeper.engine.position(first), "it is queued")

    async def draft(self, offer: Offer = RICH) -> Draft:
        return await self.drafter.draft(self.position, self.keeper.engine.view, None, offer)

    async def told(self, price: int, offer: Offer = RICH) -> Draft:
        """Draft when recent blocks took this price."""
        self.stage.rpc.faults[METHOD] = lambda _: [{"slot": 1, "prioritizationFee": price}]
        await self.draft()
        await self.drafter.prices.refresh()
        return await self.draft(offer)


@pytest.fixture
async def open_desk(tmp_path):
    stage = Stage(tmp_path)

    async def opened(fees: Fees) -> Desk:
        keeper = stage.keeper(dry=True)
        await keeper.feeds.load()
        keeper.absorb()
        return Desk(stage, keeper, fees)

    yield opened
    await stage.close()


async def test_the_limit_follows_what_the_simulation_consumed_with_its_margin(open_desk):
    desk = await open_desk(Fees(compute_unit_margin_percent=20))
    first = await desk.draft()
    assert first.compute_unit_limit == 200_000

    trial = await desk.drafter.simulate(first, None)
    second = await desk.draft()

    consumed = trial.simulation.compute_units
    assert trial.draft is first
    assert consumed is not None
    assert second.compute_unit_limit == -(-consumed * 120 // 100) < 200_000
    assert second.fee_lamports < first.fee_lamports
    again = await desk.drafter.simulate(second, None)
    assert again.simulation.failure is None
    assert again.draft is second


async def test_a_draft_that_runs_out_of_units_is_tried_again_with_the_whole_limit(open_desk):
    desk = await open_desk(Fees())
    draft = await desk.draft()
    await desk.drafter.simulate(draft, None)
    (shape,) = desk.drafter._units
    desk.drafter._units[shape] = 25_000
    tight = await desk.draft()
    assert tight.compute_unit_limit == 30_000

    trial = await desk.drafter.simulate(tight, None)

    assert trial.simulation.failure is None
    assert trial.draft.compute_unit_limit == 200_000
    assert trial.draft.message != tight.message
    assert trial.draft.blockhash == tight.blockhash
    assert desk.drafter.counts["unit_limit_too_low"] == 1
    assert (await desk.draft()).compute_unit_limit > 30_000


async def test_units_that_were_too_few_are_forgotten_even_if_the_second_try_fails(open_desk):
    desk = await open_desk(Fees())
    await desk.drafter.simulate(await desk.draft(), None)
    (shape,) = desk.drafter._units
    desk.drafter._units[shape] = 25_000
    rpc, tight = desk.stage.rpc, await desk.draft()

    def fail_with_room(params):
        answer = rpc.really("simulateTransaction", params)
        if answer["value"]["err"] is None:
            answer["value"]["err"] = "AccountInUse"
        return answer

    rpc.faults["simulateTransaction"] = fail_with_room
    trial = await desk.drafter.simulate(tight, None)

    assert trial.simulation.failure is not None
    assert trial.simulation.failure.name == "AccountInUse"
    assert (await desk.draft()).compute_unit_limit == 200_000


async def test_more_room_does_not_lift_the_fee_over_its_ceiling(open_desk):
    desk = await open_desk(Fees(cap_lamports=40_000, price_micro_lamports=10**7))
    await desk.drafter.simulate(await desk.draft(), None)
    (shape,) = desk.drafter._units
    desk.drafter._units[shape] = 25_000
    tight = await desk.draft()

    trial = await desk.drafter.simulate(tight, None)

    assert trial.draft.compute_unit_limit == 200_000
    assert tight.fee_lamports == trial.draft.fee_lamports == 45_000


async def test_a_ceiling_of_units_that_is_too_low_fails_and_is_not_tried_twice(open_desk):
    desk = await open_desk(Fees(compute_unit_limit=20_000))

    trial = await desk.drafter.simulate(await desk.draft(), None)

    assert trial.simulation.failure is not None
    assert budget_exceeded(trial.simulation.failure)
    assert [m for m, _ in desk.stage.rpc.calls].count("simulateTransaction") == 1


@pytest.mark.parametrize("units", [None, 0, 1, 2**63 - 1])
async def test_a_node_that_lies_about_units_only_moves_the_limit_within_bounds(open_desk, units):
    desk = await open_desk(Fees())
    rpc = desk.stage.rpc

    def lie(params):
        answer = rpc.really("simulateTransaction", params)
        answer["value"]["unitsConsumed"] = units
        return answer

    rpc.faults["simulateTransaction"] = lie
    await desk.drafter.simulate(await desk.draft(), None)

    limit = (await desk.draft()).compute_unit_limit
    assert limit == (10_000 if units in {0, 1} else 200_000)
    desk.drafter.forget_units()
    assert (await desk.draft()).compute_unit_limit == 200_000


async def test_a_fixed_price_is_the_same_for_every_attempt(open_desk):
    desk = await open_desk(Fees(price_micro_lamports=50_000))

    drafts = [await desk.draft(replace(RICH, attempt=attempt)) for attempt in (1, 2, 9)]

    assert {draft.price_micro_lamports for draft in drafts} == {50_000}
    assert METHOD not in {method for method, _ in desk.stage.rpc.calls}


async def test_a_dynamic_price_is_that_of_recent_blocks_and_rises_with_each_attempt(open_desk):
    desk = await open_desk(DYNAMIC)

    first = await desk.told(100_000)
    third = await desk.draft(replace(RICH, attempt=3))

    assert first.price_micro_lamports == 100_000
    assert third.price_micro_lamports == 225_000
    accounts = next(p[0] for m, p in desk.stage.rpc.calls if m == METHOD)
    assert {desk.position.address, desk.stage.liquidator} < set(accounts)


async def test_a_dynamic_price_starts_somewhere_when_blocks_asked_for_nothing(open_desk):
    desk = await open_desk(DYNAMIC)

    assert (await desk.told(0)).price_micro_lamports == 10_000


async def test_without_an_estimate_the_fixed_price_counts(open_desk):
    desk = await open_desk(DYNAMIC)

    draft = await desk.draft()

    assert draft.price_micro_lamports == 50_000
    assert desk.drafter.prices.counts["fee_estimate_missing"] == 1


@pytest.mark.parametrize(("price", "attempt"), [(10**9, 1), (900_000, 2), (10**9, 10**6)])
async def test_the_cap_holds_whatever_blocks_took_and_is_told(open_desk, price, attempt):
    desk = await open_desk(DYNAMIC)
    with capture_logs() as logs:
        draft = await desk.told(price, replace(RICH, attempt=attempt))

    assert draft.fee_lamports == 205_000
    (alarm,) = [entry for entry in logs if entry["event"] == "priority_fee_capped"]
    assert (alarm["attempt"], alarm["ceiling_lamports"]) == (attempt, 200_000)
    assert desk.drafter.counts["fee_capped"] == 1


@pytest.mark.parametrize("dynamic", [False, True])
async def test_no_fee_is_above_what_the_reward_is_worth_unless_told_so(open_desk, dynamic):
    fees = Fees(dynamic=dynamic, price_micro_lamports=1_000_000)
    desk = await open_desk(fees)
    poor = Offer(worth_lamports=1_000)

    assert (await desk.told(900_000, poor)).fee_lamports == 6_000

    desk.drafter.fees = replace(fees, above_reward=True)
    assert (await desk.draft(poor)).fee_lamports > 100_000


async def test_with_an_unknown_price_of_sol_nothing_above_the_fixed_price_is_offered(open_desk):
    desk = await open_desk(DYNAMIC)

    assert (await desk.told(900_000, Offer(attempt=3))).price_micro_lamports == 50_000


async def test_rent_of_anothers_account_may_be_due_though_found_and_is_lost_if_missing(open_desk):
    desk = await open_desk(Fees())
    draft = await desk.draft()
    owner_token, own_token = draft.creates
    account = (await desk.stage.chain.accounts([owner_token])).by_address[owner_token]
    assert account is not None
    rent = TOKEN_ACCOUNT_RENT_LAMPORTS

    for found, cost, lost in (
        ({owner_token: account, own_token: account}, rent, 0),
        ({owner_token: account, own_token: None}, 2 * rent, 0),
        ({owner_token: None, own_token: account}, rent, rent),
        ({}, 2 * rent, rent),
    ):
        assert draft.cost_lamports(found) == draft.fee_lamports + cost
        assert draft.lost_lamports(found) == draft.fee_lamports + lost


def test_only_a_failure_for_want_of_units_is_one():
    index = BUDGET_INSTRUCTIONS
    log = "Program X failed: exceeded CUs meter at BPF instruction"

    def failure(name: str, *logs: str) -> Failure:
        return Failure(instruction=index, code=None, name=name, logs=logs)

    assert budget_exceeded(failure("ComputationalBudgetExceeded"))
    assert budget_exceeded(failure("ProgramFailedToComplete", log))
    assert not budget_exceeded(failure("ProgramFailedToComplete", "Program X panicked"))
    assert not budget_exceeded(failure("Custom", log))
