"""A price that grows older, wider or more doubtful never makes a position liquidatable."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from liqctl.core.guards import Limits, blocker
from liqctl.core.price_guard import PriceGuard
from tests.venues.program_cases import NOW
from tests.venues.test_reference_verdict import CASE, VENUE, assess, position_of, view_of

PRICES = st.integers(9_400_000_000, 10_600_000_000)
CONFIDENCES = st.integers(0, 2**64 - 1) | st.integers(0, 300_000_000)


def may_send(case):
    verdict, limits = assess(case), Limits()
    if verdict.liquidatable is not True or blocker(verdict, limits) is not None:
        return False
    return PriceGuard(VENUE, limits).objection(position_of(case), view_of(case), NOW) is None


@settings(max_examples=150, deadline=None)
@given(PRICES, CONFIDENCES, CONFIDENCES)
def test_widening_the_confidence_never_turns_a_skip_into_a_liquidation(price, one, other):
    narrow, wide = sorted((one, other))
    case = replace(CASE, mantissa=price)

    before = may_send(replace(case, confidence=narrow))
    after = may_send(replace(case, confidence=wide))

    assert before or not after


@settings(max_examples=150, deadline=None)
@given(PRICES, st.integers(-10, 200), st.integers(-10, 200))
def test_a_price_that_grows_older_never_turns_a_skip_into_a_liquidation(price, one, other):
    young, old = sorted((max(one, -5), max(other, -5)))
    case = replace(CASE, mantissa=price)

    before = may_send(replace(case, publish_time=NOW - young))
    after = may_send(replace(case, publish_time=NOW - old))

    assert before or not after


@settings(max_examples=100, deadline=None)
@given(PRICES, st.integers(6, 10**9))
def test_nothing_is_sent_on_a_price_of_the_future(price, ahead_s):
    assert not may_send(replace(CASE, mantissa=price, publish_time=NOW + ahead_s))


def test_each_limit_holds_at_equality_and_refuses_one_beyond():
    at = replace(CASE, confidence=CASE.mantissa // 100)
    assert may_send(at)
    assert not may_send(replace(at, confidence=at.confidence + 1))
    assert may_send(replace(CASE, publish_time=NOW - 60))
    assert not may_send(replace(CASE, publish_time=NOW - 61))
    assert may_send(replace(CASE, publish_time=NOW + 5))
    assert not may_send(replace(CASE, publish_time=NOW + 6))
