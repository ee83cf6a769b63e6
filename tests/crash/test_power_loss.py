"""The database after a loss of power: it opens, and what was acknowledged is in it."""

import pytest

from tests.crash.findings import Findings
from tests.crash.power import lose_power
from tests.crash.vfs import Unreachable


def losses(seed: int, points: int, pragma: str = "") -> Findings:
    try:
        return lose_power(seed, points, pragma=pragma)
    except Unreachable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_loss_of_power_takes_nothing_that_was_acknowledged_and_leaves_nothing_half(seed):
    found = losses(seed, 250)

    assert found.violations == []
    assert found.cycles == 250
    # Were none of these seen, no crash would have hit a commit under way.
    assert found.counts["unacknowledged_but_kept"] > 10


@pytest.mark.parametrize("less", ["NORMAL", "OFF"])
def test_with_less_durable_commits_a_loss_of_power_is_noticed(less):
    found = losses(1, 60, f"PRAGMA synchronous = {less}")

    lost = [violation for violation in found.violations if violation.startswith("LOST_COMMIT")]
    assert len(lost) > 10
