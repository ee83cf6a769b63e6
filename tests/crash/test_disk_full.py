"""The real daemon on a disk that takes nothing more: it stops signing, watches on and recovers."""

import resource
import time

import pytest

from tests.crash.kill_loop import SUBMITTED, round_of
from tests.crash.processes import Life

NOTHING_MORE = 512
FAILED = b"decision_failed"


def count_after(life: Life, seconds: float, word: bytes) -> int:
    """Return how often something has been said once the time is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        life.listen(end - time.monotonic())
    return life.said.count(word)


@pytest.mark.timeout(180)
@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="prlimit is of Linux alone")
def test_a_full_disk_stops_the_signing_and_nothing_else():
    with round_of(seed=3, kills=12) as here:
        life = here.start()
        assert life.hears(SUBMITTED, 20, times=3)

        unlimited = resource.prlimit(life.pid, resource.RLIMIT_FSIZE, (NOTHING_MORE, -1))
        before = count_after(life, 0.7, SUBMITTED)
        watching = life.hears(FAILED, 20, times=life.said.count(FAILED) + 1)
        during = count_after(life, 1.0, SUBMITTED)
        resource.prlimit(life.pid, resource.RLIMIT_FSIZE, unlimited)
        works_again = life.hears(SUBMITTED, 20, times=during + 1)

        here.chain.hold()
        here.finish(life)

    assert during == before
    assert watching
    assert works_again
    assert here.found.violations == []
