"""Runs mutants over seeds until each is found out: in a fresh process each, or in this one."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from liqctl.sim.mutants import variant
from liqctl.sim.seed import run_seed

SEEDS_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hunt:
    """What became of one mutant: found out `by` a code at a `seed`, or a survivor of all seeds."""

    name: str
    seeds: int
    by: str | None = None
    seed: int | None = None
    text: str = ""

    @property
    def killed(self) -> bool:
        """Whether it was found out."""
        return self.by is not None

    def line(self) -> dict[str, object]:
        """Return the hunt as an object of its own line."""
        return {
            "type": "mutant",
            "name": self.name,
            "killed": self.killed,
            "by": self.by,
            "seed": self.seed,
            "seeds": self.seeds,
            "text": self.text,
        }


def hunt(name: str, seeds: Sequence[int]) -> Hunt:
    """Return what became of a mutant; only the codes count that it is to be caught by."""
    codes = variant(name).caught_by
    for number, seed in enumerate(seeds, 1):
        for violation in run_seed(seed, mutant=name).violations:
            if violation.code in codes:
                return Hunt(
                    name=name, seeds=number, by=violation.code, seed=seed, text=violation.text
                )
    return Hunt(name=name, seeds=len(seeds))


def run(names: Sequence[str], seeds: Sequence[int], *, jobs: int = 1) -> Iterator[Hunt]:
    """Yield what became of each mutant, in order; each has a process of its own."""
    with ProcessPoolExecutor(max_workers=jobs, max_tasks_per_child=1) as pool:
        yield from pool.map(hunt, names, [seeds] * len(names))
