"""What the checkers judge by: cluster truth, the nodes' logs, the databases; never a keeper's memory."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from liqctl.core.guards import Limits
from liqctl.sim.journal import Journal

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """One finalized transaction of a liquidator of ours, as the cluster executed it.

    `told` is what the program logged that it did, None when it did nothing. The cost is what the
    payer's balance fell by, the fee at least.
    """

    signature: str
    slot: int
    fee_lamports: int
    cost_lamports: int
    failed: bool
    told: Mapping[str, int] | None = None
    final_at_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One call of sendTransaction that reached a node."""

    at_s: float
    keeper: str
    signature: str
    options: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One call of simulateTransaction that a node answered."""

    at_s: float
    keeper: str
    message: bytes
    slot: int
    failed: bool
    options: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a life ended: killed, ended by itself with an exit code, or with a bug."""

    keeper: str
    at_s: float
    how: str
    asked_at_s: float | None = None
    frozen_s: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """The kill switch of one database: from when to when it was set."""

    path: str
    on_at_s: float
    off_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The cluster's truth about a position at the moment when an attempt on it was committed.

    Each word says against which promise that was, empty for none: it was `healthy` in every block
    from the decision's slot on, its price broke a rule of the `oracle`, the account was no
    position (`hostile`). `age_s` is how old the decision's slot was.
    """

    at_s: float
    attempt: str
    position: str
    healthy: str = ""
    oracle: str = ""
    hostile: str = ""
    age_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """What the blocks since its decision say about an attempt, at the moment of its commit.

    The highest balance of the payer, every generation of the position, and, where there is a
    profit floor, the highest reward and the lowest price of SOL.
    """

    at_s: float
    attempt: str
    path: str
    position: str
    generation: int = 0
    generations: frozenset[int] = frozenset()
    balance_lamports: int | None = None
    reward_e6: int | None = None
    sol_price_e6: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """A running keeper at one moment: its half-open streams and its last status.

    `closed` is how many positions have closed since the start of the seed.
    """

    at_s: float
    life: str
    half_open: frozenset[int] = frozenset()
    status_json: str | None = None
    status_ms: int = 0
    closed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """A position that a person set aside in one database, from when to when."""

    path: str
    position: str
    on_at_s: float
    off_at_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Duty:
    """A position that the cluster's final state shows as liquidatable, and since when."""

    position: str
    since_s: float


@dataclass(slots=True)
class Books:
    """One database at the end of a seed."""

    path: str
    liquidator: str
    journal: Journal
    keepers: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    attempts: Sequence[Row] = ()
    intents: Sequence[Row] = ()
    liquidations: Sequence[Row] = ()
    states: Mapping[str, tuple[Any, int]] = field(default_factory=dict)
    indexes: frozenset[str] = frozenset()
    integrity: str = "ok"

    def read(self) -> None:
        """Read everything from the file."""
        db = sqlite3.connect(f"file:{self.path}?mode=ro", uri=True)
        db.row_factory = sqlite3.Row
        try:
            self.attempts = _rows(
                db,
                "SELECT a.*, i.position, i.program, i.generation, i.step, i.snapshot_json,"
                " i.decision_slot FROM attempt AS a JOIN intent AS i ON i.id = a.intent_id"
                " ORDER BY a.rowid",
            )
            self.intents = _rows(db, "SELECT * FROM intent ORDER BY id")
            self.liquidations = _rows(db, "SELECT * FROM liquidations ORDER BY id")
            self.states = {
                row["name"]: (json.loads(row["value_json"]), row["at_ms"])
                for row in _rows(db, "SELECT * FROM state")
            }
            self.indexes = frozenset(
                row["name"] for row in _rows(db, "SELECT name FROM sqlite_master")
            )
            self.integrity = str(db.execute("PRAGMA integrity_check").fetchone()[0])
        finally:
            db.close()


def _rows(db: sqlite3.Connection, sql: str) -> list[Row]:
    return [dict(row) for row in db.execute(sql)]


@dataclass(kw_only=True)
class Evidence:
    """Everything about one seed at its end; times in virtual seconds."""

    seed: int
    heal_s: float
    end_s: float
    live_within_s: float
    terminal_within_s: float
    books: Sequence[Books]
    final: Mapping[str, Truth]
    seen: Mapping[str, float]
    sends: Sequence[Sent] = ()
    tried: Sequence[Tried] = ()
    roots: Sequence[tuple[float, int]] = ()
    last_heights: Mapping[str, int] = field(default_factory=dict)
    switches: Sequence[Switched] = ()
    resumed: Mapping[str, Sequence[float]] = field(default_factory=dict)
    endings: Sequence[Ending] = ()
    decided: Sequence[Decided] = ()
    decision_age_s_max: float = 60.0
    duties: Sequence[Duty] = ()
    positions: frozenset[int] = frozenset()
    dry: frozenset[str] = frozenset()
    calls_per_s: Mapping[str, float] = field(default_factory=dict)
    calls_per_s_max: float = 50.0
    check_interval_ms: int = 2_000
    signed: Sequence[Signed] = ()
    glances: Sequence[Glance] = ()
    exclusions: Sequence[Excluded] = ()
    impatient: Sequence[tuple[float, str, str, float]] = ()
    end_unix_ms: int = 0

    @cached_property
    def recorded(self) -> Mapping[str, Row]:
        """The attempts of all databases by signature."""
        return {row["sig"]: row for books in self.books for row in books.attempts}
