"""`liqctl dev`: rehearsals and proofs: the simulator, and a proxy that misbehaves."""

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl import __version__
from liqctl.cli import command_app
from liqctl.cli.chaos import CHAOS_EXAMPLE, chaos_proxy
from liqctl.cli.options import Json, NoColor, whole_number
from liqctl.cli.vectors import VECTORS_EXAMPLE, check_vectors
from liqctl.errors import SettingsError

if TYPE_CHECKING:
    from liqctl.cli.render import Screen
    from liqctl.sim.report import Run, SeedReport

app = command_app()

JOBS_MAX = 256
SEEDS_OF_A_MUTANT = "1..1000"
EXAMPLES = (
    "Examples: liqctl dev sim --seeds 1..500 --jobs 2; liqctl dev sim --seed 4711 --trace; "
    "liqctl dev sim --seed 4711 --shrink; liqctl dev sim --seeds 1..50 --twice --json; "
    "liqctl dev sim --mutants --fast"
)


@app.callback()
def dev() -> None:
    """Tools for rehearsals and proofs."""


@app.command(epilog=EXAMPLES)
def sim(
    *,
    seeds: Annotated[
        str | None, typer.Option("--seeds", metavar="A..B", help="Run these seeds, both included.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="S", help="Run this seed alone.")
    ] = None,
    jobs: Annotated[
        int, typer.Option("--jobs", metavar="J", help="Run on so many processes at once.")
    ] = 1,
    twice: Annotated[
        bool, typer.Option("--twice", help="Run each seed twice and compare what happened.")
    ] = False,
    trace: Annotated[
        bool, typer.Option("--trace", help="Print every step of the one seed to stderr.")
    ] = False,
    shrink: Annotated[
        bool, typer.Option("--shrink", help="Find the shortest time of faults that still fails.")
    ] = False,
    faults_until: Annotated[
        float | None,
        typer.Option(
            "--faults-until", metavar="S", help="End the faults after S seconds, or sooner."
        ),
    ] = None,
    mutants: Annotated[
        bool, typer.Option("--mutants", help="Run faulty variants until each is found out.")
    ] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="With --mutants: those alone that are found out soon.")
    ] = False,
    mutant: Annotated[
        str | None, typer.Option("--mutant", metavar="NAME", help="Run with this faulty variant.")
    ] = None,
    as_json: Json = False,
    no_color: NoColor = False,
) -> None:
    """Run the keeper in simulated time against a simulated cluster full of faults.

    Each seed is another run of keepers, endpoints and a market, with faults, kills and restarts,
    then a while without faults, then checks. The same seed takes the same steps everywhere. Ends
    with exit code 1 when a promise was broken, or when a faulty variant was not found out.
    """
    from liqctl.cli.render import Screen  # noqa: PLC0415 - 40 ms, not for --help

    whole_number("--jobs", jobs, 1, JOBS_MAX)
    screen = Screen(no_color=no_color)
    if fast and not mutants:
        raise SettingsError("--fast goes with --mutants")
    if faults_until is not None and not faults_until >= 0:
        raise SettingsError(f"--faults-until must be 0 or more seconds, not {faults_until:g}")
    if faults_until is not None and (mutants or shrink):
        raise SettingsError("--faults-until goes with neither --mutants nor --shrink")
    if mutants and seeds is None and seed is None:
        seeds = SEEDS_OF_A_MUTANT
    chosen = _seeds(seeds, seed)
    if (trace or shrink) and len(chosen) != 1:
        raise SettingsError("--trace and --shrink are for one seed; name it with --seed")
    if mutants:
        _print_mutants(screen, chosen, _mutants(mutant, fast=fast), jobs, as_json=as_json)
    elif shrink:
        _print_shrunk(screen, chosen[0], mutant, as_json=as_json)
    elif trace:
        _print_versions(screen)
        _print_run(screen, [_traced(chosen[0], mutant, faults_until)], as_json=as_json)
    else:
        from liqctl.sim.runner import run_all  # noqa: PLC0415 - 600 ms, not for --help

        reports = run_all(
            chosen, jobs=jobs, mutant=mutant, twice=twice, faults_until_s=faults_until
        )
        _print_run(screen, reports, as_json=as_json)


def _seeds(seeds: str | None, seed: int | None) -> range:
    from liqctl.sim.runner import seeds_of  # noqa: PLC0415 - 600 ms, not for --help

    if (seeds is None) == (seed is None):
        raise SettingsError("name the seeds with --seeds A..B, or one with --seed S")
    return seeds_of(seeds if seeds is not None else str(seed))


