"""The guard of prices: what other sources, jumps and the confidence say against a verdict."""

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from liqctl.core.account import Seen
from liqctl.core.guards import Limits
from liqctl.core.position import Market, Side
from liqctl.core.price import HERMES_OWNER, PriceReading, PriceSource
from liqctl.core.price_guard import PriceGuard
from liqctl.core.price_policy import Doubt, owner_favourable
from liqctl.core.price_terms import PriceTerms, SourceName
from liqctl.core.whatif import republished
from tests.venues.program_cases import FEED, NOW
from tests.venues.test_reference_verdict import CASE, MARKET, PRICE, VENUE, position_of, view_of

FEED_ID = FEED.hex()
PUSH, RECEIVER = "push account", "receiver"
BESIDE = PriceTerms(sources=(SourceName.PROGRAM, SourceName.HERMES))
FIRST = PriceTerms(sources=(SourceName.HERMES, SourceName.PROGRAM), sources_min=2)
# The long of CASE falls at 101.052631: equity 40 + (price - 100) * 10 against 5 % of price * 10.
LINE_E8 = 10_105_263_100
OWN_E8 = 10_010_000_000


def guard(terms=BESIDE, *, program_decides=False, **more):
    made = PriceGuard(
        VENUE,
        Limits(prices=terms, **more),
        program_decides=program_decides,
        push_feeds=lambda _: {PUSH: RECEIVER},
    )
    view = view_of(CASE)
    made.link(view[MARKET].value)
    made.attend([view[MARKET].value], view)
    return made


def hermes(mantissa, **more):
    found = PriceReading(
        address=FEED_ID,
        owner=HERMES_OWNER,
        feed_id=FEED_ID,
        mantissa=mantissa,
        exponent=-8,
        confidence=0,
        publish_time=NOW - 1,
        fully_verified=False,
        posted_slot=0,
        source=PriceSource.HERMES,
    )
    return replace(found, **more)


def objection(made, case=CASE, now_s=NOW):
    return made.objection(position_of(case), view_of(case), now_s)


def test_the_program_s_own_price_alone_is_enough_where_nothing_else_is_asked_for():
    assert objection(guard(PriceTerms())) is None
    assert objection(guard(BESIDE)) is None


@pytest.mark.parametrize(
    ("mantissa", "doubt"), [(10_110_100_000, None), (10_110_100_001, Doubt.DISAGREE)]
)
def test_sources_further_apart_than_the_band_stop_the_send(mantissa, doubt):
    """The position falls at the program's price, and not at either of Hermes."""
    made = guard()
    made.hear(hermes(mantissa), NOW)

    assert objection(made, replace(CASE, mantissa=OWN_E8)) is doubt


def test_a_crash_that_the_chain_lags_behind_is_acted_on():
    made = guard()
    made.hear(hermes(8_790_000_000, confidence=4_000_000), NOW)
    lagging = replace(CASE, mantissa=8_900_000_000, confidence=4_000_000)

    assert made.choice(view_of(lagging)[MARKET].value, view_of(lagging), NOW).reason is not None
    assert objection(made, lagging) is None


@pytest.mark.parametrize("terms", [BESIDE, FIRST])
@pytest.mark.parametrize(
    ("mantissa", "confidence", "doubt", "by_program"),
    [
        (LINE_E8, 0, None, None),
        (LINE_E8, 100, Doubt.DISAGREE, None),
        (LINE_E8 + 100, 0, Doubt.DISAGREE, Doubt.DISAGREE),
    ],
)
def test_of_sources_that_disagree_the_one_best_for_the_owner_counts(
    terms, mantissa, confidence, doubt, by_program
):
    made, trusting = guard(terms), guard(terms, program_decides=True)
    for each in (made, trusting):
        each.hear(hermes(mantissa, confidence=confidence), NOW)

    assert objection(made) is doubt
    assert objection(trusting) is by_program


