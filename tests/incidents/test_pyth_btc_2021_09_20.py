"""20 September 2021: Pyth's price of Bitcoin fell to 5,402 dollars, while it traded near 43,500.

Within two minutes it dipped several times. Two publishers sent values near zero: one had cut a
number down to an integer, one had read the exponent as 0 where it was -8. The aggregate said openly
how little it knew: 5,402 plus or minus 21,623. Consumers that read the price and not the confidence
liquidated people on it.
Source: Pyth's report of that week and the press.

Here a confidence of more than 1 % makes the market's verdicts unknown, as the program itself does;
if a market allowed more, our own limit still stops the send. A price that is far from the last one
is not acted on before a later one agrees with it.
"""

from dataclasses import replace

import pytest
from solders.pubkey import Pubkey

from liqctl.core.guards import Limits, blocker
from liqctl.core.price import PriceRefusal
from tests.incidents.replay import Published, Replay, dollars, work_off
from tests.keeper.stage import execute, next_decision, settle
from tests.localnet.program_world import decode_struct, encode_account

# The lowest price and its confidence are those of the report; the others lead down to it and back.
BEFORE = [dollars(43_500, 18), dollars(43_500, 21)]
WRONG = [
    dollars(43_120, 2_950),
    dollars(5_402, 21_623),
    dollars(5_402, 21_623),
    dollars(8_016, 20_480),
]
AFTER = [dollars(43_500, 40), dollars(43_500, 19)]


@pytest.fixture
async def stage(tmp_path):
    made = Replay(tmp_path, {"BTC": "43500"})
    made.publish("BTC", BEFORE[0])
    made.ticks(12)
    yield made
    await made.close()


async def test_the_series_liquidates_nobody_and_every_position_is_told_as_unknown(stage):
    keeper = stage.keeper()
    await keeper.start()
    members = stage.members(keeper, "BTC")

    for published in [*BEFORE, *WRONG, *AFTER]:
        await stage.show(keeper, "BTC", published)
        unknown = keeper.engine.coverage().unknown
        wide = {PriceRefusal.TOO_WIDE: len(members)} if published in WRONG else {}
        assert unknown == wide
        assert len(keeper.engine.queue) == 0
        await work_off(keeper)

    assert len(members) == 10
    assert stage.rows("SELECT COUNT(*) FROM intent") == [(0,)]
    assert stage.rpc.sent() == []


async def test_the_same_fall_with_a_narrow_confidence_would_have_liquidated(stage):
    """What kept the series from doing harm is the confidence and nothing else."""
    keeper = stage.keeper()
    await keeper.start()

    await stage.show(keeper, "BTC", dollars(40_000, 18))

    decision = next_decision(keeper)
    await execute(keeper, decision)
    await settle(stage, keeper)
    assert stage.rows("SELECT COUNT(*) FROM liquidations") == [(1,)]


async def test_in_a_market_that_allows_any_confidence_our_own_limit_stops_the_send(stage):
    market = Pubkey.from_string(str(stage.scenario.addresses.markets["BTC"]))
    held = stage.world.account(market)
    fields = decode_struct("Market", held.data) | {"max_confidence_bps": 60_000}
    stage.world.set_account(market, replace(held, data=encode_account("Market", fields)))
    stage.ticks(4)
    keeper = stage.keeper()
    await keeper.start()
    await stage.show(keeper, "BTC", dollars(5_402, 21_623))
    verdict = keeper.engine.assess(keeper.engine.position(keeper.engine.queue.positions()[0]))
    assert verdict.liquidatable is True
    assert blocker(verdict, Limits()) == "price_wider_than_own_limit"

    await work_off(keeper)

    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]
    assert stage.rpc.sent() == []


@pytest.mark.parametrize(
    "flipped",
    [
        Published(mantissa=4_350_000_000_000, confidence=2_000_000_000, exponent=8),
        Published(mantissa=4_350_000_000_000, confidence=2_000_000_000, exponent=-19),
        Published(mantissa=0, confidence=1, exponent=-8),
    ],
    ids=["the sign lost", "beyond all feeds", "cut down to nothing"],
)
async def test_an_exponent_that_no_feed_has_and_a_price_of_nothing_are_refused(stage, flipped):
    keeper = stage.keeper()
    await keeper.start()

    await stage.show(keeper, "BTC", flipped)

    reason = PriceRefusal.BAD_EXPONENT if flipped.mantissa else PriceRefusal.NOT_POSITIVE
    assert keeper.engine.coverage().unknown == {reason: 10}
    assert len(keeper.engine.queue) == 0


@pytest.mark.parametrize(
    "flipped",
    [
        Published(mantissa=4_350_000_000_000, confidence=2_000_000_000, exponent=0),
        Published(mantissa=43_500, confidence=20, exponent=-8),
    ],
    ids=["0 read for -8", "-8 read for 0"],
)
async def test_a_flipped_exponent_that_takes_its_confidence_along_liquidates_nobody(stage, flipped):
    """Such a price is narrow, fresh and of full verification: only its distance gives it away."""
    keeper = stage.keeper()
    await keeper.start()

    await stage.show(keeper, "BTC", flipped)
    assert len(keeper.engine.queue) > 0
    await work_off(keeper)
    await stage.show(keeper, "BTC", BEFORE[0])

    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]
    assert len(keeper.engine.queue) == 0


async def test_prices_that_were_refused_as_too_wide_agree_with_nothing(stage):
    """Or the dip itself would vouch for the first narrow price at its bottom."""
    keeper = stage.keeper()
    await keeper.start()
    for published in WRONG[1:3]:
        await stage.show(keeper, "BTC", published)
        stage.ticks(3)

    await stage.show(keeper, "BTC", dollars(5_402, 5))
    await work_off(keeper)

    assert {entry.reason for entry in keeper.engine.queue.entries()} == {"price_jumped"}
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]
