"""Many seeds over several processes; one again with its trace; the shortest that still fails."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice

from liqctl.errors import SettingsError
from liqctl.sim.checkers import Violation
from liqctl.sim.report import NONDET, SeedReport
from liqctl.sim.seed import run_seed
from liqctl.sim.swarm import Swarm

CHUNK = 4
AHEAD = 3


SEED_DIGITS_MAX = 18


def seeds_of(text: str) -> range:
    """Return the seeds that `A..B` names, both included; one number is one seed.

    >>> list(seeds_of("3..5")), list(seeds_of("7"))
    ([3, 4, 5], [7])

    Raises:
        SettingsError: it is neither, or B is below A.
    """
    first, dots, last = text.partition("..")
    low, high = first, last if dots else first
    wellformed = all(each.isdecimal() and len(each) <= SEED_DIGITS_MAX for each in (low, high))
    if not wellformed or int(high) < int(low):
        raise SettingsError(f"seeds are given as A..B, not {text!r}")
    return range(int(low), int(high) + 1)


def run_all(
    seeds: Sequence[int],
    *,
    jobs: int,
    mutant: str | None = None,
    twice: bool = False,
    faults_until_s: float | None = None,
) -> Iterator[SeedReport]:
    """Yield the report of each seed, in order; `twice` runs each again and compares the hashes."""
    run = partial(run_seed, mutant=mutant, faults_until_s=faults_until_s)
    if jobs <= 1:
        for seed in seeds:
            yield _one(seed, run, twice)
        return
    with ProcessPoolExecutor(max_workers=jobs) as pool:
        chunks = iter([seeds[at : at + CHUNK] for at in range(0, len(seeds), CHUNK)])
        waiting = [pool.submit(_some, chunk, run, twice) for chunk in islice(chunks, AHEAD * jobs)]
        while waiting:
            reports = waiting.pop(0).result()
            waiting += [pool.submit(_some, chunk, run, twice) for chunk in islice(chunks, 1)]
            yield from reports


def _some(seeds: Sequence[int], run: Callable[[int], SeedReport], twice: bool) -> list[SeedReport]:
    return [_one(seed, run, twice) for seed in seeds]


def _one(seed: int, run: Callable[[int], SeedReport], twice: bool) -> SeedReport:
    report = run(seed)
    if not twice:
        return report
    again = run(seed)
    if again.trace_hash == report.trace_hash:
        return report
    differs = Violation(
        code=NONDET,
        seed=seed,
        at_s=0.0,
        text=f"the traces {report.trace_hash[:16]} and {again.trace_hash[:16]} differ",
    )
    return replace(report, violations=(*report.violations, differs))


def replayed(
    seed: int,
    tell: Callable[[str], None],
    *,
    mutant: str | None = None,
    faults_until_s: float | None = None,
) -> SeedReport:
    """Return the report of one seed; every step of it is told as a line."""
    return run_seed(seed, mutant=mutant, trace=tell, faults_until_s=faults_until_s)


def shrunk(seed: int, *, mutant: str | None = None) -> tuple[float, SeedReport] | None:
    """Return the shortest time of faults, in seconds, that still fails, with its report.

    Bisects the end of the faults to a second; None when the seed does not fail at all.
    """
    swarm = Swarm.of(seed)
    worst = run_seed(seed, mutant=mutant)
    if not worst.violations:
        return None
    low, high = 0.0, swarm.chaos_s
    while high - low > 1.0:
        middle = (low + high) / 2
        report = run_seed(seed, mutant=mutant, faults_until_s=middle)
        if report.violations:
            high, worst = middle, report
        else:
            low = middle
    return high, worst