@pytest.mark.parametrize("program_decides", [False, True])
def test_a_short_at_a_price_that_was_pumped_on_the_chain_alone_is_left(program_decides):
    """The short of the same size falls above 99.047619."""
    pumped = replace(CASE, size=-CASE.size, mantissa=10_200_000_000)
    made = guard(program_decides=program_decides)
    made.hear(hermes(9_904_761_900), NOW)
    assert objection(made, pumped) is Doubt.DISAGREE

    made.hear(hermes(9_904_762_000, publish_time=NOW), NOW)
    assert objection(made, pumped) is None


def test_too_few_sources_stay_too_few_wherever_they_stand():
    made = guard(replace(BESIDE, sources_min=3))
    made.hear(hermes(8_790_000_000), NOW)

    assert objection(made, replace(CASE, mantissa=8_900_000_000)) is Doubt.TOO_FEW


def test_a_service_that_fell_silent_disagrees_with_nobody_and_is_missed_where_it_is_needed():
    beside, first = guard(BESIDE), guard(FIRST)
    for made in (beside, first):
        made.hear(hermes(10_000_000_000), NOW)
    assert (objection(beside), objection(first)) == (None, None)

    for made in (beside, first):
        made.hear(hermes(5_000_000_000, publish_time=NOW - 11), NOW)
        made.lose(FEED_ID)

    assert objection(beside) is None
    assert objection(first) is Doubt.TOO_FEW


def test_a_position_must_fall_at_the_preferred_price_too():
    made = guard(replace(FIRST, band_bps_max=10_000))
    made.hear(hermes(LINE_E8 + 100), NOW)
    assert objection(made) is Doubt.HEALTHY

    made.hear(hermes(LINE_E8, publish_time=NOW), NOW)
    assert objection(made) is None

    made.hear(hermes(LINE_E8, confidence=100, publish_time=NOW, posted_slot=1), NOW)
    assert objection(made) is Doubt.WITHIN_CONFIDENCE


@pytest.mark.parametrize(
    ("confidence", "doubt"), [(5_263_100, None), (5_263_200, Doubt.WITHIN_CONFIDENCE)]
)
def test_a_position_must_fall_at_its_owner_s_end_of_the_confidence(confidence, doubt):
    case = replace(CASE, mantissa=LINE_E8 - 5_263_100, confidence=confidence)

    assert objection(guard(), case) is doubt
    assert objection(guard(program_decides=True), case) is None
    assert objection(guard(replace(BESIDE, confidence_permille=0)), case) is None
    assert objection(guard(replace(BESIDE, confidence_permille=2_000)), case) is not None


def test_an_edge_without_a_verdict_is_no_yes():
    """At twice 2 ** 63 the program cannot compute any more."""
    case = replace(CASE, mantissa=2**63 - 1, exponent=-6, confidence=2**63 - 1)
    made = guard(PriceTerms(confidence_bps_max=10_000))

    found = made.objection(position_of(case), view_of(case), NOW)

    assert found is Doubt.UNKNOWN


def test_our_own_limits_on_the_program_s_account_have_their_own_words():
    old = replace(CASE, publish_time=NOW - 61, max_age=100)
    assert objection(guard(), old) is Doubt.OLDER
    assert objection(guard(PriceTerms(age_s_max=61)), old) is None
    wide = replace(CASE, mantissa=5_000_000_000, confidence=50_000_001)
    assert objection(guard(), wide) is Doubt.WIDER


def test_the_terms_of_a_market_are_its_own():
    strict = {"SOL": replace(BESIDE, age_s_max=2)}
    view = view_of(CASE)
    symbol = view[MARKET].value.symbol

    named = guard(market_prices={symbol: strict["SOL"]})
    other = guard(market_prices={"another market": strict["SOL"]})

    assert (objection(named), objection(other)) == (Doubt.OLDER, None)


