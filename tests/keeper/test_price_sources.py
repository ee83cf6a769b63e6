"""A keeper that compares its prices with Hermes: what it sends, what it leaves, and what it shows."""

import asyncio
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from liqctl.core.guards import Limits
from liqctl.core.price_terms import PriceTerms, SourceName
from liqctl.core.whatif import band, reading_of, with_reading
from liqctl.errors import present
from liqctl.keeper.feeds import Intervals
from liqctl.oracle.hermes_client import HermesClient
from liqctl.oracle.hermes_http import HermesLimits
from liqctl.oracle.push_feed import push_feed_address
from liqctl.ports import SystemClock, SystemRng
from tests.incidents.replay import Replay, dollars, look, work_off
from tests.keeper.stage import execute, next_decision, until
from tests.oracle.hermes_bodies import body, entry
from tests.oracle.hermes_server import Server, hermes, http, refusing

BOTH = PriceTerms(sources=(SourceName.PROGRAM, SourceName.HERMES))
NEEDED = PriceTerms(sources=(SourceName.HERMES, SourceName.PROGRAM), sources_min=2)


class Desk:
    """An embedded chain with two markets, and a service with prices of its own for them."""

    def __init__(self, stage: Replay, server: Server, client: HermesClient) -> None:
        self.stage, self.server, self.client = stage, server, client
        self.prices = {"SOL": 150.0, "BTC": 43_500.0}
        server.latest = self.answer

    async def answer(self, request, writer):
        """Answer as Hermes does for the feeds that have a price."""
        now_s = self.stage.world.unix_ms // 1_000
        told = [
            entry(feed, price=str(round(price * 10**8)), published=now_s)
            for symbol, price in self.prices.items()
            if (feed := self.stage.specs[symbol].feed.hex()) in request.ids
        ]
        writer.write(http(body(*told)))

    async def keeper(self, terms, **limits):
        made = self.stage.keeper(hermes=self.client, limits=Limits(prices=terms, **limits))
        await made.start()
        await made.ask_beside()
        return made

    async def fall(self, keeper, symbol, price, confidence=0.01):
        """Let a price fall on the chain, a little at a time so that nothing jumps."""
        self.stage.ticks(3)
        await self.stage.show(keeper, symbol, dollars(price, confidence))

    async def ask(self, keeper):
        await keeper.ask_beside()


@pytest.fixture
async def desk(tmp_path):
    stage = Replay(tmp_path, {"SOL": "150", "BTC": "43500"}, positions=150)
    for symbol, price in (("SOL", 150), ("BTC", 43_500)):
        stage.publish(symbol, dollars(price, price / 10_000))
    stage.ticks(12)
    async with hermes() as server:
        limits = HermesLimits(requests_per_s=1_000)
        client = HermesClient(server.url, SystemClock(), SystemRng(), limits=limits)
        async with client:
            yield Desk(stage, server, client)
    await stage.close()


async def decide(keeper):
    """Take out what is due, as the decide loop does, and let all of it end."""
    async with asyncio.TaskGroup() as tasks:
        keeper._start_due(tasks)
    keeper.absorb()


def market(keeper, symbol):
    [found] = [each for each in keeper.status().markets if each.symbol == symbol]
    return found


async def test_sources_that_disagree_stop_everything_in_their_market_and_are_told(desk):
    keeper = await desk.keeper(BOTH)
    await desk.fall(keeper, "SOL", 139)
    waiting = len(keeper.engine.queue)
    calls = len(desk.stage.rpc.calls)

    await decide(keeper)

    assert waiting > 4
    assert len(desk.stage.rpc.calls) == calls
    assert keeper.status().refused == {"price_sources_disagree": waiting}
    assert market(keeper, "SOL").doubt == "price_sources_disagree"
    assert market(keeper, "BTC").doubt is None
    assert {each.reason for each in keeper.engine.queue.entries()} == {"price_sources_disagree"}
    assert desk.stage.rows("SELECT COUNT(*) FROM intent") == [(0,)]

    desk.prices["SOL"] = 139.5
    await desk.ask(keeper)

    assert market(keeper, "SOL").doubt is None
    assert (await execute(keeper)).live is not None


async def test_in_a_crash_that_the_chain_lags_behind_the_liquidations_go_on(desk):
    keeper = await desk.keeper(BOTH)
    desk.prices["SOL"] = 137.0
    await desk.fall(keeper, "SOL", 139)
    await desk.ask(keeper)

    assert market(keeper, "SOL").doubt == "price_sources_disagree"
    assert (await execute(keeper)).live is not None


async def test_the_executor_asks_all_sources_again_when_it_has_read_the_chain(desk):
    keeper = await desk.keeper(BOTH)
    desk.prices["SOL"] = 139.0
    await desk.fall(keeper, "SOL", 139)
    await desk.ask(keeper)
    decision = next_decision(keeper)
    assert decision.doubt is None

    desk.prices["SOL"] = 150.0
    desk.stage.ticks(3)
    await desk.ask(keeper)
    execution = await execute(keeper, decision)

    assert execution.live is None
    assert execution.outcome is not None
    assert execution.outcome.reason == "price_sources_disagree"
    assert desk.stage.rpc.sent() == []


