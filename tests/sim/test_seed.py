"""Whole seeds: the same steps everywhere, faults of every kind, and faulty keepers are found out."""

import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from liqctl.errors import StoreBusy, StoreError, StoreUnusable
from liqctl.sim.faults import StoreFaults, StoreTap, Tally
from liqctl.sim.journal import Journal, Move
from liqctl.sim.life import Life
from liqctl.sim.seed import run_seed, run_swarm
from liqctl.sim.stage import set_up
from liqctl.sim.swarm import OwnFaults, Swarm, rng_for
from liqctl.sim.trouble import Trouble
from liqctl.store.sqlite import SqliteStore
from tests.sim.lively import BRIEF, LIVELY

CODE = """
from liqctl.sim.seed import run_swarm
from tests.sim.lively import BRIEF
report = run_swarm(BRIEF)
print(report.trace_hash, report.violations, report.faults)
"""
ROOT = Path(__file__).parents[2]
DRAWN = {
    "cluster": ("skipped_slot", "dropped", "late", "fork", "lands_again", "unconfirmed"),
    "node": (
        *("refused_429", "reset", "answer_lost", "outage", "minority", "amnesia", "pruned"),
        *("no_history", "root_lag_blocks", "index_lag_blocks", "lie", "push"),
    ),
    "market": ("prices", "accounts", "rivals", "traders", "pauses"),
    "own": (
        *("kill", "kill_at_await", "kill_at_send", "terminate", "freeze", "switch", "clock"),
        *("link", "store", "commit_unknown", "store_outage"),
    ),
}


