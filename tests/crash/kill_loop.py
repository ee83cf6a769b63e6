"""SIGKILL in a loop: the real daemon on real sockets and files, killed at any moment."""

import json
import random
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from solders.keypair import Keypair

from tests.crash.books import (
    Books,
    PostgresBooks,
    SqliteBooks,
    count_due,
    count_live,
    let_leases_end,
    wrong_in,
)
from tests.crash.findings import Findings
from tests.crash.processes import LIMITS, Chain, Life, Nursery, chain, watch

POSITIONS = 400
SLOT_MS = 25
CYCLE_MS = 700
SUBMITTED = b"transaction_submitted"
CONFIRMED = b"transaction_confirmed"
LEFT_ALONE = 4
HEAL_S = 90.0


@dataclass(slots=True, kw_only=True)
class Round:
    """One chain, one database, and keepers that are killed on it one after another."""

    chain: Chain
    nursery: Nursery
    place: Path
    database: str
    books: Books
    found: Findings
    chance: random.Random
    kills: int

    def cycle(self, number: int) -> None:
        """Start a keeper, kill it, and let its leases end, or leave them to end by themselves."""
        life = self.start()
        moment = self._until_the_moment(life)
        code = life.end(signal.SIGKILL)
        self.found.cycles += 1
        self.found.counts[f"killed_{moment}"] += 1
        if code != -signal.SIGKILL:
            self.found.violations.append(f"ENDED with {code}: {life.said[-500:].decode()}")
        if not self.books.exist():
            return
        live = count_live(self.books)
        self.found.counts["kills_with_an_attempt_in_flight"] += live > 0
        self.found.counts["attempts_in_flight_when_killed"] += live
        if number % LEFT_ALONE == 1 and number < self.kills // 3:
            self.found.counts["leases_left_to_end"] += 1
        else:
            let_leases_end(self.books)

    def start(self, *more: str) -> Life:
        options = ("--log-level", "info")
        return self.nursery.start(
            *watch(self.chain.ready, self.place, self.database, *options, *more),
            env={**LIMITS, "LIQCTL_LOG_FORMAT": "json"},
        )

    def _until_the_moment(self, life: Life) -> str:
        """Wait until it is time to kill, and return what kind of moment that is."""
        draw = self.chance.random()
        if draw < 0.2:
            time.sleep(self.chance.uniform(0, 0.25))
            return "at_the_start"
        if draw < 0.5:
            time.sleep(self.chance.uniform(0.25, 0.8))
            return "at_random"
        word = SUBMITTED if draw < 0.85 else CONFIRMED
        if not life.hears(word, 2.5, times=self.chance.randint(1, 3)):
            return "after_no_such_word"
        time.sleep(self.chance.uniform(0, 0.005))
        return "just_after_a_send" if word is SUBMITTED else "just_after_an_ending"

    def heal(self) -> None:
        """Let the last heir finish everything on resting prices."""
        self.chain.hold()
        time.sleep(0.5)
        self.finish(self.start())

    def finish(self, life: Life) -> None:
        """Wait until this keeper has nothing left to do, end it, and compare with the chain."""
        started = time.monotonic()
        quiet = 0
        while quiet < 5 and time.monotonic() - started < HEAL_S:
            life.listen(0.2)
            quiet = 0 if count_live(self.books) or count_due(self.books) else quiet + 1
        self.found.counts["healing_ms"] += int(1_000 * (time.monotonic() - started))
        stopping = time.monotonic()
        code = life.end(signal.SIGTERM)
        if code != 0 or time.monotonic() - stopping > 10:
            self.found.violations.append(f"END {code}: {life.said[-500:].decode()}")
        self._compare()

    def _compare(self) -> None:
        life = self.start("--duration", "2", "--json")
        code = life.wait()
        # Whatever the last keeper sent in its two seconds is settled by now, or said to be left.
        said = self.nursery.output().splitlines()
        if not said:
            self.found.violations.append(f"AUDIT {code}: {life.said[-500:].decode()}")
            return
        summary = json.loads(said[-1])
        for name in ("double_liquidations", "missed"):
            if summary[name]:
                self.found.violations.append(f"{name} {summary[name]}")
        if code or summary["verified_on_chain"] is not True:
            self.found.violations.append(f"AUDIT {code} {summary}")
        ended = summary["liquidated_full"] + summary["liquidated_partial"]
        self.found.counts["liquidations"] += ended
        self.found.violations += self.wrong()

    def wrong(self) -> list[str]:
        """Return where the database and the chain differ."""
        key = Keypair.from_bytes(bytes(json.loads((self.place / "key.json").read_text())))
        return wrong_in(self.books, self.chain, str(key.pubkey()))


@contextmanager
def round_of(seed: int, kills: int, *, postgres: str | None = None) -> Iterator[Round]:
    """Run a chain and a nursery for so many kills; violations are named after the seed.

    The records are in a file, unless the URL of a schema is given in which there is nothing yet.
    """
    found = Findings()
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        place = Path(folder)
        prices = _prices(place / "prices.csv", kills * CYCLE_MS)
        options = f"--positions {POSITIONS} --markets 1 --start-delay 0 --slot-ms {SLOT_MS}"
        nursery = Nursery(place)
        stack.callback(nursery.close)
        running = stack.enter_context(chain(place, f"{options} --seed {seed} --path {prices}"))
        file = place / "k.db"
        yield Round(
            chain=running,
            nursery=nursery,
            place=place,
            database=postgres or f"sqlite:{file}",
            books=SqliteBooks(file) if postgres is None else PostgresBooks(postgres),
            found=found,
            chance=random.Random(seed),
            kills=kills,
        )
    found.violations = [f"{violation}: seed {seed}" for violation in found.violations]


def kill_again_and_again(seed: int, kills: int, *, postgres: str | None = None) -> Findings:
    """Return what so many kills in one round did."""
    with round_of(seed, kills, postgres=postgres) as here:
        for number in range(kills):
            here.cycle(number)
        here.heal()
    return here.found


def _prices(path: Path, length_ms: int) -> Path:
    """Write prices that fall for half of the time and then rise: always somebody's turn."""
    half, step = max(length_ms // 2, SLOT_MS), SLOT_MS
    falling = [(at, 150 - 8 * at / half) for at in range(0, half, step)]
    rising = [(half + at, 150 + 8 * at / half) for at in range(0, half, step)]
    lines = [f"{at},SOL,{price:.6f}\n" for at, price in (*falling, *rising)]
    path.write_text("".join(["unix_ms_offset,symbol,price\n", *lines]))
    return path
