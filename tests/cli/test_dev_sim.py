"""`liqctl dev sim`: what it prints, its exit codes, replay, shrinking, faulty variants."""

import json
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from liqctl.cli import app
from liqctl.sim import mutants, runner
from liqctl.sim.checkers import Violation
from liqctl.sim.mutants import hunt
from liqctl.sim.report import SeedReport


def sim(*options: str) -> Any:
    return CliRunner().invoke(
        app, ["dev", "sim", *options], prog_name="liqctl", env={"COLUMNS": "80"}
    )


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def violation(seed: int, code: str = "DOUBLE") -> Violation:
    return Violation(code=code, seed=seed, at_s=1.5, text="twice", intent="3", attempt="sig")


@pytest.fixture
def seeds(monkeypatch):
    """Seeds that take no time: odd ones are clean, even ones fail after 30 seconds of faults."""
    asked: list[dict[str, Any]] = []

    def run_seed(seed: int, **given: Any) -> SeedReport:
        asked.append({"seed": seed, **given})
        until_s = given.get("faults_until_s")
        bad = seed % 2 == 0 and (until_s is None or until_s > 30.0)
        if given.get("trace") is not None:
            given["trace"]("0.000000 a step")
        return SeedReport(
            seed=seed,
            violations=(violation(seed),) if bad else (),
            trace_hash=f"{seed}",
            simulated_s=1_800.0,
            faults={"reset": 2, "fork": 1},
            edges={"reset SIGNED->SENT": 1},
            kills=3,
            kills_in_flight=1,
        )

    monkeypatch.setattr(runner, "run_seed", run_seed)
    return asked


def test_clean_seeds_end_with_the_sum(seeds):
    done = sim("--seeds", "1..1", "--json")

    assert (done.exit_code, done.stderr) == (0, "")
    (summary,) = lines(done.stdout)
    assert summary.pop("seconds") >= 0
    assert summary == {
        "type": "sim",
        "seeds": 1,
        "violations": 0,
        "codes": {},
        "bad_seeds": [],
        "simulated_hours": 0.5,
        "kills": 3,
        "kills_in_flight": 1,
        "attempts": 0,
        "landed": 0,
        "own_rolled_back": 0,
        "expired": 0,
        "steps": 0,
        "faults": {"fork": 1, "reset": 2},
        "fault_edges": {"reset SIGNED->SENT": 1},
    }


def test_a_violation_is_printed_with_its_replay_and_ends_with_1(seeds):
    done = sim("--seeds", "1..4", "--json")

    assert done.exit_code == 1
    *found, summary = lines(done.stdout)
    assert [one["seed"] for one in found] == [2, 4]
    assert found[0] == {
        "type": "violation",
        "code": "DOUBLE",
        "seed": 2,
        "at_s": 1.5,
        "text": "twice",
        "intent": "3",
        "attempt": "sig",
        "replay": "liqctl dev sim --seed 2 --trace",
    }
    assert (summary["violations"], summary["bad_seeds"]) == (2, [2, 4])


def test_people_see_the_same(seeds):
    done = sim("--seeds", "1..2")

    assert done.exit_code == 1
    assert "DOUBLE seed 2 at 1.500 s intent 3 attempt sig: twice" in done.stdout
    assert "2 seeds, 1.0 hours simulated" in done.stdout
    assert "1 violations" in done.stdout


def test_a_trace_goes_to_stderr_and_names_the_versions(seeds):
    done = sim("--seed", "3", "--trace", "--json")

    assert done.exit_code == 0
    assert "Python 3." in done.stderr
    assert "0.000000 a step" in done.stderr
    assert lines(done.stdout)[-1]["seeds"] == 1


def test_twice_compares_what_happened(seeds, monkeypatch):
    hashes = iter("aabc")
    monkeypatch.setattr(
        runner, "run_seed", lambda seed, **_: SeedReport(seed=seed, trace_hash=next(hashes))
    )

    done = sim("--seeds", "1..2", "--twice", "--json")

    assert done.exit_code == 1
    assert [one["code"] for one in lines(done.stdout)[:-1]] == ["NONDET"]