@pytest.mark.timeout(180)
def test_the_same_seed_takes_the_same_steps_under_any_hash_seed():
    found = {
        subprocess.run(
            [sys.executable, "-c", CODE],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("0", "4711")
    }

    assert len(found) == 1


def test_seeds_after_each_other_do_not_shift_each_other():
    alone = run_swarm(BRIEF)
    run_seed(3, faults_until_s=1.0)

    assert run_swarm(BRIEF).trace_hash == alone.trace_hash


def test_a_traced_seed_is_the_same_seed():
    told: list[str] = []

    report = run_swarm(BRIEF, trace=told.append)

    assert report.trace_hash == run_swarm(BRIEF).trace_hash
    assert any("snapshot_taken" in line for line in told)
    assert any("healed" in line for line in told)


def test_a_lively_seed_lands_liquidations_and_breaks_no_promise():
    report = run_swarm(LIVELY)

    assert report.violations == ()
    assert report.landed > 0
    assert sum(report.faults.values()) > 20


def test_a_store_that_forgets_attempts_is_found_out(monkeypatch):
    monkeypatch.setattr(SqliteStore, "record_attempt", lambda *_, **__: True)

    assert "ORPHAN_SIG" in {one.code for one in run_swarm(LIVELY).violations}


def test_a_keeper_that_never_looks_again_is_found_out(monkeypatch):
    async def never(_settler: object) -> None:
        return

    monkeypatch.setattr("liqctl.keeper.settle.Settler.settle_once", never)

    found = {one.code for one in run_swarm(replace(LIVELY, seed=2)).violations}
    assert {"NOT_LIVE", "LOST_RECORD"} <= found


def test_a_keeper_that_breaks_is_found_out(monkeypatch):
    async def broken(_recorder: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr("liqctl.keeper.recorder.Recorder.flush", broken)

    found = run_swarm(replace(LIVELY, chaos_s=1.0)).violations
    assert "BROKEN" in {one.code for one in found}


def test_faults_that_end_at_once_leave_a_calm_seed():
    report = run_swarm(replace(LIVELY, chaos_s=0.0))

    assert report.violations == ()
    assert report.kills == 0


def test_swarms_differ_and_every_fault_is_off_in_some_of_them():
    swarms = [Swarm.of(seed) for seed in range(300)]

    assert Swarm.of(5) == swarms[5]
    assert {swarm.keepers for swarm in swarms} == {1, 2, 3}
    assert all(4 <= swarm.positions <= 16 for swarm in swarms)
    for part, names in DRAWN.items():
        for name in names:
            drawn = {getattr(getattr(swarm, part), name) for swarm in swarms}
            assert len(drawn) > 1, name
            assert not min(drawn), name


def test_a_draw_more_in_one_component_shifts_no_other():
    first, second = rng_for(1, "a"), rng_for(1, "b")
    first.random()

    assert second.random() == rng_for(1, "b").random()
    assert rng_for(2, "b").random() != rng_for(1, "b").random()


def test_a_life_that_is_over_is_killed_by_nothing_more():
    with set_up(LIVELY) as stage:
        trouble, life = Trouble(stage, 10.0), Life(stage.seats[0], 1)
        trouble.born(life)
        trouble.gone(life)

        trouble.at_send(stage.seats[0].name, "before")
        life.process.kill()

        assert (trouble.kills, trouble.lives) == (0, {})


def move(key: str, before: str, after: str, table: str = "attempt", intent_id: int = 1) -> Move:
    return Move(
        at_s=0.0,
        keeper="k",
        life="k.1",
        table=table,
        key=key,
        intent_id=intent_id,
        before=before,
        after=after,
    )


def test_a_fault_hits_the_edge_that_the_attempt_takes_next():
    tally, journal = Tally(), Journal("k.db")
    tally.follow(journal)

    tally.fault("early")
    journal.commit([move("key", "", "NEW", table="intent")])
    tally.fault("reset")
    journal.commit([move("sig", "", "SIGNED")])
    tally.fault("fork")
    tally.fault("fork")
    journal.commit([move("sig", "SIGNED", "SENT")])
    journal.commit([move("sig", "SENT", "EXPIRED")])
    tally.fault("late")

    assert tally.edges == {"reset claimed->SIGNED": 1, "fork SIGNED->SENT": 1}
    assert tally.kinds == Counter({"fork": 2, "early": 1, "reset": 1, "late": 1})


def test_a_fault_that_goes_on_hits_every_edge_until_it_ends():
    tally, journal = Tally(), Journal("k.db")
    tally.follow(journal)

    tally.begin("link_mute")
    journal.commit([move("key", "", "NEW", table="intent")])
    journal.commit([move("sig", "", "SIGNED")])
    journal.commit([move("sig", "SIGNED", "SENT")])
    tally.end("link_mute")
    journal.commit([move("sig", "SENT", "SEEN")])
    journal.commit([move("sig", "SEEN", "SENT")])

    assert tally.edges == {
        "link_mute claimed->SIGNED": 1,
        "link_mute SIGNED->SENT": 1,
        "link_mute SENT->SEEN": 1,
    }
    assert tally.kinds == {"link_mute": 1}


class Recording:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def mark_sent(self, signature: str) -> str:
        self.calls.append(signature)
        return "done"

    def state(self, name: str) -> str:
        self.calls.append(name)
        return "read"


class Silent:
    def committed(self) -> None: ...

    def rolled_back(self) -> None: ...


def tapped(own: OwnFaults) -> tuple[StoreTap, Recording, StoreFaults, Tally]:
    tally, store = Tally(), Recording()
    faults = StoreFaults(own, rng_for(1, "store"), tally)
    return StoreTap(store, faults, Silent()), store, faults, tally  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "error"),
    [("disk_full", StoreError), ("locked", StoreBusy), ("read_only", StoreUnusable)],
)
def test_a_failing_disk_does_no_write_and_ends_with_the_faults(kind, error):
    tap, store, faults, tally = tapped(OwnFaults())
    faults.outage = kind

    with pytest.raises(error):
        tap.mark_sent("sig")
    faults.calm()

    assert (store.calls, tally.kinds) == ([], {f"store_{kind}": 1})
    assert tap.mark_sent("sig") == "done"


def test_a_full_disk_can_still_be_read():
    tap, _, faults, _ = tapped(OwnFaults())
    faults.outage = "disk_full"

    assert tap.state("keeper") == "read"


def test_a_commit_whose_answer_is_lost_was_done():
    tap, store, _, tally = tapped(OwnFaults(commit_unknown=1.0))

    with pytest.raises(StoreError):
        tap.mark_sent("sig")

    assert (store.calls, tally.kinds) == (["sig"], {"commit_unknown": 1})
