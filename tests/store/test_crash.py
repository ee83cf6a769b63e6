"""Processes that die at any moment, and two of them on one file."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier

import pytest

from liqctl.store.open import open_store

ROOT = Path(__file__).parents[2]
KILLS = 10


@contextmanager
def writing(path: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.store.writer", str(path), name],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def acknowledged(child: subprocess.Popen[str], lines: int, delay_s: float = 0) -> list[str]:
    """Return what the child has said after `lines` lines and until it died of SIGKILL."""
    assert child.stdout is not None
    said = [child.stdout.readline() for _ in range(lines)]
    time.sleep(delay_s)
    child.send_signal(signal.SIGKILL)
    said += child.stdout.readlines()
    assert child.wait() == -signal.SIGKILL
    return [line.strip() for line in said if line.endswith("\n")]


def check_everything(path: Path, said: list[str]) -> None:
    db = sqlite3.connect(path)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert db.execute("PRAGMA foreign_key_check").fetchall() == []
    states = dict(db.execute("SELECT sig, state FROM attempt"))
    rows = {sig for (sig,) in db.execute("SELECT signature FROM liquidations")}
    bodies = "\n".join(b for (b,) in db.execute("SELECT body_json FROM events"))
    open_done = db.execute(
        "SELECT COUNT(*) FROM intent WHERE state = 'OPEN' AND id IN"
        " (SELECT intent_id FROM attempt WHERE state = 'FINALIZED_OK')"
    ).fetchone()
    db.close()
    for line in said:
        word, signature = line.split()
        assert signature in states
        assert word != "ended" or states[signature] == "FINALIZED_OK"
    ended = {sig for sig, state in states.items() if state == "FINALIZED_OK"}
    assert ended == rows
    assert bodies.count('"signature"') == len(rows)
    assert open_done == (0,)


@pytest.mark.timeout(120)
def test_a_writer_killed_at_any_moment_loses_nothing_it_has_acknowledged(tmp_path: Path) -> None:
    path, said = tmp_path / "liqctl.db", list[str]()

    for kill in range(KILLS):
        with writing(path, f"k{kill}") as child:
            said += acknowledged(child, lines=1 + kill * 3, delay_s=kill * 0.0003)
        check_everything(path, said)

    assert len(said) > KILLS
    store = open_store(f"sqlite:{path}")
    assert len(store.live_attempts()) <= 1
    store.close()


def test_any_number_may_create_one_database_at_once(tmp_path: Path) -> None:
    together = Barrier(6)

    def create(path: Path) -> int:
        together.wait()
        store = open_store(f"sqlite:{path}")
        seq = store.append_event("queue", "{}", 1)
        store.close()
        return seq

    with ThreadPoolExecutor(6) as pool:
        for n in range(5):
            made = [*pool.map(create, [tmp_path / f"{n}.db"] * 6)]
            assert sorted(made) == [1, 2, 3, 4, 5, 6]


@pytest.mark.timeout(120)
def test_two_processes_start_on_one_new_file_and_never_write_the_same_thing(tmp_path: Path) -> None:
    path = tmp_path / "liqctl.db"

    with writing(path, "same") as first, writing(path, "same") as second:
        said = [acknowledged(first, lines=30), acknowledged(second, lines=30)]

    check_everything(path, said[0] + said[1])
    recorded = [line for line in said[0] + said[1] if line.startswith("recorded")]
    assert len(recorded) == len(set(recorded))
