"""Fees, and the examples in the docstrings."""

import doctest

import pytest

from liqctl.chain import base58, fees, urls, wire
from liqctl.chain.fees import (
    max_cost_lamports,
    priority_fee_lamports,
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
