"""What a release runs: simulated seeds, mutants, crashes, losses of power, failing disks, fuzz.

`python -m tests.soak --minutes 120 --only sim --only kills`: one line of JSON for each part, with
its figures. Every part goes on until it has reached its target or its share of the time is over;
of two hours the simulator has one. The exit code is 1 if there was any violation.
"""

import argparse
import json
import math
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

from liqctl.sim.mutants import MUTANTS
from liqctl.sim.mutants.hunt import hunt
from liqctl.sim.report import Run
from liqctl.sim.seed import run_seed
from tests.ageing import grow_old
from tests.crash.contention import contend_on_postgres, contend_on_sqlite
from tests.crash.io_errors import fail_everywhere
from tests.crash.kill_loop import kill_again_and_again
from tests.crash.power import lose_power
from tests.crash.vfs import Unreachable
from tests.crash.workload import CHECKPOINT_PAGES
from tests.fuzz.run import fuzz
from tests.fuzz.targets import RAISING, TARGETS
from tests.venues.differential import Disagreement, compare

Figures = dict[str, object]
VIOLATIONS_SHOWN = 20
SEEDS_A_BATCH = 25
MUTANT_SEEDS = 1_000
CASES_A_BATCH = 10_000
REQUESTS_A_BATCH = 2_000
CONTENTION_S = 60
BATCHES_A_PROCESS = 40


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


def kills_on_postgres(seed: int) -> Batch:
    from tests.store.postgres_server import fresh_url

    found = kill_again_and_again(seed, 25, postgres=fresh_url(f"kills{seed}"))
    return Batch(cycles=found.cycles, violations=found.violations, counts=found.counts)


def contended(seed: int) -> Batch:
    contend = contend_on_sqlite if seed % 4 == 3 else contend_on_postgres
    found = contend(seed, CONTENTION_S)
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


def differential(seed: int) -> Batch:
    try:
        endings = compare(f"soak {seed}", CASES_A_BATCH)
    except Disagreement as error:
        return Batch(cycles=CASES_A_BATCH, violations=[str(error)])
    return Batch(
        cycles=CASES_A_BATCH, counts=Counter({f"ended_{k}": n for k, n in endings.items()})
    )


def requests(seed: int) -> Batch:
    from tests.server.api_fuzz import fuzz as ask

    found = ask(seed, REQUESTS_A_BATCH)
    statuses = Counter({f"answered_{status}": n for status, n in found.statuses.items()})
    return Batch(cycles=found.cases, violations=found.violations, counts=statuses)


def simulated(batch: int) -> Batch:
    run = Run()
    for seed in range(batch * SEEDS_A_BATCH, (batch + 1) * SEEDS_A_BATCH):
        run.add(run_seed(seed))
    counts = Counter({**run.counts, "faults": run.faults.total()})
    counts.update({f"fault_{kind}": count for kind, count in run.faults.items()})
    counts["simulated_s"] = round(run.simulated_s)
    return Batch(cycles=run.seeds, violations=[str(each) for each in run.violations], counts=counts)


def mutated(name: str) -> Batch:
    found = hunt(name, range(1, MUTANT_SEEDS + 1))
    survived = [] if found.killed else [f"SURVIVED {name}: {found.seeds} seeds"]
    return Batch(cycles=1, violations=survived, counts=Counter({"seeds": found.seeds}))


def daemon(seconds: int) -> Batch:
    command = ("watch", "--localnet", "--positions", "2000", "--duration", str(seconds), "--json")
    done = subprocess.run(
        [sys.executable, "-m", "liqctl", *command], capture_output=True, text=True, check=False
    )
    last = done.stdout.splitlines()[-1] if done.stdout else "no output"
    counts: Counter[str] = Counter()
    if done.returncode == 0:
        summary = json.loads(last)
        counts.update({name: summary[name] for name in ("liquidated_full", "liquidated_partial")})
    return Batch(cycles=seconds, violations=[] if done.returncode == 0 else [last], counts=counts)


