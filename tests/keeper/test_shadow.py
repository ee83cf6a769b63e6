"""The program as a witness: what it disagrees on is found, and nothing else is called so."""

from dataclasses import replace

import pytest
from solders.pubkey import Pubkey
from structlog.testing import capture_logs

from liqctl.core.account import Seen
from liqctl.core.instruction import AccountMeta
from liqctl.core.position import Market
from liqctl.errors import RpcUnreachable
from liqctl.keeper import shadow
from liqctl.keeper.reading import read_fresh
from liqctl.keeper.service import Keeper
from liqctl.keeper.shadow import CHECKS_A_LOOK_MAX, WAITING_MAX
from liqctl.venues.reference import ReferenceVenue
from tests.keeper.stage import Stage


@pytest.fixture
async def stage(tmp_path):
    stage = Stage(tmp_path)
    yield stage
    await stage.close()


async def watching(stage: Stage, venue: ReferenceVenue | None = None, rate: float = 1.0) -> Keeper:
    """A keeper that has read everything once."""
    keeper = stage.keeper(dry=True, shadow_rate=rate)
    if venue is not None:
        object.__setattr__(keeper._context, "venue", venue)
        keeper.engine._judge = venue
    await keeper.feeds.load()
    keeper.absorb()
    return keeper


async def looks(keeper: Keeper, count: int) -> None:
    for _ in range(count):
        await keeper.shadow.look()


class Flipped(ReferenceVenue):
    """Takes every healthy position for a liquidatable one and the other way round."""

    def assess(self, position, view, now_s):
        verdict = super().assess(position, view, now_s)
        if verdict.liquidatable is None:
            return verdict
        return replace(verdict, liquidatable=not verdict.liquidatable)


class ByLiquidation(ReferenceVenue):
    """Has no view, so that only the liquidation itself can be tried."""

    def confirmation(self, position, view):
        return None


async def test_the_true_venue_is_never_contradicted_on_either_side_of_the_line(stage):
    keeper = await watching(stage)

    await looks(keeper, 4)

    counts = keeper.shadow.counts
    assert counts["checked"] == 4 * CHECKS_A_LOOK_MAX
    assert counts["disagreements"] == counts["incomparable"] == 0
    told = keeper.status()
    assert (told.shadow_checked, told.shadow_disagreements) == (20, 0)
    assert told.shadow_last is None
    assert stage.rpc.sent() == []


async def test_a_wrong_venue_is_found_out_and_the_last_disagreement_is_shown(stage):
    keeper = await watching(stage, Flipped(stage.scenario.addresses.program))

    with capture_logs() as logs:
        await looks(keeper, 2)

    assert keeper.shadow.counts["disagreements"] == keeper.shadow.counts["checked"] > 0
    last = keeper.status().shadow_last
    assert last is not None
    assert last.ours is not last.theirs
    assert (last.by, last.exact) == ("view", True)
    told = [line for line in logs if line["event"] == "shadow_disagreement"]
    assert {line["log_level"] for line in told} == {"error"}
    assert told[-1]["position"] == last.position
    assert {line["ours"] for line in told} == {True, False}


@pytest.mark.parametrize("moves", [False, True])
async def test_without_a_view_only_a_state_that_stayed_the_same_is_compared(
    stage, monkeypatch, moves
):
    venue = ByLiquidation(stage.scenario.addresses.program)
    keeper = await watching(stage, venue)
    read = read_fresh

    async def moved(venue, chain, position, view, **more):
        found = await read(venue, chain, position, view, **more)
        if not moves or not more:
            return found
        market = found.view[position.market].value
        assert isinstance(market, Market)
        paused = replace(market, paused=not market.paused)
        changed = Seen(address=market.address, slot=found.slot, value=paused)
        return replace(found, view={**found.view, market.address: changed})

    monkeypatch.setattr(shadow, "read_fresh", moved)
    await looks(keeper, 2)

    counts = keeper.shadow.counts
    assert counts["disagreements"] == 0
    # The program refuses healthy positions by an error, and that is an answer as well.
    assert (counts["checked"] > 0, counts["incomparable"] > 0) == (not moves, moves)


async def test_the_view_is_judged_on_the_accounts_that_the_simulation_saw(stage):
    keeper = await watching(stage)
    fallen: list[bool] = []

    def crash(params):
        if not fallen:
            fallen.append(True)
            stage.scenario.quotes = {}
            for spec in stage.scenario.specs:
                price = spec.start_price_e8 // 2
                stage.scenario._publishers[spec.symbol].publish(type(quote).of(price))

    [quote, *_] = stage.scenario.quotes.values()
    stage.rpc.faults["simulateTransaction"] = crash
    await looks(keeper, 1)

    # The price halved between the read and the simulation; both judge the halved one.
    assert fallen
    assert keeper.shadow.counts["disagreements"] == 0
    assert keeper.shadow.counts["checked"] > 0


async def test_a_node_that_does_not_answer_is_counted_and_the_next_is_asked(stage):
    keeper = await watching(stage)

    def silent(params):
        raise RpcUnreachable("gone")

    stage.rpc.faults["simulateTransaction"] = silent
    await looks(keeper, 1)
    del stage.rpc.faults["simulateTransaction"]
    await looks(keeper, 1)

    counts = keeper.shadow.counts
    assert (counts["unanswered"], counts["checked"]) == (CHECKS_A_LOOK_MAX, CHECKS_A_LOOK_MAX)


class Oversized(ReferenceVenue):
    """Names so many accounts that no transaction has room for them."""

    def confirmation(self, position, view):
        call = super().confirmation(position, view)
        assert call is not None
        many = [AccountMeta(address=str(Pubkey.new_unique())) for _ in range(60)]
        return replace(call, accounts=(*call.accounts, *many))


async def test_a_question_that_does_not_fit_into_a_transaction_does_not_end_the_keeper(stage):
    keeper = await watching(stage, Oversized(stage.scenario.addresses.program))

    await looks(keeper, 1)

    assert keeper.shadow.counts["unanswered"] == CHECKS_A_LOOK_MAX


async def test_the_sample_follows_its_rate_and_stays_bounded(stage):
    keeper = await watching(stage, rate=0.25)
    for number in range(4 * WAITING_MAX):
        keeper.shadow.offer(f"position {number}")
    drawn = len(keeper.shadow._waiting) + keeper.shadow.counts["dropped"]
    assert 0.15 < drawn / (4 * WAITING_MAX) < 0.35
    for number in range(40 * WAITING_MAX):
        keeper.shadow.offer(f"other {number}")
    assert len(keeper.shadow._waiting) == WAITING_MAX

    idle = await watching(stage, rate=0.0)
    idle.shadow.offer("position")
    await looks(idle, 1)
    assert not idle.shadow.draws
    assert not idle.shadow.counts
