"""The runway of the insurance fund, by hand."""

import pytest

from liqctl.core.record import InsuranceSample
from liqctl.core.runway import runway_s

DAY_MS = 86_400_000


def sample(at_ms: int, balance: int, covered: int) -> InsuranceSample:
    return InsuranceSample(
        venue="reference",
        address="fund",
        balance=balance,
        bad_debt_covered=covered,
        bad_debt_uncovered=0,
        slot=1,
        at_ms=at_ms,
    )


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        ([], None),
        ([sample(0, 100, 0)], None),
        # 10 a day out of 45: four days and a half.
        ([sample(0, 55, 0), sample(DAY_MS, 45, 10)], 388_800),
        ([sample(0, 55, 0), sample(1, 90, 0), sample(DAY_MS, 45, 10)], 388_800),
        # Paid into meanwhile: the balance counts as it is, the losses as they were.
        ([sample(0, 5, 0), sample(DAY_MS, 45, 10)], 388_800),
        ([sample(0, 2, 7), sample(3_000, 2, 10)], 2),
        ([sample(0, 55, 10), sample(DAY_MS, 45, 10)], None),
        ([sample(0, 10, 0), sample(DAY_MS, 0, 10)], 0),
        ([sample(DAY_MS, 55, 0), sample(DAY_MS, 45, 10)], None),
        ([sample(0, 10**18, 0), sample(DAY_MS, 10**18, 1)], None),
    ],
)
def test_the_balance_over_what_is_paid_for_bad_debt(samples, expected):
    assert runway_s(samples) == expected