def _traced(seed: int, mutant: str | None, faults_until_s: float | None) -> "SeedReport":
    from liqctl.sim.runner import replayed  # noqa: PLC0415 - with this option only

    def tell(line: str) -> None:
        print(line, file=sys.stderr)

    return replayed(seed, tell, mutant=mutant, faults_until_s=faults_until_s)


def _print_versions(screen: "Screen") -> None:
    """Say what a trace depends on beside the seed."""
    import sqlite3  # noqa: PLC0415 - with this option only
    from importlib.metadata import version  # noqa: PLC0415 - with this option only

    screen.note(
        f"liqctl {__version__}, Python {sys.version.split()[0]}, solders {version('solders')}, "
        f"SQLite {sqlite3.sqlite_version}"
    )


def _print_run(screen: "Screen", reports: Iterable["SeedReport"], *, as_json: bool) -> None:
    """Print violations as they are found and the sum at the end."""
    from liqctl.ports import SystemClock  # noqa: PLC0415 - 20 ms, not for --help
    from liqctl.sim.report import Run, violation_line  # noqa: PLC0415 - not for --help

    clock, run = SystemClock(), Run()
    started_ns = clock.monotonic_ns()
    for report in reports:
        run.add(report)
        for violation in report.violations:
            if as_json:
                screen.json(violation_line(violation))
            else:
                screen.print(str(violation))
    seconds = (clock.monotonic_ns() - started_ns) / 1e9
    if as_json:
        screen.json({**run.summary(), "seconds": round(seconds, 3)})
    else:
        _tell(screen, run, seconds)
    if run.violations:
        raise typer.Exit(1)


def _tell(screen: "Screen", run: "Run", seconds: float) -> None:
    counts = run.counts
    screen.table(("fault", "times"), sorted(run.faults.items()), right=("times",))
    screen.print(
        f"{run.seeds:,} seeds, {run.simulated_s / 3600:,.1f} hours simulated in {seconds:,.1f} s: "
        f"{sum(run.faults.values()):,} faults, {counts['kills']:,} kills, "
        f"{counts['kills_in_flight']:,} of them with an attempt in flight; "
        f"{counts['attempts']:,} attempts, {counts['landed']:,} landed, "
        f"{counts['own_rolled_back']:,} rolled back; {len(run.violations):,} violations"
    )


def _print_shrunk(screen: "Screen", seed: int, mutant: str | None, *, as_json: bool) -> None:
    from liqctl.sim.report import violation_line  # noqa: PLC0415 - with this option only
    from liqctl.sim.runner import shrunk  # noqa: PLC0415 - with this option only

    found = shrunk(seed, mutant=mutant)
    if found is None:
        raise SettingsError(f"seed {seed} breaks no promise; there is nothing to shrink")
    until_s, report = found
    if as_json:
        for violation in report.violations:
            screen.json(violation_line(violation))
        screen.json({"type": "shrunk", "seed": seed, "faults_until_s": round(until_s, 3)})
    else:
        for violation in report.violations:
            screen.print(str(violation))
        screen.print(f"seed {seed} still fails when its faults end at {until_s:.1f} s")
    raise typer.Exit(1)


def _mutants(mutant: str | None, *, fast: bool) -> tuple[str, ...]:
    from liqctl.sim.mutants import MUTANTS  # noqa: PLC0415 - with this option only

    if mutant is not None:
        return (mutant,)
    return tuple(name for name, one in MUTANTS.items() if one.fast or not fast)


def _print_mutants(
    screen: "Screen", seeds: range, names: tuple[str, ...], jobs: int, *, as_json: bool
) -> None:
    """Print for each faulty variant what found it out, and those that nothing did."""
    from liqctl.sim.mutants.hunt import run  # noqa: PLC0415 - with this option only

    survivors = []
    for hunt in run(names, seeds, jobs=jobs):
        if not hunt.killed:
            survivors.append(hunt.name)
        if as_json:
            screen.json(hunt.line())
        else:
            found = f"found by {hunt.by}, seed {hunt.seed}: {hunt.text}"
            screen.print(f"{hunt.name}: {found if hunt.killed else 'survived'}")
    if as_json:
        screen.json(
            {
                "type": "mutants",
                "total": len(names),
                "killed": len(names) - len(survivors),
                "survivors": survivors,
            }
        )
    else:
        screen.print(f"{len(names)} faulty variants, {len(survivors)} survived")
    if survivors:
        raise typer.Exit(1)


app.command("chaos-proxy", epilog=CHAOS_EXAMPLE)(chaos_proxy)
app.command("check-vectors", epilog=VECTORS_EXAMPLE)(check_vectors)
