"""Fees in both units, and the examples in the docstrings."""

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liqctl.chain import base58, fees, urls, wire
from liqctl.chain.fees import (
    fee_text,
    max_cost_lamports,
    price_within,
    priority_fee_lamports,
    sol_text,
)


@pytest.mark.parametrize("module", [base58, fees, urls, wire])
def test_the_examples_in_the_docstrings_are_true(module):
    found = doctest.testmod(module)

    assert found.attempted > 0
    assert found.failed == 0


@pytest.mark.parametrize(
    ("limit", "price", "lamports"),
    [(200_000, 1_000_000, 200_000), (1, 1, 1), (200_000, 0, 0), (3, 333_334, 2), (0, 5, 0)],
)
def test_a_priority_fee_is_rounded_up(limit, price, lamports):
    assert priority_fee_lamports(limit, price) == lamports


def test_the_cost_counts_every_signature():
    assert max_cost_lamports(2, 200_000, 1_000_000) == 210_000


@given(st.integers(0, 10**12), st.integers(1, 1_400_000))
def test_the_price_within_a_budget_is_the_highest_that_keeps_it(lamports, limit):
    price = price_within(lamports, limit)

    assert priority_fee_lamports(limit, price) <= lamports
    assert priority_fee_lamports(limit, price + 1) > lamports


def test_no_compute_units_have_no_price():
    assert price_within(5, 0) == 0


def test_a_fee_is_shown_in_every_unit():
    assert fee_text(200_000, 1_000_000).endswith("= 200000 lamports = 0.0002 SOL")
    assert sol_text(1) == "0.000000001"
    assert sol_text(2_000_000_000) == "2"
