"""Prices: their value, and each reason not to use one."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.price import (
    PriceReading,
    PriceRefusal,
    PriceRules,
    confidence_bps,
    from_future,
    price_e6,
    refusal,
)

NOW = 1_790_000_000
READING = PriceReading(
    address="price",
    owner="receiver",
    feed_id="ef",
    mantissa=15_679_769_099,
    exponent=-8,
    confidence=5_000_000,
    publish_time=NOW,
    fully_verified=True,
    posted_slot=1,
)
RULES = PriceRules(owner="receiver", feed_id="ef", age_s_max=60, confidence_bps_max=100)


@pytest.mark.parametrize(
    "mantissa, exponent, expected",
    [
        (15_679_769_099, -8, 156_797_690),
        (999, -9, 0),
        (1_999, -9, 1),
        (42, -6, 42),
        (42, 0, 42_000_000),
        (7, -5, 70),
        (2**63 - 1, -18, 9_223_372),
    ],
)
def test_a_price_is_mantissa_times_ten_to_the_exponent_rounded_down(mantissa, exponent, expected):
    assert price_e6(mantissa, exponent) == expected


def test_a_good_reading_is_not_refused():
    assert refusal(READING, RULES, NOW) is None


@pytest.mark.parametrize(
    "fault, expected",
    [
        ({"owner": "somebody"}, PriceRefusal.WRONG_OWNER),
        ({"fully_verified": False}, PriceRefusal.NOT_FULLY_VERIFIED),
        ({"feed_id": "00"}, PriceRefusal.WRONG_FEED),
        ({"mantissa": 0}, PriceRefusal.NOT_POSITIVE),
        ({"mantissa": -1}, PriceRefusal.NOT_POSITIVE),
        ({"exponent": 1}, PriceRefusal.BAD_EXPONENT),
        ({"exponent": 20}, PriceRefusal.BAD_EXPONENT),
        ({"exponent": -19}, PriceRefusal.BAD_EXPONENT),
        ({"publish_time": NOW - 61}, PriceRefusal.STALE),
        ({"publish_time": -(2**63)}, PriceRefusal.STALE),
        ({"mantissa": 10_000, "confidence": 101}, PriceRefusal.TOO_WIDE),
        ({"mantissa": 99, "confidence": 0}, PriceRefusal.TOO_SMALL),
        ({"mantissa": 2**63 - 1, "exponent": 0, "confidence": 0}, PriceRefusal.TOO_LARGE),
    ],
)
def test_each_fault_has_its_own_reason(fault, expected):
    assert refusal(replace(READING, **fault), RULES, NOW) is expected


@pytest.mark.parametrize(
    "edge",
    [
        {"publish_time": NOW - 60},
        {"publish_time": NOW + 3_600},
        {"mantissa": 10_000, "confidence": 100},
        {"mantissa": 100, "confidence": 0},
        {"exponent": -18, "mantissa": 10**12},
        {"exponent": 0, "mantissa": (2**64 - 1) // 10**6, "confidence": 0},
    ],
)
def test_a_limit_itself_passes(edge):
    assert refusal(replace(READING, **{"confidence": 0} | edge), RULES, NOW) is None


def test_the_first_fault_in_the_order_of_the_program_is_named():
    faults = [
        ({"owner": "somebody"}, PriceRefusal.WRONG_OWNER),
        ({"fully_verified": False}, PriceRefusal.NOT_FULLY_VERIFIED),
        ({"feed_id": "00"}, PriceRefusal.WRONG_FEED),
        ({"mantissa": 0}, PriceRefusal.NOT_POSITIVE),
        ({"exponent": -19}, PriceRefusal.BAD_EXPONENT),
        ({"publish_time": 0}, PriceRefusal.STALE),
        ({"confidence": 2**64 - 1}, PriceRefusal.TOO_WIDE),
    ]
    reading = READING

    for fault, expected in reversed(faults):
        reading = replace(reading, **fault)  # type: ignore[arg-type]
        assert refusal(reading, RULES, NOW) is expected


@pytest.mark.parametrize("ahead_s, expected", [(5, False), (6, True), (-100, False)])
def test_more_than_five_seconds_ahead_is_from_the_future(ahead_s, expected):
    assert from_future(replace(READING, publish_time=NOW + ahead_s), NOW) is expected


def test_confidence_is_shown_in_basis_points_rounded_up():
    assert confidence_bps(replace(READING, mantissa=10_000, confidence=1)) == 1
    assert confidence_bps(replace(READING, mantissa=10_001, confidence=1)) == 1
    assert confidence_bps(replace(READING, mantissa=9_999, confidence=1)) == 2
    assert confidence_bps(replace(READING, mantissa=0)) == 10_000


@given(st.integers(1, 2**63 - 1), st.integers(-18, 0))
def test_a_price_is_never_above_the_published_one(mantissa, exponent):
    value = price_e6(mantissa, exponent)

    # value / 10^6 <= mantissa * 10^exponent < (value + 1) / 10^6, multiplied by 10^18
    published = mantissa * 10 ** (18 + exponent)
    assert value * 10**12 <= published < (value + 1) * 10**12
