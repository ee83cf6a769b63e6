"""11 October 2022: somebody bought MNGO from 0.038 to 0.91 dollars within minutes.

He had sold himself the other side of a large position on Mango Markets, borrowed against its paper
gain and left with more than 110 million dollars. Each feed told the truth about its own thin
market, with a narrow confidence: nothing was stale, nothing was wide.
Source: court documents, United States v. Eisenberg, and Mango's own report, October 2022.

Here a price far from the last one is not acted on before a later one agrees, one tick that turns
most positions stops everything for a while, and what a bad hour can cost is bounded by the caps.
Whoever moves a price in small steps is believed where no second source is asked; where one is,
what falls at the moved price alone is left while the two are further apart than the band.
"""

import pytest

from liqctl.core.breaker import BreakerRules
from liqctl.core.events import PricesSeen
from liqctl.core.guards import Limits
from liqctl.core.price_terms import PriceTerms, SourceName
from liqctl.keeper.service import Keeper
from liqctl.oracle.hermes import decode_update
from tests.incidents.replay import Published, Replay, dollars, look, work_off
from tests.keeper.stage import execute
from tests.oracle.hermes_bodies import body, entry


@pytest.fixture
async def stage(tmp_path):
    made = Replay(tmp_path, {"SOL": "150"})
    made.publish("SOL", dollars(150, 0.1))
    made.ticks(12)
    yield made
    await made.close()


def pumped(times: int) -> Published:
    return dollars(150 * times, 0.1 * times)


CROWD = BreakerRules(crowd_min=1, share_permille_max=50)


async def by_notice(stage: Replay, keeper: Keeper) -> None:
    await stage.notice(keeper, "SOL")


async def by_snapshot(stage: Replay, keeper: Keeper) -> None:
    await keeper.feeds.load()
    keeper.absorb()


@pytest.mark.parametrize("come", [by_notice, look, by_snapshot])
async def test_a_tick_that_turns_most_positions_stops_all_decisions(stage, come):
    keeper = stage.keeper(breaker=CROWD)
    await keeper.start()

    stage.publish("SOL", pumped(24))
    stage.ticks(2)
    await come(stage, keeper)
    await work_off(keeper)

    assert keeper.holds.reason() == "breaker_crowd"
    assert stage.rpc.sent() == []


async def test_what_the_first_reading_finds_liquidatable_is_no_turn(stage):
    stage.publish("SOL", pumped(24))
    stage.ticks(2)
    keeper = stage.keeper(breaker=CROWD)

    await keeper.start()

    assert len(keeper.engine.queue) > 0
    assert keeper.holds.reason() is None


async def test_what_an_hour_like_that_costs_is_bounded_by_the_cap(stage):
    cap = 5_000_000
    keeper = stage.keeper(limits=Limits(hour_lamports=cap))
    await keeper.start()

    for _ in range(2):
        await stage.show(keeper, "SOL", pumped(24))
        stage.ticks(3)
    waiting = len(keeper.engine.queue)
    await work_off(keeper)

    [(count, cost)] = stage.rows("SELECT COUNT(*), SUM(max_cost_lamports) FROM attempt")
    assert 0 < count < waiting
    assert cost <= cap


async def test_a_price_of_24_times_the_last_one_spends_nothing_until_a_later_one_agrees(stage):
    keeper = stage.keeper()
    await keeper.start()
    await stage.show(keeper, "SOL", pumped(24))
    await work_off(keeper)
    [entry, *_] = keeper.engine.queue.entries()
    assert entry.reason == "price_jumped"
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]

    stage.ticks(3)
    await stage.show(keeper, "SOL", pumped(24))

    assert (await execute(keeper)).live is not None


@pytest.mark.parametrize("asked", [False, True])
async def test_a_price_pumped_in_small_steps_is_stopped_by_a_second_source_alone(stage, asked):
    beside = (SourceName.HERMES,) if asked else ()
    terms = PriceTerms(sources=(SourceName.PROGRAM, *beside))
    keeper = stage.keeper(limits=Limits(prices=terms))
    await keeper.start()
    feed = stage.specs["SOL"].feed.hex()

    for percent in range(2, 14, 2):
        stage.ticks(3)
        now_s = stage.world.unix_ms // 1_000
        elsewhere = body(entry(feed, price=str(150 * 10**8), published=now_s))
        keeper.mailbox.put(PricesSeen(readings=decode_update(elsewhere, {feed}).readings))
        await stage.show(keeper, "SOL", dollars(150 * (100 + percent) / 100, 0.1))

    waiting = len(keeper.engine.queue)
    await work_off(keeper)

    assert waiting > 0
    [(attempts,)] = stage.rows("SELECT COUNT(*) FROM attempt")
    assert attempts == (0 if asked else waiting)
    reasons = {entry.reason for entry in keeper.engine.queue.entries() if entry.reason}
    assert reasons == ({"price_sources_disagree"} if asked else set())
