"""The keeper through 300 seeds of faults, and through every seed that once found something."""

from pathlib import Path

import pytest

from liqctl.sim.seed import run_seed

SEEDS = 300
CHUNK = 15
FOUND_ONCE = [
    int(line.split()[0])
    for line in Path(__file__).with_name("seeds.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]


@pytest.mark.timeout(240)
@pytest.mark.parametrize("first", range(1, SEEDS + 1, CHUNK))
def test_no_promise_is_broken_under_the_faults_of_a_seed(first):
    reports = [run_seed(seed) for seed in range(first, first + CHUNK)]

    found = [each for report in reports for each in report.violations]
    # Each ends with the command that replays it.
    assert [str(each) for each in found] == []
    assert sum(report.attempts for report in reports) > 0
    assert sum(sum(report.faults.values()) for report in reports) > 0


@pytest.mark.timeout(240)
def test_what_was_found_once_stays_mended():
    reports = [run_seed(seed) for seed in FOUND_ONCE]

    assert [str(each) for report in reports for each in report.violations] == []
