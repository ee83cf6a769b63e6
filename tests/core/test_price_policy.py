"""The price of a market: order of sources, age, agreement, and the owner's end of the confidence."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqctl.core.health import equity, maintenance_margin, notional, unrealized_pnl
from liqctl.core.position import Side
from liqctl.core.price import PriceReading, PriceRefusal, PriceSource, price_e6
from liqctl.core.price_board import Observed, SourceKey
from liqctl.core.price_policy import (
    Choice,
    Decision,
    Doubt,
    PricePolicy,
    SourceRules,
    choose,
    decide,
    in_order,
    owner_favourable,
)

NOW = 1_700_000_000
FEED = "ab" * 32
PUSH = SourceKey(source=PriceSource.PUSH_FEED, address="push")
HERMES = SourceKey(source=PriceSource.HERMES, address=FEED)
OWNERS = {PUSH: frozenset({"rec-old", "rec-new"}), HERMES: frozenset({"hermes"})}


def rules(key=PUSH, **changes):
    return replace(SourceRules.of(key, owners=OWNERS[key], feed_id=FEED), **changes)


def policy(*sources, **more):
    return PricePolicy(sources=sources or (rules(PUSH), rules(HERMES)), **more)


def reading(key=PUSH, **changes):
    found = PriceReading(
        address=key.address,
        owner=min(OWNERS[key]),
        feed_id=FEED,
        mantissa=15_000_000_000,
        exponent=-8,
        confidence=1_000,
        publish_time=NOW - 5,
        fully_verified=key is not HERMES,
        posted_slot=9,
        source=key.source,
    )
    return replace(found, **changes)


def board(*entries):
    """A board of (key, changes) or (key, changes, jumped)."""
    return {
        key: Observed(reading=reading(key, **changes), jumped=bool(jumped))
        for key, changes, *jumped in entries
    }


BOTH = board((PUSH, {}), (HERMES, {}))


def test_the_first_source_with_a_price_is_taken():
    assert choose(policy(), BOTH, NOW).reading == BOTH[PUSH].reading
    assert choose(policy(rules(HERMES), rules(PUSH)), BOTH, NOW).reading == BOTH[HERMES].reading


@pytest.mark.parametrize("key, age_s", [(PUSH, 90), (HERMES, 10)])
def test_every_source_has_its_own_age(key, age_s):
    one = policy(rules(key))

    at_limit = choose(one, board((key, {"publish_time": NOW - age_s})), NOW)
    beyond = choose(one, board((key, {"publish_time": NOW - age_s - 1})), NOW)

    assert (at_limit.reason, at_limit.views[0].age_s) == (None, age_s)
    assert (beyond.reason, beyond.reading) == (PriceRefusal.STALE, None)
    assert beyond.views[0].age_s == age_s + 1


def test_a_price_of_another_kind_of_account_is_good_for_sixty_seconds():
    key = SourceKey(source=PriceSource.LEGACY, address="a")

    assert SourceRules.of(key, owners=frozenset({"o"}), feed_id="f").age_s_max == 60


@pytest.mark.parametrize(
    "changes, why",
    [
        ({"owner": "another program"}, PriceRefusal.WRONG_OWNER),
        ({"feed_id": "cd" * 32}, PriceRefusal.WRONG_FEED),
        ({"fully_verified": False}, PriceRefusal.NOT_FULLY_VERIFIED),
        ({"mantissa": 0}, PriceRefusal.NOT_POSITIVE),
        ({"exponent": -19}, PriceRefusal.BAD_EXPONENT),
        ({"exponent": 2**31 - 1}, PriceRefusal.BAD_EXPONENT),
        ({"publish_time": NOW + 6}, PriceRefusal.FROM_FUTURE),
        ({"publish_time": NOW - 91}, PriceRefusal.STALE),
        ({"mantissa": 1, "confidence": 0}, PriceRefusal.TOO_SMALL),
    ],
)
def test_the_next_source_steps_in_for_one_without_a_price(changes, why):
    choice = choose(policy(), board((PUSH, changes), (HERMES, {})), NOW)

    assert choice.reading == BOTH[HERMES].reading
    assert choice.reason is None
    assert [view.refusal for view in choice.views] == [why, None]


def test_both_generations_of_the_receiver_are_believed():
    for owner in OWNERS[PUSH]:
        assert choose(policy(), board((PUSH, {"owner": owner})), NOW).reason is None


def test_a_hermes_price_needs_no_signatures_but_an_account_that_says_hermes_is_refused():
    lie = board((PUSH, {"owner": "hermes"}))

    assert choose(policy(rules(HERMES)), BOTH, NOW).reason is None
    assert choose(policy(rules(PUSH)), lie, NOW).reason is PriceRefusal.WRONG_OWNER


def test_an_uncertain_price_is_not_replaced_by_a_more_confident_one():
    choice = choose(policy(), board((PUSH, {"confidence": 150_000_001}), (HERMES, {})), NOW)

    assert choice.reason is PriceRefusal.TOO_WIDE
    assert choice.views[0].confidence_bps == 101


def test_a_market_without_any_source_has_no_price():
    assert choose(policy(), {}, NOW).reason is PriceRefusal.MISSING
    assert choose(PricePolicy(sources=()), BOTH, NOW).reason is PriceRefusal.MISSING


@pytest.mark.parametrize(
    "other, reason", [(15_150_000_000, None), (15_150_000_001, Doubt.DISAGREE)]
)
def test_sources_that_are_further_apart_than_the_band_block(other, reason):
    apart = board((PUSH, {}), (HERMES, {"mantissa": other}))

    for order in [(PUSH, HERMES), (HERMES, PUSH)]:
        assert choose(policy(*map(rules, order)), apart, NOW).reason is reason


def test_sources_are_compared_by_value_whatever_their_exponents():
    same = board((PUSH, {}), (HERMES, {"mantissa": 150, "exponent": 0, "confidence": 0}))

    assert choose(policy(band_bps_max=1), same, NOW).reason is None


def test_a_stale_source_cannot_disagree():
    old = board((PUSH, {}), (HERMES, {"mantissa": 1_000_000_000, "publish_time": NOW - 11}))

    assert choose(policy(), old, NOW).reason is None


def test_a_jump_blocks_and_is_shown():
    choice = choose(policy(), board((PUSH, {}, True), (HERMES, {})), NOW)

    assert (choice.reason, choice.views[0].jumped) == (Doubt.JUMPED, True)


def test_a_feed_that_fails_takes_one_market_with_it():
    sol = policy(rules(PUSH))
    btc = policy(rules(HERMES))

    without_push = board((HERMES, {}))

    assert choose(sol, without_push, NOW).reason is PriceRefusal.MISSING
    assert choose(btc, without_push, NOW).reason is None


def test_sources_are_ordered_and_those_not_named_are_not_used():
    both = (rules(PUSH), rules(HERMES))

    assert in_order(both, [PriceSource.HERMES, PriceSource.PUSH_FEED]) == both[::-1]
    assert in_order(both, [PriceSource.PUSH_FEED]) == both[:1]
    assert in_order(both, []) == ()


def below(price):
    """The verdict of a long that is liquidatable below a price in 1e-8."""
    return lambda found: found.mantissa < price


def above(price):
    return lambda found: found.mantissa > price


@pytest.mark.parametrize(
    "side, verdict, send",
    [
        (Side.LONG, below(15_000_001_001), True),
        (Side.LONG, below(15_000_001_000), False),
        (Side.SHORT, above(14_999_998_999), True),
        (Side.SHORT, above(14_999_999_000), False),
    ],
)
def test_a_position_must_be_liquidatable_at_the_end_that_favours_its_owner(side, verdict, send):
    choice = choose(policy(), BOTH, NOW)

    found = decide(policy(), choice, side, verdict)

    assert found == Decision(send=send, reason=None if send else Doubt.WITHIN_CONFIDENCE)
    assert decide(policy(), choice, side, verdict, program_decides=True).send


def test_the_multiple_of_the_confidence_counts():
    verdict = below(15_000_002_001)
    choice = choose(policy(), BOTH, NOW)

    assert decide(policy(confidence_permille=2_000), choice, Side.LONG, verdict).send
    assert not decide(policy(confidence_permille=2_001), choice, Side.LONG, verdict).send


@pytest.mark.parametrize("program_decides", [False, True])
def test_nothing_is_sent_on_a_doubtful_price_whoever_decides(program_decides):
    apart = choose(policy(), board((PUSH, {}), (HERMES, {"mantissa": 1})), NOW)
    jumped = choose(policy(), board((PUSH, {}, True)), NOW)
    none = Choice(chosen=None, reason=None)

    reasons = [
        decide(policy(), choice, Side.LONG, below(2**63), program_decides=program_decides).reason
        for choice in (jumped, none)
    ]

    assert apart.views[1].refusal is PriceRefusal.TOO_WIDE
    found = decide(policy(), apart, Side.SHORT, above(1), program_decides=program_decides)
    assert found.reason is Doubt.DISAGREE
    assert reasons == [Doubt.JUMPED, PriceRefusal.MISSING]


def test_a_healthy_and_an_unknown_position_are_told_apart():
    choice = choose(policy(), BOTH, NOW)

    assert decide(policy(), choice, Side.LONG, below(0)).reason is Doubt.HEALTHY
    assert decide(policy(), choice, Side.LONG, lambda _: None).reason is Doubt.UNKNOWN
    at_price_only = {15_000_000_000: True}
    found = decide(policy(), choice, Side.LONG, lambda r: at_price_only.get(r.mantissa))
    assert found.reason is Doubt.UNKNOWN


def test_a_short_whose_best_price_would_be_below_zero_is_left_alone():
    wide = policy(rules(PUSH, confidence_bps_max=20_000))
    choice = choose(wide, board((PUSH, {"confidence": 15_000_000_000})), NOW)

    assert choice.reason is None
    assert decide(wide, choice, Side.SHORT, lambda _: True).reason is Doubt.WITHIN_CONFIDENCE
    assert decide(wide, choice, Side.LONG, lambda _: True).send


def test_the_moving_average_moves_with_its_own_confidence():
    edge = owner_favourable(reading(ema_mantissa=700, ema_confidence=3), Side.SHORT, 1_000)

    assert (edge.ema_mantissa, edge.ema_confidence, edge.confidence) == (697, 0, 0)


def liquidatable_beyond(side, line_e6):
    """The verdict of a position whose equity is 5 % of its notional at about this price."""
    entry = 150_000_000
    collateral = entry - line_e6 * 95 // 100
    if side is Side.SHORT:
        collateral = line_e6 * 105 // 100 - entry

    def at(found):
        price = price_e6(found.mantissa, found.exponent)
        own = equity(collateral, unrealized_pnl(side, 10**9, entry, price))
        return own < maintenance_margin(notional(10**9, price), 500)

    return at


SIDES = st.sampled_from(Side)
WIDTHS = st.integers(0, 40_000_000)
MORE = st.integers(0, 200_000_000)
CASES = st.fixed_dictionaries(
    {
        "side": SIDES,
        "price": st.integers(14_000_000_000, 16_000_000_000),
        "apart": st.integers(-160_000_000, 160_000_000),
        "widths": st.tuples(WIDTHS, WIDTHS),
        "wider": st.tuples(MORE, st.just(0)) | st.tuples(st.just(0), MORE) | st.tuples(MORE, MORE),
        "line": st.integers(-160_000_000, 160_000_000),
        "permille": st.integers(0, 3_000),
        "age_s": st.sampled_from([0, 90, 91]),
    }
)


@settings(max_examples=400)
@given(CASES)
def test_a_wider_confidence_never_turns_a_skip_into_a_liquidation(case):
    one = policy(confidence_permille=case["permille"])
    verdict = liquidatable_beyond(case["side"], (case["price"] + case["line"]) // 100)

    def decided(push_width, hermes_width):
        published = NOW - case["age_s"]
        push = {"mantissa": case["price"], "confidence": push_width, "publish_time": published}
        hermes = {"mantissa": case["price"] + case["apart"], "confidence": hermes_width}
        seen = board((PUSH, push), (HERMES, hermes))
        return decide(one, choose(one, seen, NOW), case["side"], verdict).send

    widened = [width + more for width, more in zip(case["widths"], case["wider"], strict=True)]
    assert decided(*case["widths"]) or not decided(*widened)


@given(
    st.builds(
        PriceReading,
        address=st.just("push"),
        owner=st.sampled_from(["rec-old", "evil"]),
        feed_id=st.sampled_from([FEED, ""]),
        mantissa=st.integers(-(2**63), 2**63 - 1),
        exponent=st.integers(-(2**31), 2**31 - 1) | st.integers(-19, 1),
        confidence=st.integers(0, 2**64 - 1),
        publish_time=st.integers(-(2**63), 2**63 - 1) | st.integers(NOW - 100, NOW + 10),
        fully_verified=st.booleans(),
        posted_slot=st.integers(0, 2**64 - 1),
        source=st.just(PriceSource.PUSH_FEED),
        ema_mantissa=st.integers(-(2**63), 2**63 - 1),
        ema_confidence=st.integers(0, 2**64 - 1),
    ),
    SIDES,
    st.booleans(),
)
def test_any_reading_gives_a_decision_with_a_reason_or_a_send(found, side, jumped):
    seen = {PUSH: Observed(reading=found, jumped=jumped)}

    decision = decide(policy(), choose(policy(), seen, NOW), side, lambda _: True)

    assert decision.send is (decision.reason is None)
