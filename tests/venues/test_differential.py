"""Python's verdict against the program's own, executed in a Solana VM."""

import os

import pytest

from liqctl.core.health import Kind
from tests.venues.differential import ERRORS, compare

SEED = os.environ.get("LIQCTL_DIFFERENTIAL_SEED", "20260725")
CASES = int(os.environ.get("LIQCTL_DIFFERENTIAL_CASES", "20000"))
CHUNKS = 8


@pytest.mark.timeout(600)
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_python_and_the_program_agree_on_every_figure(chunk):
    endings = compare(f"{SEED}/{chunk}", CASES // CHUNKS)

    # The comparison is worth something only if the cases reach every branch.
    if CASES // CHUNKS >= 2_500:
        missing = {"healthy", *Kind, *ERRORS.values(), "MarketPaused"} - set(endings)
        missing |= {"MaxSizeTooSmall", "ProfitPoolEmpty", "InvalidAmount"} - set(endings)
        assert not missing, endings
