"""docs/RELIABILITY.md, made of docs/reliability.toml and the figures of the last runs.

`python -m tests.reliability` writes the page, `--check` only says whether it is up to date.
`--figures LINES` first takes figures into docs/figures.json: the lines of JSON that `tests.soak` and
`liqctl dev sim --json` print. Parts that are not among them keep their figures.

figures.json is `{"date": ..., "machine": ..., "parts": {name: {figure: value}}}`; a value is a
number, a text, a truth value, or again figures by name.
"""

import argparse
import ast
import json
import os
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "docs" / "reliability.toml"
FIGURES = ROOT / "docs" / "figures.json"
PAGE = ROOT / "docs" / "RELIABILITY.md"
STATUSES = {
    "proven": "*Proven*",
    "partly": "*Partly proven*",
    "with the server": "*Comes with the server*",
}
PARTS = {
    "sim": "simulated seeds",
    "mutants": "faulty variants of the keeper, each to be found out",
    "kills": "SIGKILLs of the running program",
    "kills_postgres": "the same with the records in PostgreSQL",
    "contention": "intents that four processes fought for, killed and stopped, while PostgreSQL crashed",
    "power": "losses of power, on a modelled disk",
    "io": "an error at the N-th operation of the disk, for every N",
    "fuzz": "spoiled inputs to every decoder",
    "api": "requests made of the API's own description, valid and not",
    "differential": "cases in which Python and the program judged and paid alike",
    "canary": "rounds of the search for secrets through every artefact",
    "clients": "seconds of a keeper beside 5,000 WebSocket clients, a tenth of whom never read",
    "daemon": "seconds of the daemon on an embedded chain of 2,000 positions",
    "age": "seconds in which a keeper meets the slots of a day, its memory at their start and end",
}
# Of a run's line; the others are told by the run itself.
NO_FIGURES = {"type", "part", "examples", "bad_seeds", "codes", "survivors", "fault_edges"}

Told = Mapping[str, Any]


def told() -> Told:
    """Return what docs/reliability.toml says."""
    return tomllib.loads(SOURCE.read_text(encoding="utf-8"))


def figures() -> Told:
    """Return the figures of the last runs."""
    if not FIGURES.exists():
        return {"parts": {}}
    found: Told = json.loads(FIGURES.read_text(encoding="utf-8"))
    return found


def page(source: Told, known: Told) -> str:
    """Return the whole page."""
    parts = [
        source["preface"].strip(),
        _runs(known),
        "## Promises\n\n" + source["invariants"].strip(),
        *(_invariant(one) for one in source["invariant"]),
        "## Threats\n\n" + source["threats"].strip(),
        *(_threat(one) for one in source["threat"]),
        "## Incidents\n\n" + source["incidents"].strip(),
        _incidents(source["incident"]),
        "## What is not promised",
        "\n".join(f"- {one['text'].strip()}" for one in source["limit"]),
    ]
    return "\n\n".join(parts) + "\n"


def _runs(known: Told) -> str:
    if not known["parts"]:
        return "## Figures\n\nNo long run has been recorded yet; `make test` runs short ones."
    lines = [
        f"## Figures\n\nOf the last long runs, {known['date']}, on {known['machine']}.\n",
        "| run | figures |",
        "|---|---|",
    ]
    for name, part in known["parts"].items():
        lines.append(f"| {PARTS.get(name, name)} | {', '.join(_shown(part))} |")
    return "\n".join(lines)


def _shown(part: Told) -> Iterator[str]:
    for name, value in part.items():
        words = name.replace("_", " ")
        match value:
            case bool():
                yield f"{words}: {'yes' if value else 'no'}"
            case int():
                yield f"{words} {value:,}"
            case dict():
                kinds = "; ".join(f"{kind} {count:,}" for kind, count in sorted(value.items()))
                yield f"{words} {sum(value.values()):,} ({kinds})"
            case _:
                yield f"{words} {value}"


