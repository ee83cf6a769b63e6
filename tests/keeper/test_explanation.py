"""Where a verdict flips, what its inputs are, and what supposed prices change."""

from dataclasses import replace

import pytest

from liqctl.core.account import Gone
from liqctl.core.price import PriceReading
from liqctl.core.whatif import band
from liqctl.errors import SettingsError
from liqctl.keeper.explanation import explain
from liqctl.keeper.supposing import falls, flip, with_price
from tests.venues import adrena_cases as adrena
from tests.venues import test_jupiter as jupiter
from tests.venues.forged import NOW
from tests.venues.perpetuals_cases import VECTORS, Planted
from tests.venues.test_perpetuals import VENUE, position_in, view_of

JUDGED = [n for n, one in enumerate(VECTORS) if one["kind"] == "ok"]
STALE = next(n for n, one in enumerate(VECTORS) if one["kind"] == "stale")
WIDE = next(n for n, one in enumerate(VECTORS) if one["kind"] == "conf")


def explained(number, supposed=None):
    planted = Planted(VECTORS[number])
    view = view_of(planted)
    return explain(VENUE, position_in(view), view, planted.now, supposed or {}), planted


def republished(planted, price_e6):
    """The vector with another price, of its own second, in the bytes of its oracle."""
    exponent = planted.get("custody_oracle", "i", 16)
    mantissa = price_e6 * 10 ** (-6 - exponent)
    changes = (("Q", 8, mantissa), ("Q", 28, mantissa), ("Q", 20, 0), ("q", 36, planted.now))
    for kind, at, value in changes:
        planted.put("custody_oracle", kind, at, value)
    return view_of(planted)


@pytest.mark.parametrize("number", JUDGED)
def test_both_sides_of_the_flip_are_what_the_bytes_say(number):
    found, planted = explained(number)
    turned = found.flip
    assert turned is not None
    assert abs(turned.liquidatable_e6 - turned.healthy_e6) == 1
    if not planted.is_custom or planted.get("custody_oracle", "i", 16) > -6:
        return
    for price, expected in ((turned.liquidatable_e6, True), (turned.healthy_e6, False)):
        view = republished(planted, price)
        assert VENUE.assess(position_in(view), view, planted.now).liquidatable is expected
    at_flip = found.at_flip
    assert at_flip is not None
    assert at_flip.liquidatable is True


def test_the_verdict_is_shown_at_both_edges_of_the_confidence():
    for number in JUDGED:
        found, _ = explained(number)
        assert found.low is not None
        assert found.high is not None
        assert found.low.price_e6 <= found.mid.price_e6 <= found.high.price_e6
        assert found.mid.liquidatable is (VECTORS[number]["expect"]["state"] == 1)


def test_every_input_has_its_slot_and_every_price_its_age():
    found, planted = explained(JUDGED[1])

    roles = [one.role for one in found.inputs]
    assert roles[:3] == ["position", "market", "collateral"]
    assert sorted(roles[3:]) == ["perpetuals", "price", "price"]
    assert {one.slot for one in found.inputs} == {7}
    assert found.inputs[0].fields["size_usd"] == VECTORS[JUDGED[1]]["fields"]["size"]
    assert all(
        type(one) in {int, str, list} for each in found.inputs for one in each.fields.values()
    )
    assert [one.supposed for one in found.prices] == [False, False]
    assert all(one.age_s == planted.now - one.publish_time_s for one in found.prices)
    assert dict(found.steps)["charges_e6"] > 0


@pytest.mark.parametrize("number, word", [(STALE, "price_stale"), (WIDE, "price_too_wide")])
def test_a_price_that_is_not_accepted_still_has_a_flip(number, word):
    found, _ = explained(number)

    assert (found.mid.liquidatable, found.mid.unknown_reason) == (None, word)
    assert found.flip is not None


def test_a_supposed_price_is_taken_as_published_now():
    plain, _ = explained(STALE)
    assert plain.flip is not None
    symbol = plain.mid.symbol

    found, _ = explained(STALE, {symbol: plain.flip.liquidatable_e6})

    assert found.mid.liquidatable is True
    assert [one.supposed for one in found.prices if one.symbol == symbol] == [True]
    assert explained(STALE, {symbol: plain.flip.healthy_e6})[0].mid.liquidatable is False


def test_a_price_of_an_unknown_market_cannot_be_supposed():
    with pytest.raises(SettingsError, match="--price DOGE: the position depends on no such market"):
        explained(JUDGED[0], {"DOGE": 1})


def test_without_a_price_account_there_is_nothing_to_suppose_and_no_flip():
    planted = Planted(VECTORS[JUDGED[0]])
    view = view_of(planted)
    position = position_in(view)
    market = view[position.market].value
    view[market.price_account] = replace(view[market.price_account], value=Gone())

    assert flip(VENUE, position, view, planted.now) is None
    assert with_price(VENUE, market, view, 1, planted.now) is None
    found = explain(VENUE, position, view, planted.now, {})
    assert (found.low, found.flip, found.mid.unknown_reason) == (None, None, "price_missing")
    with pytest.raises(SettingsError, match="holds no price"):
        explain(VENUE, position, view, planted.now, {market.symbol: 1})


def test_a_price_that_is_not_positive_at_its_lower_edge_is_none():
    reading = PriceReading(
        address="a", owner="o", feed_id="", mantissa=5, exponent=-6, confidence=5, publish_time=1,
        fully_verified=True, posted_slot=1, ema_mantissa=7, ema_confidence=2,
    )  # fmt: skip
    edges = band(reading)

    assert (edges.low.mantissa, edges.high.mantissa) == (0, 10)
    assert (edges.low.ema_mantissa, edges.high.ema_mantissa, edges.low.confidence) == (5, 9, 0)


@pytest.mark.parametrize("where", [adrena.LONG_AT, adrena.SHORT_AT])
def test_prices_of_one_oracle_account_can_be_supposed_by_symbol(where):
    view = adrena.view_of(adrena.world())
    position = view[where].value

    found = explain(adrena.VENUE, position, view, NOW, {"SOL": 60_000_000})

    assert falls(found.mid) is (where == adrena.LONG_AT)
    assert [(one.price_e6, one.supposed) for one in found.prices if one.symbol == "SOL"] == [
        (60_000_000, True)
    ]
    assert dict(found.steps)["trade_price_e10"] == 60 * adrena.DOLLAR
    untouched = explain(adrena.VENUE, position, view, NOW, {})
    assert untouched.flip is not None
    roles = {one.role for one in untouched.inputs}
    assert roles >= {"position", "market", "pool", "oracle"}


def test_an_estimate_flips_without_ever_being_a_verdict():
    position, view = jupiter.seen()

    found = explain(jupiter.VENUE, position, view, NOW, {})

    assert found.at_flip is not None
    assert (found.at_flip.liquidatable, falls(found.at_flip), found.at_flip.exact) == (
        None,
        True,
        False,
    )