async def test_a_silent_feed_degrades_its_own_market_alone(desk):
    del desk.prices["BTC"]
    keeper = await desk.keeper(NEEDED)
    desk.prices["SOL"] = 139.0
    await desk.fall(keeper, "SOL", 139)
    await desk.fall(keeper, "BTC", 40_300)
    await desk.ask(keeper)

    for _ in range(20):
        await decide(keeper)

    assert market(keeper, "BTC").doubt == "price_sources_too_few"
    assert [each.refusal for each in market(keeper, "BTC").sources] == ["price_missing", None]
    assert market(keeper, "SOL").doubt is None
    rows = desk.stage.rows("SELECT DISTINCT symbol FROM attempt")
    assert rows == [("SOL",)]
    assert keeper.status().refused["price_sources_too_few"] > 0


async def test_without_hermes_the_price_of_the_chain_goes_on(desk):
    desk.server.latest = refusing("401 Unauthorized")
    keeper = await desk.keeper(BOTH)
    await desk.fall(keeper, "SOL", 139)

    assert (await execute(keeper)).live is not None
    assert [each.refusal for each in market(keeper, "SOL").sources] == [None, "price_missing"]
    told = keeper.status().hermes
    assert told is not None
    assert "HTTP status 401" in (told.down or "")
    assert (told.prices_age_ms, told.counts["requests"]) == (None, 1)


async def test_what_is_healthy_at_its_owner_s_end_of_the_confidence_is_left_alone(desk):
    keeper = await desk.keeper(PriceTerms())
    await desk.fall(keeper, "SOL", 147, confidence=1.4)
    certain = set()
    for address in keeper.engine.queue.positions():
        position = keeper.engine.position(address)
        view, venue = keeper.engine.view, keeper._context.venue
        state = view[position.market].value
        edges = band(present(reading_of(venue, state, view), "no price"))
        edge = edges.high if position.side == "long" else edges.low
        there = with_reading(venue, state, view, edge)
        if venue.assess(position, there, keeper.engine.now_s).liquidatable:
            certain.add(address)
    assert 0 < len(certain) < len(keeper.engine.queue)

    await work_off(keeper)

    attempted = keeper.settler.positions()
    reasons = {each.position: each.reason for each in keeper.engine.queue.entries()}
    left = {name for name, reason in reasons.items() if reason == "healthy_within_confidence"}
    assert attempted <= certain
    assert attempted
    assert left
    assert left.isdisjoint(certain)
    assert market(keeper, "SOL").doubt is None


async def test_a_running_keeper_follows_the_service_and_shows_every_source(desk):
    terms = PriceTerms(sources=(SourceName.PROGRAM, SourceName.PUSH_FEED, SourceName.HERMES))
    keeper = desk.stage.keeper(
        hermes=desk.client, limits=Limits(prices=terms), intervals=Intervals(check_ms=100)
    )
    stop = asyncio.Event()
    running = asyncio.create_task(keeper.run(stop))
    try:
        await until(lambda: keeper.hermes.state.prices_ns)
        await until(lambda: market(keeper, "SOL").sources[-1].price_e6)
    finally:
        stop.set()
        with suppress(TimeoutError):
            await asyncio.wait_for(running, 10)

    # The market's own account stands where the older push program keeps the feed.
    own, upgraded, service = market(keeper, "SOL").sources
    assert (own.source, own.refusal, own.jumped) == ("price_update", None, False)
    assert own.address == push_feed_address(desk.stage.specs["SOL"].feed.hex())
    assert (upgraded.source, upgraded.refusal) == ("push_feed", "price_missing")
    assert (service.source, service.price_e6) == ("hermes", 150_000_000)
    assert service.confidence_bps == 5
    assert keeper.status().as_json()["markets"][1]["sources"][-1]["source"] == "hermes"


async def test_what_the_service_sees_coming_is_read_before_any_notice(desk):
    keeper = await desk.keeper(BOTH)
    desk.stage.publish("SOL", dollars(139, 0.01))
    desk.stage.ticks(3)
    desk.prices["SOL"] = 139.0
    assert keeper.feeds._wanted == {}

    await desk.ask(keeper)

    wanted = set(keeper.feeds._wanted)
    assert str(desk.stage.specs["SOL"].price_account) in wanted
    assert len(wanted) > 1
    assert len(keeper.engine.queue) == 0
    await keeper.feeds.read(wanted)
    keeper.absorb()
    assert len(keeper.engine.queue) > 0


async def test_a_market_that_nobody_knows_is_told_at_the_start(desk):
    with capture_logs() as logs:
        await desk.keeper(
            BOTH,
            market_prices={"SOL": BOTH, "SOLL": BOTH},
            markets_denied=frozenset({"sol", "BTC"}),
        )

    unknown = [each["symbol"] for each in logs if each["event"] == "market_unknown"]
    assert unknown == ["SOLL", "sol"]


async def test_terms_of_one_market_bind_no_other(desk):
    keeper = await desk.keeper(PriceTerms(), market_prices={"SOL": NEEDED})
    desk.prices = {}
    await desk.fall(keeper, "SOL", 139)
    await desk.fall(keeper, "BTC", 40_300)
    await look(desk.stage, keeper)

    assert [len(market(keeper, each).sources) for each in ("SOL", "BTC")] == [2, 1]
    assert market(keeper, "BTC").doubt is None


@pytest.mark.parametrize(("ahead_s", "is_told"), [(4, False), (90, True)])
async def test_only_a_price_far_ahead_of_the_cluster_s_clock_has_a_negative_age(
    desk, ahead_s, is_told
):
    keeper = await desk.keeper(BOTH)
    await desk.stage.show(keeper, "SOL", dollars(150, 0.01, age_s=-ahead_s))

    sol = market(keeper, "SOL")
    age_s = keeper.engine.now_s - sol.publish_time_s
    assert age_s < 0
    assert sol.age_s == sol.sources[0].age_s == (age_s if is_told else 0)
