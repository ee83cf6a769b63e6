"""Two processes on one PostgreSQL: they share the work, and none signs for the other."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from liqctl.store.open import open_store
from tests.store.postgres_server import fresh_url
from tests.store.records import attempt, request

ROOT = Path(__file__).parents[2]
POSITIONS = 60
ROUNDS = 12
LEASE_MS = 200
DEADLINE_S = 20


class Claimer:
    def __init__(self, url: str, name: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.store.claimer", url, name],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def order(self, text: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.communicate(timeout=DEADLINE_S)
        assert self.process.returncode == 0


@pytest.fixture(scope="module")
def url() -> str:
    url = fresh_url("processes")
    open_store(url).close()
    return url


@pytest.fixture(scope="module")
def two(url: str) -> Iterator[tuple[Claimer, Claimer]]:
    with ExitStack() as stack:
        both = Claimer(url, "one"), Claimer(url, "other")
        for each in both:
            stack.callback(each.end)
        for each in both:
            assert each.hear() == "ready"
        yield both


def test_of_two_that_claim_the_same_positions_exactly_one_wins_each(two):
    for each in two:
        each.order(f"race {POSITIONS}")
    won = [[*iter(each.hear, "done")] for each in two]

    assert sorted(won[0] + won[1]) == sorted(f"won {n}" for n in range(POSITIONS))


def test_two_that_spend_at_the_same_time_stay_below_the_cap_together(two, url):
    with closing(open_store(url)) as store:
        for number in range(1, ROUNDS + 1):
            cap = 3 * number * 205_000
            for each in two:
                each.order(f"spend {number} 3 {cap}")
            recorded = [int(each.hear().removeprefix("spent ")) for each in two]

            assert sum(recorded) == 3
            assert store.spent_lamports(0) == cap


def test_who_was_stopped_past_its_lease_signs_nothing_when_it_wakes(two, url):
    sleeper, _ = two
    sleeper.order(f"hold stopped {LEASE_MS}")
    assert sleeper.hear() == "held"
    sleeper.process.send_signal(signal.SIGSTOP)
    deadline = time.monotonic() + DEADLINE_S
    with closing(open_store(url)) as store:
        while (claim := store.claim(request("stopped"), "us", 0, 60_000)) is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        sleeper.process.send_signal(signal.SIGCONT)
        sleeper.order("sign")

        assert sleeper.hear() == "signed False"
        assert store.record_attempt(claim, attempt(claim, "ours", position="stopped"), 0)
        assert "ours" in [row.signature for row in store.live_attempts()]
        assert "by one" not in [row.signature for row in store.live_attempts()]