def test_shrinking_finds_the_shortest_time_of_faults_that_still_fails(seeds):
    done = sim("--seed", "4", "--shrink", "--json")

    assert done.exit_code == 1
    *found, last = lines(done.stdout)
    assert found[0]["seed"] == 4
    assert last["type"] == "shrunk"
    assert 30.0 < last["faults_until_s"] <= 31.0


def test_a_clean_seed_cannot_be_shrunk(seeds):
    done = sim("--seed", "3", "--shrink")

    assert done.exit_code == 2
    assert "nothing to shrink" in done.stderr


@pytest.mark.parametrize("how", [(), ("--trace",)])
def test_the_faults_of_a_seed_end_when_they_are_told_to(seeds, how):
    codes = [sim("--seed", "2", "--faults-until", s, *how).exit_code for s in ("30", "31")]

    assert codes == [0, 1]
    assert [each["faults_until_s"] for each in seeds] == [30.0, 31.0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "name the seeds"),
        (("--seeds", "1..2", "--seed", "1"), "name the seeds"),
        (("--seeds", "2..1"), "A..B"),
        (("--seeds", "a..b"), "A..B"),
        (("--seeds", "1..2", "--trace"), "one seed"),
        (("--seeds", "1..2", "--shrink"), "one seed"),
        (("--seed", "1", "--jobs", "0"), "--jobs"),
        (("--seed", "1", "--faults-until", "-1"), "0 or more seconds, not -1"),
        (("--seed", "1", "--faults-until", "nan"), "0 or more seconds, not nan"),
        (("--seed", "1", "--shrink", "--faults-until", "9"), "neither --mutants nor --shrink"),
    ],
)
def test_wrong_options_end_with_2(options, said, seeds):
    done = sim(*options)

    assert done.exit_code == 2
    assert said in done.stderr
    assert seeds == []


@pytest.fixture
def variants(monkeypatch):
    """Two faulty variants, of which one is found out at seed 2."""
    asked: list[tuple[Any, ...]] = []

    def run(names, seeds, *, jobs):
        asked.append((names, seeds, jobs))
        for name in names:
            if name == "M01":
                yield hunt.Hunt(name=name, seeds=2, by="DOUBLE", seed=2, text="twice")
            else:
                yield hunt.Hunt(name=name, seeds=len(seeds))

    monkeypatch.setattr(hunt, "run", run)
    fast = {"M01": SimpleNamespace(fast=True), "M38": SimpleNamespace(fast=False)}
    monkeypatch.setattr(mutants, "MUTANTS", fast)
    return asked


def test_a_variant_that_nothing_finds_out_ends_with_1(variants):
    done = sim("--mutants", "--seeds", "1..5", "--json")

    assert done.exit_code == 1
    *each, summary = lines(done.stdout)
    assert [(one["name"], one["killed"], one["by"]) for one in each] == [
        ("M01", True, "DOUBLE"),
        ("M38", False, None),
    ]
    assert summary == {"type": "mutants", "total": 2, "killed": 1, "survivors": ["M38"]}
    assert variants == [(("M01", "M38"), range(1, 6), 1)]


def test_some_variants_or_one_of_them(variants):
    assert sim("--mutants", "--fast", "--jobs", "2").exit_code == 0
    assert sim("--mutants", "--mutant", "M01", "--seeds", "1..5").exit_code == 0
    assert sim("--fast", "--seeds", "1..5").exit_code == 2

    (fast, seeds, jobs), (one, _, _) = variants
    assert (fast, one, jobs) == (("M01",), ("M01",), 2)
    assert seeds[0] == 1


def test_a_real_seed_over_two_processes():
    done = sim("--seeds", "3..4", "--jobs", "2", "--json")

    summary = lines(done.stdout)[-1]
    assert (summary["seeds"], summary["violations"]) == (2, 0)
    assert summary["simulated_hours"] > 0.03
    assert summary["kills"] + sum(summary["faults"].values()) > 10
