"""Whatever a node, a file or a database says, it is understood or refused by name."""

import pytest

from tests.fuzz.run import fuzz
from tests.fuzz.targets import RAISING, TARGETS

INPUTS = 200_000
SHARES = 2


@pytest.mark.timeout(120)
@pytest.mark.parametrize("share", range(SHARES))
def test_spoiled_input_is_decoded_or_refused_by_a_typed_error(share):
    names = [name for name in TARGETS if name not in RAISING]

    found = fuzz(INPUTS // SHARES, seed=share, names=names)

    assert found.failures == []
    assert found.inputs.total() >= INPUTS // SHARES
    # Spoiling must neither spare everything nor destroy everything.
    assert 0.2 < found.refused.total() / found.inputs.total() < 0.8


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.xfail(reason=reason, strict=True))
        for name, reason in RAISING.items()
    ],
)
def test_further_decoders(name):
    assert fuzz(1_000, seed=0, names=[name]).failures == []


def test_the_same_seed_spoils_the_same_inputs():
    first, again, other = (fuzz(400, seed=seed) for seed in (5, 5, 6))

    assert (first.inputs, first.refused) == (again.inputs, again.refused)
    assert first.refused != other.refused