def test_a_price_that_jumped_waits_for_a_later_one_that_agrees():
    made, view = guard(), view_of(CASE)
    made.follow(view[PRICE].value)
    fall = replace(CASE, mantissa=CASE.mantissa // 2)
    assert objection(made, fall) is Doubt.JUMPED
    assert made.choice(view[MARKET].value, view_of(fall), NOW).reason is Doubt.JUMPED

    made.follow(view_of(fall)[PRICE].value)
    assert objection(made, replace(fall, publish_time=NOW)) is None


def test_a_jump_is_told_by_the_limit_of_the_market():
    symbol = view_of(CASE)[MARKET].value.symbol
    made = guard(market_prices={symbol: PriceTerms(jump_bps_max=5_000)})
    made.follow(view_of(CASE)[PRICE].value)

    assert objection(made, replace(CASE, mantissa=CASE.mantissa // 2)) is None
    assert objection(made, replace(CASE, mantissa=CASE.mantissa // 2 - 1)) is Doubt.JUMPED


def test_a_push_feed_is_compared_like_any_other_source():
    made = guard(PriceTerms(sources=(SourceName.PROGRAM, SourceName.PUSH_FEED)))
    assert made.push_accounts == {PUSH}
    pushed = replace(
        view_of(CASE)[PRICE].value, address=PUSH, owner=RECEIVER, mantissa=11_000_000_000
    )

    made.push(replace(pushed, owner="anybody"), NOW)
    assert objection(made) is None
    made.push(replace(pushed, posted_slot=2**60), NOW)
    assert objection(made) is Doubt.DISAGREE


def test_a_market_whose_own_account_is_the_push_feed_is_not_compared_with_itself():
    made = PriceGuard(
        VENUE,
        Limits(
            prices=PriceTerms(sources=(SourceName.PROGRAM, SourceName.PUSH_FEED), sources_min=2)
        ),
        push_feeds=lambda _: {PRICE: RECEIVER},
    )
    view = view_of(CASE)
    made.attend([view[MARKET].value], view)

    assert made.push_accounts == frozenset()
    assert objection(made) is Doubt.TOO_FEW


def test_every_source_is_told_although_nobody_has_heard_of_it():
    made = PriceGuard(VENUE, Limits(prices=replace(FIRST, sources=tuple(SourceName))))
    view = view_of(CASE)
    market = view[MARKET].value
    nothing = {key: seen for key, seen in view.items() if key != PRICE}

    choice = made.choice(market, nothing, NOW)

    assert [view.key.source for view in choice.views] == [
        PriceSource.PRICE_UPDATE,
        PriceSource.PUSH_FEED,
        PriceSource.HERMES,
    ]
    assert choice.reason == "price_missing"


def test_the_terms_name_the_feed_where_the_account_does_not():
    named = "cd" * 32
    made = guard(replace(BESIDE, feed_id=named))

    assert made.wanted() == (named,)
    assert made.fed_by(named) == {MARKET}
    assert guard(PriceTerms()).wanted() == ()
    assert guard().wanted() == (FEED_ID,)


@pytest.mark.parametrize(("mantissa", "doubt"), [(101_052_631, None), (101_052_632, Doubt.HEALTHY)])
def test_the_preferred_price_counts_by_its_value_whatever_its_exponent(mantissa, doubt):
    made = guard(replace(FIRST, band_bps_max=10_000))
    made.hear(hermes(mantissa, exponent=-6), NOW)

    assert objection(made) is doubt


def test_a_venue_that_shows_no_price_is_believed():
    view = {key: seen for key, seen in view_of(CASE).items() if key != PRICE}

    assert guard().objection(position_of(CASE), view, NOW) is None
    assert guard().objection(position_of(CASE), {}, NOW) is None


def test_a_price_in_another_exponent_is_rounded_down_and_its_confidence_up():
    own = view_of(CASE)[PRICE].value
    coarse = replace(own, exponent=-2)

    told = republished(coarse, hermes(1_234_567_899, confidence=1))

    assert (told.mantissa, told.exponent, told.confidence) == (1_234, -2, 1)
    assert (told.address, told.publish_time) == (own.address, own.publish_time)
    finer = republished(replace(own, exponent=-10), hermes(7, confidence=2))
    assert (finer.mantissa, finer.confidence) == (700, 200)


def may_send(made, case, now_s=NOW):
    position, view = position_of(case), view_of(case)
    falls = VENUE.assess(position, view, now_s).liquidatable is True
    return falls and made.objection(position, view, now_s) is None


PRICES = st.integers(9_900_000_000, 10_300_000_000)
WIDTHS = st.integers(0, 150_000_000) | st.integers(0, 2**64 - 1)


CASES = st.fixed_dictionaries(
    {
        "side": st.sampled_from(Side),
        "price": PRICES,
        "widths": st.tuples(WIDTHS, WIDTHS),
        "beside": PRICES,
        "other": st.tuples(WIDTHS, WIDTHS),
        "permille": st.integers(0, 3_000),
        "terms": st.sampled_from([BESIDE, FIRST]),
    }
)


# A source that keeps a long healthy does so too when it becomes too uncertain to be used alone.
WIDE_BESIDE = {
    "side": Side.LONG,
    "price": 10_000_000_000,
    "widths": (0, 0),
    "beside": 10_200_000_000,
    "other": (0, 150_000_000),
    "permille": 1_000,
    "terms": BESIDE,
}


@settings(max_examples=200, deadline=None)
@given(CASES)
@example(WIDE_BESIDE)
def test_widening_a_confidence_never_turns_a_skip_into_a_liquidation(drawn):
    terms = replace(drawn["terms"], confidence_permille=drawn["permille"])
    narrow, wide = sorted(drawn["widths"])
    less, more = sorted(drawn["other"])
    size = CASE.size if drawn["side"] is Side.LONG else -CASE.size
    held = replace(CASE, size=size, mantissa=drawn["price"])

    def decided(own, service):
        made = guard(terms)
        made.hear(hermes(drawn["beside"], confidence=service), NOW)
        return may_send(made, replace(held, confidence=own))

    before = decided(narrow, less)
    assert before or not decided(wide, less)
    assert before or not decided(narrow, more)
    assert before or not decided(wide, more)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(Side),
    st.booleans(),
    st.tuples(PRICES, PRICES, PRICES),
    st.tuples(WIDTHS, WIDTHS, WIDTHS),
)
def test_a_further_source_never_turns_a_refusal_into_a_send(side, decides, prices, widths):
    own, *beside = zip(prices, widths, strict=True)
    size = CASE.size if side is Side.LONG else -CASE.size
    case = replace(CASE, size=size, mantissa=own[0], confidence=own[1])
    made = guard(replace(BESIDE, sources=tuple(SourceName)), program_decides=decides)
    pushed = replace(view_of(CASE)[PRICE].value, address=PUSH, owner=RECEIVER)

    alone = may_send(made, case)
    made.push(replace(pushed, mantissa=beside[0][0], confidence=beside[0][1]), NOW)
    second = may_send(made, case)
    made.hear(hermes(beside[1][0], confidence=beside[1][1]), NOW)
    third = may_send(made, case)

    assert alone >= second >= third


@settings(max_examples=100, deadline=None)
@given(PRICES, WIDTHS, st.integers(0, 3_000))
def test_whatever_is_sent_falls_at_the_owner_s_end_by_the_program_s_own_arithmetic(
    price, confidence, permille
):
    case = replace(CASE, mantissa=price, confidence=confidence)
    if not may_send(guard(replace(BESIDE, confidence_permille=permille)), case):
        return
    view = view_of(case)
    edge = owner_favourable(view[PRICE].value, Side.LONG, permille)
    there = {**view, PRICE: replace(view[PRICE], value=edge)}

    assert VENUE.assess(position_of(case), there, NOW).liquidatable is True


def test_a_view_without_the_market_or_with_something_else_says_nothing():
    view = view_of(CASE)
    view[MARKET] = Seen(address=MARKET, slot=1, value=view[PRICE].value)

    assert not isinstance(view[MARKET].value, Market)
    assert guard().objection(position_of(CASE), view, NOW) is None
