"""A keeper's database against the chain, judged without a line of the keeper's own code."""

import base64
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

from solders.transaction import VersionedTransaction

from tests.crash.processes import Chain

PAGE = 1_000
LIVE = ("SIGNED", "SENT", "SEEN")


def count_live(path: Path) -> int:
    """Return how many attempts may still land; none where there is no table yet."""
    with closing(sqlite3.connect(path, timeout=10)) as db:
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'attempt'").fetchone():
            return 0
        count = "SELECT COUNT(*) FROM attempt WHERE state IN (?, ?, ?)"
        return int(db.execute(count, LIVE).fetchone()[0])


def count_due(path: Path) -> int:
    """Return how many positions wait for their liquidation, sooner or later."""
    with closing(sqlite3.connect(path, timeout=10)) as db:
        return int(db.execute("SELECT COUNT(*) FROM queue").fetchone()[0])


def let_leases_end(path: Path) -> None:
    """Do what twenty seconds without their owner do."""
    with closing(sqlite3.connect(path, timeout=10)) as db, db:
        if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'intent'").fetchone():
            db.execute("UPDATE intent SET lease_until = 0")


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


def wrong_in(path: Path, chain: Chain, address: str) -> list[str]:
    """Return where database and chain differ, where something is left, lost or doubled."""
    told = history(chain, address)
    with closing(sqlite3.connect(path, timeout=10)) as db:
        states = dict(db.execute("SELECT sig, state FROM attempt").fetchall())
        intents = dict(db.execute("SELECT sig, intent_id FROM attempt").fetchall())
        rows = Counter(sig for (sig,) in db.execute("SELECT signature FROM liquidations"))
        full = "SELECT position_pubkey, generation FROM liquidations WHERE is_full_liquidation"
        closed = Counter(db.execute(full).fetchall())
        (integrity,) = db.execute("PRAGMA integrity_check").fetchone()
        foreign = db.execute("PRAGMA foreign_key_check").fetchall()
    wrong = [] if integrity == "ok" and not foreign else [f"INTEGRITY {integrity} {foreign}"]
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
