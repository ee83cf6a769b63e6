"""The fuzzer: so many inputs from a seed, on as many processes as wanted.

`python -m tests.fuzz.run --inputs 200000 --seed 1 --processes 2`, and to see one input again
`python -m tests.fuzz.run --replay TARGET:SEED:NUMBER`.
"""

import argparse
import json
import multiprocessing
import random
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import FrameType

HANG_S = 5.0
FAILURES_KEPT = 5
SEEDS_APART = 1_000_003


class Hang(BaseException):
    """One input took seconds of computing."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """How many inputs were tried by target and refused, and the replay of each that failed."""

    inputs: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        self.inputs += other.inputs
        self.refused += other.refused
        self.failed += other.failed
        self.failures += other.failures


def fuzz(
    inputs: int, seed: int, *, processes: int = 1, names: Sequence[str] | None = None
) -> Outcome:
    """Return what became of about so many inputs, shared among the targets by their weights."""
    shares = [(inputs // processes, seed * SEEDS_APART + n, names) for n in range(processes)]
    if processes == 1:
        return _share(*shares[0])
    total = Outcome()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for outcome in pool.starmap(_share, shares):
            total.add(outcome)
    return total


def _share(inputs: int, seed: int, names: Sequence[str] | None) -> Outcome:
    from tests.fuzz.targets import TARGETS

    chosen = [TARGETS[name] for name in names or TARGETS]
    weights = sum(target.weight for target in chosen)
    outcome = Outcome()
    before = signal.signal(signal.SIGVTALRM, _hang)
    try:
        for target in chosen:
            for number in range(-(-inputs * target.weight // weights)):
                _one(target.name, seed, number, outcome)
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
    return outcome


def _one(name: str, seed: int, number: int, outcome: Outcome) -> None:
    from tests.fuzz.targets import TARGETS

    target = TARGETS[name]
    signal.setitimer(signal.ITIMER_VIRTUAL, HANG_S)
    outcome.inputs[name] += 1
    try:
        target.attempt(random.Random(f"{seed}/{number}"))
    except target.allowed:
        outcome.refused[name] += 1
    except (Exception, Hang, SystemExit) as error:  # noqa: BLE001 - what is sought
        outcome.failed[name] += 1
        if outcome.failed[name] <= FAILURES_KEPT:
            text = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            outcome.failures.append(f"{text}; replay: {name}:{seed}:{number}")


def _hang(_number: int, _frame: FrameType | None) -> None:
    raise Hang(f"more than {HANG_S:g} s")


def replay(place: str) -> None:
    """Try one input again and show what happens."""
    from tests.fuzz.targets import TARGETS

    name, seed, number = place.split(":")
    try:
        TARGETS[name].attempt(random.Random(f"{int(seed)}/{int(number)}"))
    except TARGETS[name].allowed as error:
        print(f"refused: {type(error).__name__}: {error}")  # noqa: T201 - a script
    except Exception:  # noqa: BLE001 - to be shown
        traceback.print_exc()
    else:
        print("accepted")  # noqa: T201 - a script


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--only", action="append")
    parser.add_argument("--replay")
    given = parser.parse_args()
    if given.replay:
        replay(given.replay)
        return 0
    started = time.monotonic()
    found = fuzz(given.inputs, given.seed, processes=given.processes, names=given.only)
    report = {
        "inputs": found.inputs.total(),
        "refused": found.refused.total(),
        "failures": found.failures,
        "by_target": found.inputs,
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(report))  # noqa: T201 - a script
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
