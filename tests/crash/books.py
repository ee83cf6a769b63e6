"""A keeper's database against the chain, judged without a line of the keeper's own code."""

import base64
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString, Protocol

import psycopg
from solders.transaction import VersionedTransaction

from tests.crash.processes import Chain

PAGE = 1_000
LIVE = ("SIGNED", "SENT", "SEEN")


class Books(Protocol):
    """The tables of a keeper, read and changed past everything of it."""

    def rows(self, query: LiteralString) -> list[tuple[Any, ...]]:
        """Return what a query finds."""
        ...

    def change(self, statement: LiteralString) -> None:
        """Carry out a statement and commit."""
        ...

    def exist(self) -> bool:
        """Return whether there are tables yet."""
        ...

    def damage(self) -> list[str]:
        """Return what the database itself finds wrong with its content."""
        ...


@dataclass(frozen=True, slots=True)
class SqliteBooks:
    """The tables in a file."""

    path: Path

    def rows(self, query: LiteralString) -> list[tuple[Any, ...]]:
        with self._open() as db:
            return db.execute(query).fetchall()

    def change(self, statement: LiteralString) -> None:
        with self._open() as db, db:
            db.execute(statement)

    def exist(self) -> bool:
        found = "SELECT 1 FROM sqlite_master WHERE name = 'attempt'"
        return self.path.exists() and bool(self.rows(found))

    def damage(self) -> list[str]:
        integrity = [str(line) for (line,) in self.rows("PRAGMA integrity_check")]
        foreign = [str(row) for row in self.rows("PRAGMA foreign_key_check")]
        return [*([] if integrity == ["ok"] else integrity), *foreign]

    def _open(self) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(self.path, timeout=10))


@dataclass(frozen=True, slots=True)
class PostgresBooks:
    """The tables in a schema, which is the first one of the URL's search path."""

    url: str

    def rows(self, query: LiteralString) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.url) as db:
            return db.execute(query).fetchall()

    def change(self, statement: LiteralString) -> None:
        with psycopg.connect(self.url) as db:
            db.execute(statement)

    def exist(self) -> bool:
        return self.rows("SELECT to_regclass('attempt')") != [(None,)]

    def damage(self) -> list[str]:
        """Return nothing: its constraints hold, or the server would not have committed."""
        return []


def count_live(books: Books) -> int:
    """Return how many attempts may still land."""
    count = "SELECT COUNT(*) FROM attempt WHERE state IN ('SIGNED', 'SENT', 'SEEN')"
    return int(books.rows(count)[0][0])


def count_due(books: Books) -> int:
    """Return how many positions wait for their liquidation, sooner or later.

    Those whose price is too uncertain for it wait, while prices rest, for ever.
    """
    count = "SELECT COUNT(*) FROM queue WHERE reason <> 'healthy_within_confidence'"
    return int(books.rows(count)[0][0])


def let_leases_end(books: Books) -> None:
    """Do what twenty seconds without their owner do."""
    books.change("UPDATE intent SET lease_until = 0")


def history(chain: Chain, address: str) -> dict[str, bool]:
    """Return every finalized transaction that the address paid for, and whether it succeeded."""
    found: dict[str, bool] = {}
    before: dict[str, str] = {}
    while True:
        page = chain.call("getSignaturesForAddress", address, {"limit": PAGE, **before})
        found |= {entry["signature"]: entry["err"] is None for entry in page}
        if len(page) < PAGE:
            return found
        before = {"before": page[-1]["signature"]}


def paid_by(chain: Chain, signature: str, address: str) -> bool:
    """Return whether the address is the one that paid for a transaction."""
    options = {"encoding": "base64", "maxSupportedTransactionVersion": 0}
    raw = chain.call("getTransaction", signature, options)["transaction"][0]
    message = VersionedTransaction.from_bytes(base64.b64decode(raw)).message
    return str(message.account_keys[0]) == address


def wrong_in(books: Books, chain: Chain, address: str) -> list[str]:
    """Return where database and chain differ, where something is left, lost or doubled."""
    told = history(chain, address)
    states = dict(books.rows("SELECT sig, state FROM attempt"))
    intents = dict(books.rows("SELECT sig, intent_id FROM attempt"))
    rows = Counter(sig for (sig,) in books.rows("SELECT signature FROM liquidations"))
    full = "SELECT position_pubkey, generation FROM liquidations WHERE is_full_liquidation = 1"
    closed = Counter(books.rows(full))
    wrong = [f"INTEGRITY {damage}" for damage in books.damage()]
    for signature, succeeded in told.items():
        expected = "FINALIZED_OK" if succeeded else "FINALIZED_ERR"
        if signature not in states:
            if paid_by(chain, signature, address):
                wrong.append(f"ORPHAN_SIG {signature}")
        elif states[signature] != expected or rows[signature] != succeeded:
            wrong.append(f"LOST_RECORD {signature} is {states[signature]}, not {expected}")
    for signature, state in states.items():
        if state in LIVE:
            wrong.append(f"NOT_LIVE {signature} is still {state}")
        elif state.startswith("FINALIZED") and signature not in told:
            wrong.append(f"PHANTOM {signature} is {state}")
    done = Counter(intents[sig] for sig, state in states.items() if state == "FINALIZED_OK")
    wrong += [f"DOUBLE intent {intent}" for intent, times in done.items() if times > 1]
    wrong += [f"DOUBLE {position}" for position, times in closed.items() if times > 1]
    return wrong