def aged(seconds: int) -> Batch:
    found = grow_old(seconds)
    return Batch(cycles=seconds, violations=found.violations, counts=found.counts)


def crowd(seconds: int) -> Batch:
    from tests.server.crowd import measure

    found = measure(5_000, seconds)
    counts = {name: found[name] for name in found if isinstance(found[name], int)}
    return Batch(cycles=seconds, violations=found["violations"], counts=Counter(counts))


def canaries(rounds: int) -> Batch:
    done = subprocess.run(
        [sys.executable, "-m", "tests.canary", str(rounds)],
        capture_output=True,
        text=True,
        check=False,
    )
    if not done.stdout:
        return Batch(cycles=0, violations=[done.stderr[-400:] or "no output"])
    found = json.loads(done.stdout)
    counts = Counter({name: found[name] for name in ("artefacts", "bytes")})
    return Batch(cycles=found["rounds"], violations=found["hits"], counts=counts)


def _seeded(batch: Callable[[int], Batch], first: int) -> Iterator[Callable[[], Batch]]:
    seed = first
    while True:
        yield partial(batch, seed)
        seed += 1


# Shares are minutes of two hours. Of the disk errors there are three workloads, each on an old and
# on a new database; the simulator's first batch holds the seeds 0 to 24.
PARTS = {
    "sim": Part(target=20_000, share=60, batches=partial(_seeded, simulated)),
    "mutants": Part(
        target=math.inf,
        share=18,
        batches=lambda _: iter([partial(mutated, name) for name in MUTANTS]),
    ),
    "kills": Part(target=1_000, share=17, batches=partial(_seeded, kills)),
    "kills_postgres": Part(target=300, share=6, batches=partial(_seeded, kills_on_postgres)),
    "contention": Part(target=50_000, share=8, batches=partial(_seeded, contended)),
    "power": Part(target=20_000, share=4, batches=partial(_seeded, power)),
    "io": Part(
        target=math.inf, share=3, batches=lambda seed: islice(_seeded(disk_errors, seed), 6)
    ),
    "fuzz": Part(target=20_000_000, share=11, batches=partial(_seeded, spoiled)),
    "differential": Part(target=2_000_000, share=7, batches=partial(_seeded, differential)),
    "api": Part(target=100_000, share=12, batches=partial(_seeded, requests)),
    "canary": Part(target=3, share=2, batches=lambda _: iter([partial(canaries, 3)])),
    "clients": Part(target=600, share=35, batches=lambda _: iter([partial(crowd, 600)])),
    "daemon": Part(target=300, share=5, batches=lambda _: iter([partial(daemon, 300)])),
    "age": Part(target=1_200, share=20, batches=lambda _: iter([partial(aged, 1_200)])),
}


def run(part: Part, seconds: float, seed: int, processes: int) -> Figures:
    """Return the figures of a part that had so much time, on so many processes."""
    started = time.monotonic()
    total = Batch(cycles=0)
    batches = part.batches(seed)
    waiting: set[Future[Batch]] = set()
    asked, exhausted = 0, False
    # What a simulated kill ends in mid-call is never let go: some 2 MB in every 25 seeds.
    with ProcessPoolExecutor(
        processes, mp_context=get_context("spawn"), max_tasks_per_child=BATCHES_A_PROCESS
    ) as pool:
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


def soak(names: Sequence[str], minutes: float, seed: int, processes: int) -> Iterator[Figures]:
    """Run the parts one after another and yield the figures of each."""
    shares = sum(PARTS[name].share for name in names)
    for name in names:
        seconds = 60 * minutes * PARTS[name].share / shares
        yield {"part": name, "seed": seed, **run(PARTS[name], seconds, seed, processes)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--only", action="append", choices=sorted(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, help="append the lines to a file as well")
    given = parser.parse_args()
    clean = True
    for figures in soak(given.only or [*PARTS], given.minutes, given.seed, given.processes):
        line = json.dumps(figures)
        print(line, flush=True)  # noqa: T201 - a script
        if given.out is not None:
            with given.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
        clean = clean and not figures["violations"]
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