def _invariant(one: Told) -> str:
    said = STATUSES[one["status"]]
    if "missing" in one:
        said += f"; {one['missing'].strip()}"
    if one["checkers"]:
        codes = ", ".join(f"`{code}`" for code in one["checkers"])
        said += f". The simulator checks it as {codes}"
    lines = [f"### {one['id']} {one['name']}", one["promise"].strip(), f"{said}."]
    return "\n\n".join([*lines, *_tests(one["tests"])])


def _threat(one: Told) -> str:
    head = f"### {one['name'].capitalize()}"
    kept = ", ".join(one["promises"])
    lines = [head, f"{one['mechanism'].strip()}{f' ({kept})' if kept else ''}"]
    if "missing" in one:
        lines.append(f"*Not tested yet:* {one['missing'].strip()}")
    return "\n\n".join([*lines, *_tests(one["tests"])])


def _incidents(rows: Iterable[Told]) -> str:
    lines = ["| what happened | when, source | test |", "|---|---|---|"]
    for one in rows:
        where = ", ".join(f"`{test}`" for test in one["tests"]) or one["missing"]
        lines.append(f"| {one['happened'].strip()} | {one['source']} | {where} |")
    return "\n".join(lines)


def _tests(ids: Iterable[str]) -> list[str]:
    """Return one item for each file, with the tests in it."""
    by_file: dict[str, list[str]] = defaultdict(list)
    for one in ids:
        file, _, name = one.partition("::")
        by_file[file].append(name)
    lines = [
        f"- `{file}`" + (": " + ", ".join(f"`{n}`" for n in names) if any(names) else "")
        for file, names in by_file.items()
    ]
    return ["\n".join(lines)] if lines else []


def ids_named(source: Told) -> set[str]:
    """Return every test that the source names."""
    rows = [*source["invariant"], *source["threat"], *source["incident"]]
    return {test for row in rows for test in row["tests"]}


def missing_tests(ids: Iterable[str]) -> list[str]:
    """Return the ids that no file has, without importing any."""
    return sorted(one for one in ids if one not in _ids_of(one.partition("::")[0]))


@cache
def _ids_of(file: str) -> frozenset[str]:
    path = ROOT / file
    if not path.is_file():
        return frozenset()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset({file, *(f"{file}::{name}" for name in _tests_in(tree, ""))})


def _tests_in(tree: ast.Module | ast.ClassDef, before: str) -> Iterator[str]:
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.startswith("test_"):
                    yield f"{before}{name}"
            case ast.ClassDef(name=name):
                yield from _tests_in(node, f"{before}{name}::")
            case ast.Assign(targets=[ast.Name(id=name)]) if name.startswith("Test"):
                yield f"{before}{name}"  # a rule-based state machine of hypothesis
            case _:
                pass


def take(lines: Iterable[str], known: Told, date: str, machine: str) -> Told:
    """Return the figures with those of the lines in them; what is no line of a run is passed over."""
    parts = dict(known["parts"])
    for line in lines:
        if not line.startswith("{"):
            continue
        found = json.loads(line)
        name = found.get("part", found.get("type"))
        if name in PARTS:
            parts[name] = {
                key: value
                for key, value in found.items()
                if key not in NO_FIGURES and value is not None
            }
    ordered = {name: parts[name] for name in PARTS if name in parts}
    return {"date": date, "machine": machine, "parts": ordered}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if it is stale")
    parser.add_argument("--figures", type=Path, help="take figures out of this file first")
    parser.add_argument("--date", default=f"{datetime.now(UTC):%Y-%m-%d}")
    parser.add_argument("--machine", default=f"{os.cpu_count()} cores")
    given = parser.parse_args()
    if given.figures is not None:
        lines = given.figures.read_text(encoding="utf-8").splitlines()
        known = take(lines, figures(), given.date, given.machine)
        FIGURES.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    source = told()
    for absent in missing_tests(ids_named(source)):
        print(f"there is no {absent}", file=sys.stderr)  # noqa: T201 - a script
    made = page(source, figures())
    if given.check:
        return int(made != PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
