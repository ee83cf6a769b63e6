"""What a release runs for an hour: crashes, losses of power, failing disks, spoiled input.

`python -m tests.soak --minutes 60 --only kills --only fuzz`: one line of JSON for each part, with
its figures. Every part goes on until it has reached its target or its share of the time is over.
The exit code is 1 if there was any violation.
"""

import argparse
import json
import math
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from multiprocessing import get_context

from tests.crash.io_errors import fail_everywhere
from tests.crash.kill_loop import kill_again_and_again
from tests.crash.power import lose_power
from tests.crash.vfs import Unreachable
from tests.crash.workload import CHECKPOINT_PAGES
from tests.fuzz.run import fuzz
from tests.fuzz.targets import RAISING, TARGETS

VIOLATIONS_SHOWN = 20


@dataclass(slots=True, kw_only=True)
class Batch:
    """What one batch of a part found; `counts` are added up over all of them."""

    cycles: int
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One kind of test: its batches in order, each of them a call for another process.

    `target` counts cycles; without end it is the end of the batches. `share` is its part of the
    time in comparison with the other parts.
    """

    target: float
    share: int
    batches: Callable[[int], Iterator[Callable[[], Batch]]]


def kills(seed: int) -> Batch:
    found = kill_again_and_again(seed, 25)
    return Batch(cycles=found.cycles, violations=found.violations, counts=found.counts)


def power(seed: int) -> Batch:
    # Every tenth workload lets the log grow as long as the product does.
    calls, pages = (1_500, 1_000) if seed % 10 == 9 else (400, CHECKPOINT_PAGES)
    found = lose_power(seed, 500, calls=calls, checkpoint_pages=pages)
    return Batch(cycles=found.cycles, violations=found.violations, counts=found.counts)


def disk_errors(seed: int) -> Batch:
    found = fail_everywhere(seed // 2, calls=14, fresh=bool(seed % 2))
    return Batch(cycles=found.cycles, violations=found.violations, counts=found.counts)


def spoiled(seed: int) -> Batch:
    names = [name for name in TARGETS if name not in RAISING]
    found = fuzz(250_000, seed, names=names)
    counts = Counter({"refused": found.refused.total()})
    return Batch(cycles=found.inputs.total(), violations=found.failures, counts=counts)


def _seeded(batch: Callable[[int], Batch], first: int) -> Iterator[Callable[[], Batch]]:
    seed = first
    while True:
        yield partial(batch, seed)
        seed += 1


# Of the disk errors there are three workloads, each on an old and on a new database.
PARTS = {
    "kills": Part(target=1_000, share=50, batches=partial(_seeded, kills)),
    "power": Part(target=20_000, share=15, batches=partial(_seeded, power)),
    "io": Part(
        target=math.inf, share=10, batches=lambda seed: islice(_seeded(disk_errors, seed), 6)
    ),
    "fuzz": Part(target=20_000_000, share=25, batches=partial(_seeded, spoiled)),
}


def run(part: Part, seconds: float, seed: int, processes: int) -> dict[str, object]:
    """Return the figures of a part that had so much time, on so many processes."""
    started = time.monotonic()
    total = Batch(cycles=0)
    batches = part.batches(seed)
    waiting: set[Future[Batch]] = set()
    asked, exhausted = 0, False
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        try:
            while True:
                in_time = time.monotonic() - started < seconds
                while in_time and len(waiting) < processes:
                    # What is under way counts as done, so that no batch is begun in vain.
                    ahead = total.cycles * len(waiting) // max(1, asked - len(waiting))
                    batch = next(batches, None) if total.cycles + ahead < part.target else None
                    if batch is None:
                        exhausted = True
                        break
                    waiting.add(pool.submit(batch))
                    asked += 1
                if not waiting:
                    break
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for each in done:
                    _add(total, _result(each))
        except Unreachable as reason:
            return {"skipped": str(reason), "cycles": 0, "violations": 0}
    return {
        "cycles": total.cycles,
        "target": None if math.isinf(part.target) else part.target,
        "complete": exhausted,
        "violations": len(total.violations),
        "examples": total.violations[:VIOLATIONS_SHOWN],
        "seconds": round(time.monotonic() - started, 1),
        **total.counts,
    }


def _result(done: Future[Batch]) -> Batch:
    """Return what a batch found; one that broke off has found something, too."""
    try:
        return done.result()
    except Unreachable:
        raise
    except Exception as error:  # noqa: BLE001 - the other batches go on
        return Batch(cycles=0, violations=[f"BROKE_OFF {type(error).__name__}: {error}"])


def _add(total: Batch, batch: Batch) -> None:
    total.cycles += batch.cycles
    total.violations += batch.violations
    total.counts += batch.counts


def soak(names: Sequence[str], minutes: float, seed: int, processes: int) -> bool:
    """Run the parts one after another and print their figures; whether nothing was violated."""
    clean = True
    shares = sum(PARTS[name].share for name in names)
    for name in names:
        seconds = 60 * minutes * PARTS[name].share / shares
        figures = run(PARTS[name], seconds, seed, processes)
        print(json.dumps({"part": name, "seed": seed, **figures}), flush=True)  # noqa: T201 - a script
        clean = clean and not figures["violations"]
    return clean


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--only", action="append", choices=sorted(PARTS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    given = parser.parse_args()
    return 0 if soak(given.only or [*PARTS], given.minutes, given.seed, given.processes) else 1


if __name__ == "__main__":
    sys.exit(main())
