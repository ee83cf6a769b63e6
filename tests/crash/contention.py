"""Several keepers on one database, stopped and killed, while its server crashes."""

import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import psycopg

from liqctl.store.open import open_store, sqlite_path
from tests.crash.contender import LEASE_MS
from tests.crash.findings import Findings
from tests.store.postgres_server import fresh_url, server

ROOT = Path(__file__).parents[2]
TWICE = "SELECT intent_id FROM attempt WHERE state = 'FINALIZED_OK' GROUP BY 1 HAVING COUNT(*) > 1"
LANDED = "SELECT sig FROM attempt WHERE state = 'FINALIZED_OK'"


class Contender:
    """A keeper and everything it has said in all its lives."""

    def __init__(self, url: str, name: str, said: Path) -> None:
        self.name = name
        self._url = url
        self._said = said
        self._lives = 0
        self.start()

    def start(self) -> None:
        self._lives += 1
        with self._said.open("ab") as said:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "tests.crash.contender",
                    self._url,
                    f"{self.name}.{self._lives}",
                ],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=said,
            )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        with self._said.open("ab") as said:
            said.write(b"\n")  # what was cut off is a line of its own

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self._said.read_text().splitlines()]


def contend_on_postgres(seed: int, seconds: float, keepers: int = 4) -> Findings:
    """Return what so many keepers did to one another on a PostgreSQL that crashes at times."""
    url = fresh_url("contention")

    def rows(sql: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(url) as db:
            return db.execute(sql.encode()).fetchall()

    return _contend(url, rows, seed, seconds, keepers, crash=server().restart)


def contend_on_sqlite(seed: int, seconds: float, keepers: int = 4) -> Findings:
    """Return what so many keepers did to one another on one file."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:{folder}/liqctl.db"

        def rows(sql: str) -> list[tuple[Any, ...]]:
            with closing(sqlite3.connect(sqlite_path(url))) as db:
                return db.execute(sql).fetchall()

        return _contend(url, rows, seed, seconds, keepers, crash=None)


def _contend(
    url: str,
    rows: Callable[[str], list[tuple[Any, ...]]],
    seed: int,
    seconds: float,
    keepers: int,
    crash: Callable[[], None] | None,
) -> Findings:
    found, chance = Findings(), random.Random(seed)
    open_store(url).close()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        team = [Contender(url, f"{seed}.{n}", Path(folder, str(n))) for n in range(keepers)]
        for each in team:
            stack.callback(each.kill)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.1, 0.6))
            found.counts[_disturb(chance, team, crash)] += 1
        for each in team:
            each.kill()
        _judge(found, [each.lines() for each in team], rows)
    found.violations = [f"{violation}: seed {seed}" for violation in found.violations]
    return found


def _disturb(chance: random.Random, team: list[Contender], crash: Callable[[], None] | None) -> str:
    victim, draw = chance.choice(team), chance.random()
    if crash is not None and draw < 0.15:
        crash()
        return "server_crashes"
    if draw < 0.45:
        victim.kill()
        victim.start()
        return "kills"
    victim.process.send_signal(signal.SIGSTOP)
    time.sleep(chance.uniform(0, 3 * LEASE_MS / 1_000))
    victim.process.send_signal(signal.SIGCONT)
    return "pauses"


def _judge(
    found: Findings, said: list[list[list[str]]], rows: Callable[[str], list[tuple[Any, ...]]]
) -> None:
    """Compare what was acknowledged with what is in the database."""
    holders: defaultdict[tuple[str, str], list[int]] = defaultdict(list)
    words = defaultdict[str, set[str]](set)
    for keeper, lines in enumerate(said):
        for line in lines:
            match line:
                case ["claimed", intent, fence]:
                    holders[intent, fence].append(keeper)
                case [word, signature]:
                    words[word].add(signature)
                case _:
                    continue
    attempts = {sig for (sig,) in rows("SELECT sig FROM attempt")}
    landed = {sig for (sig,) in rows(LANDED)}
    recorded = {sig for (sig,) in rows("SELECT signature FROM liquidations")}
    numbers = [seq for (seq,) in rows("SELECT seq FROM events ORDER BY seq")]
    found.violations += [f"DOUBLE_CLAIM {who}" for who in holders.items() if len(who[1]) > 1]
    found.violations += [f"DOUBLE {intent}" for (intent,) in rows(TWICE)]
    found.violations += [f"LOST_COMMIT {sig}" for sig in words["recorded"] - attempts]
    found.violations += [f"LOST_COMMIT {sig}" for sig in words["landed"] - landed]
    found.violations += [f"LOST_RECORD {sig}" for sig in landed ^ recorded]
    if numbers != [*range(1, len(landed) + 1)]:
        found.violations.append(f"EVENTS {len(numbers)} for {len(landed)} liquidations")
    found.cycles = len(rows("SELECT id FROM intent"))
    found.counts["attempts"] = len(attempts)
    found.counts["claims"] = len(holders)
