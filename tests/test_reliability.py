"""docs/RELIABILITY.md is up to date, complete, and names only tests that exist."""

import ast
import json
from functools import cache
from typing import Any

import pytest

from tests import reliability
from tests.reliability import (
    FIGURES,
    PAGE,
    ROOT,
    STATUSES,
    figures,
    missing_tests,
    page,
    take,
    told,
)

SOURCE = told()
INVARIANTS = [f"I{number}" for number in range(1, 31)]
NOTHING: dict[str, Any] = {"parts": {}}


@cache
def codes() -> set[str]:
    """Return every text in the simulator that could be the code of a violation."""
    found = set()
    for path in (ROOT / "liqctl" / "sim").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.add(node.value)
    return found


def files_in(folder: str) -> set[str]:
    return {
        path.relative_to(ROOT).as_posix() for path in (ROOT / "tests" / folder).glob("test_*.py")
    }


def test_the_page_is_the_one_that_its_sources_make():
    assert page(SOURCE, figures()) == PAGE.read_text(encoding="utf-8")


def test_every_test_that_is_named_exists():
    assert missing_tests(reliability.ids_named(SOURCE)) == []


def test_every_invariant_is_there_in_its_order():
    assert [one["id"] for one in SOURCE["invariant"]] == INVARIANTS


@pytest.mark.parametrize("one", SOURCE["invariant"], ids=lambda one: one["id"])
def test_what_is_called_proven_has_tests_and_what_is_not_says_what_is_missing(one):
    assert one["status"] in STATUSES
    assert bool(one["tests"]) == (one["status"] != "with the server")
    assert ("missing" in one) == (one["status"] == "partly")
    assert set(one["checkers"]) <= codes()


@pytest.mark.parametrize("one", SOURCE["threat"], ids=lambda one: one["name"])
def test_every_threat_has_a_test_or_says_why_not(one):
    assert one["tests"] or "missing" in one
    assert set(one["promises"]) <= set(INVARIANTS)


def test_every_incident_has_its_file_and_every_file_its_incident():
    replayed = {one["name"]: one["tests"] for one in SOURCE["incident"]}
    expected = {name: [f"tests/incidents/test_{name}.py"] for name, ids in replayed.items() if ids}

    assert {name: ids for name, ids in replayed.items() if ids} == expected
    assert {file for files in expected.values() for file in files} == files_in("incidents")
    assert all("missing" in one for one in SOURCE["incident"] if not one["tests"])


def test_every_file_about_a_threat_is_named():
    named = {test.partition("::")[0] for one in SOURCE["threat"] for test in one["tests"]}

    assert files_in("threats") <= named


@pytest.mark.parametrize(
    "absent",
    [
        "tests/no_such_file.py",
        "tests/no_such_file.py::test_x",
        "tests/test_reliability.py::test_no_such_test",
        "tests/test_reliability.py::files_in",
        "tests/store/contract.py::test_a_second_live_attempt_is_refused",
        "tests/store/contract.py::StoreContract",
    ],
)
def test_a_test_that_does_not_exist_is_told(absent):
    assert missing_tests([absent]) == [absent]


def test_figures_are_taken_out_of_the_lines_of_a_run_and_shown():
    lines = [
        "12 seeds so far",
        json.dumps({"part": "kills", "cycles": 1_000, "violations": 0, "examples": []}),
        json.dumps({"type": "sim", "seeds": 20_000, "faults": {"reset": 7, "429": 5}}),
        json.dumps({"type": "scan", "slot": 3}),
    ]

    known = take(lines, NOTHING, "2026-11-25", "2 cores")
    later = take([lines[1].replace("1000", "2000")], known, "2026-11-26", "2 cores")

    assert known["parts"] == {
        "sim": {"seeds": 20_000, "faults": {"reset": 7, "429": 5}},
        "kills": {"cycles": 1_000, "violations": 0},
    }
    assert list(later["parts"]) == ["sim", "kills"]
    assert later["parts"]["kills"]["cycles"] == 2_000
    shown = page(SOURCE, later)
    assert "| simulated seeds | seeds 20,000, faults 12 (429 5; reset 7) |" in shown
    assert "2026-11-26, on 2 cores" in shown


def test_a_page_that_is_stale_is_told(tmp_path, monkeypatch):
    old = tmp_path / "RELIABILITY.md"
    old.write_text(PAGE.read_text(encoding="utf-8") + "more\n", encoding="utf-8")
    monkeypatch.setattr(reliability, "PAGE", old)
    monkeypatch.setattr("sys.argv", ["reliability", "--check"])

    assert reliability.main() == 1
    monkeypatch.setattr("sys.argv", ["reliability"])
    assert reliability.main() == 0
    assert old.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8")


def test_the_recorded_figures_have_their_form():
    known = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else NOTHING

    assert set(known["parts"]) <= set(reliability.PARTS)
    assert not known["parts"] or {"date", "machine", "parts"} == set(known)
