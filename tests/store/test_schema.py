"""What the database itself refuses, whoever writes to it."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiosql
import pytest

from liqctl.core.intent import ATTEMPT_EDGES, INTENT_EDGES, AttemptState, IntentState
from liqctl.store.open import open_store
from liqctl.store.schema import migrations, statements
from liqctl.store.version import SCHEMA_VERSION
from tests.store.records import attempt, request

CONTRACT_COLUMNS = [
    "id",
    "position_pubkey",
    "owner_pubkey",
    "symbol",
    "liquidated_size",
    "liquidation_price",
    "liquidator_pubkey",
    "liquidator_reward",
    "bad_debt",
    "health_factor_before",
    "is_full_liquidation",
    "timestamp",
    "created_at",
]
SQL_FILES = sorted(Path(__file__).parents[2].glob("liqctl/store/**/*.sql"))


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("template") / "liqctl.db"
    store = open_store(f"sqlite:{path}")
    claim = store.claim(request(), "me", 0, 20_000)
    assert claim is not None
    assert store.record_attempt(claim, attempt(claim), 1)
    store.close()
    return path.read_bytes()


@pytest.fixture
def db(tmp_path: Path, template: bytes) -> Iterator[sqlite3.Connection]:
    path = tmp_path / "liqctl.db"
    path.write_bytes(template)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA foreign_keys = ON")
    yield connection
    connection.close()


def test_the_columns_of_liquidations_begin_with_the_contract(db):
    columns = [row[1] for row in db.execute("PRAGMA table_info(liquidations)")]

    assert columns[: len(CONTRACT_COLUMNS)] == CONTRACT_COLUMNS


def test_all_tables_are_there_and_ours_are_strict(db):
    tables = {row[1]: row[5] for row in db.execute("PRAGMA table_list") if row[2] == "table"}
    ours = {name for name, strict in tables.items() if strict}

    assert ours == {
        "liquidations",
        "failed_liquidations",
        "intent",
        "attempt",
        "attempt_edge",
        "intent_edge",
        "events",
        "insurance_balance",
        "queue",
        "state",
    }
    assert db.execute("SELECT sig, lamports FROM spend").fetchall() == [("sig", 205_000)]


def test_the_edges_in_the_database_are_those_of_the_core(db):
    attempts = {(AttemptState(a), AttemptState(b)) for a, b in db.execute(edges("attempt"))}
    intents = {(IntentState(a), IntentState(b)) for a, b in db.execute(edges("intent"))}

    assert attempts == ATTEMPT_EDGES
    assert intents == INTENT_EDGES


def edges(kind: str) -> str:
    return f"SELECT a, b FROM {kind}_edge"  # noqa: S608 - a name of ours


@pytest.mark.parametrize("start", AttemptState)
@pytest.mark.parametrize("end", AttemptState)
def test_only_allowed_edges_of_an_attempt_pass(db, start, end):
    way = {
        AttemptState.SIGNED: [],
        AttemptState.SENT: ["SENT"],
        AttemptState.SEEN: ["SEEN"],
    }.get(start, [start.value])
    for state in way:
        db.execute("UPDATE attempt SET state = ?, proof_json = '{}'", (state,))

    allowed = start == end or (start, end) in ATTEMPT_EDGES
    move = "UPDATE attempt SET state = ?, proof_json = '{}'"
    if allowed:
        db.execute(move, (end.value,))
    else:
        with pytest.raises(sqlite3.IntegrityError, match="forbidden edge"):
            db.execute(move, (end.value,))


@pytest.mark.parametrize(
    "statement, refusal",
    [
        ("UPDATE attempt SET raw = x'00'", "never changes"),
        ("UPDATE attempt SET lvbh = lvbh + 1", "never changes"),
        ("UPDATE attempt SET sig = 'x'", "never changes"),
        ("UPDATE attempt SET intent_id = 2", "never changes"),
        ("UPDATE attempt SET n = 2", "never changes"),
        ("UPDATE attempt SET state = 'LOST'", "forbidden edge"),
        ("UPDATE attempt SET state = 'EXPIRED'", "expired_needs_proof"),
        ("UPDATE attempt SET state = 'VOID', proof_json = '{}', sends = 1", "void_was_never_sent"),
        ("DELETE FROM attempt", "live one cannot be deleted"),
        ("DELETE FROM intent", "unfinished one cannot be deleted"),
        ("UPDATE intent SET key = 'x'", "never changes"),
        ("UPDATE intent SET generation = 8", "never changes"),
        ("UPDATE intent SET state = 'NEW'", "forbidden edge"),
        ("UPDATE intent SET state = 'GONE'", "an attempt is live"),
        ("UPDATE intent SET state = 'HELD'", "an attempt is live"),
        ("UPDATE intent SET fence = 'x'", "cannot store TEXT"),
        ("REPLACE INTO attempt SELECT * FROM attempt", "not a new one"),
        ("REPLACE INTO intent SELECT * FROM intent", "not a new one"),
        ("INSERT INTO events (kind, at_ms, body_json) VALUES ('x', 1, '{')", "CHECK"),
        (
            "INSERT INTO liquidations (position_pubkey, owner_pubkey, symbol, liquidated_size,"
            " liquidation_price, liquidator_pubkey, liquidator_reward, bad_debt,"
            " is_full_liquidation, timestamp, created_at, venue, signature, slot, fund_delta,"
            " bad_debt_uncovered, generation)"
            " VALUES ('p', 'o', 's', 1.5, 1, 'l', 1, 0, 1, 1, 1, 'v', 'sig', 1, 0, 0, 1)",
            "CHECK",
        ),
    ],
)
def test_the_database_refuses(db, statement, refusal):
    with pytest.raises(sqlite3.IntegrityError, match=refusal):
        db.execute(statement)


@pytest.mark.parametrize("state", ["SIGNED", "SENT"])
def test_one_live_attempt_an_intent_and_only_a_signed_one_is_new(db, state):
    copy = (
        "INSERT INTO attempt SELECT 'sig2', intent_id, 2, raw, blockhash, lvbh, min_ctx_slot,"
        " cu_limit, cu_price, max_cost_lamports, symbol, ?, signed_ms, first_sent, last_sent,"
        " sends, seen_slot, seen_level, err_json, fee_paid, final_slot, proof_json, ended_ms"
        " FROM attempt WHERE sig = 'sig'"
    )
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(copy, (state,))

    db.execute("DROP TRIGGER attempt_insert")
    with pytest.raises(
        sqlite3.IntegrityError, match=r"UNIQUE constraint failed: attempt.intent_id"
    ):
        db.execute(copy, (state,))


def test_no_sql_file_reads_a_clock_or_throws_dice():
    hidden = re.compile(
        r"\bcurrent_(time|date|timestamp)\b|\b(datetime|date|time|julianday|unixepoch|strftime)\s*\("
        r"|\brandom(blob)?\s*\(|\bnow\s*\(",
        re.IGNORECASE,
    )

    assert len(SQL_FILES) >= 2
    for file in SQL_FILES:
        assert not hidden.search(file.read_text()), file


SMALL = {
    "queue",
    "state",
    "sqlite_sequence",
    "ROW",
    "attempt_one_live",
    "intent_held",
    "liquidations_oversized",
    "attempt_unpriced",
}
REPORTS = {"liquidation_sums", "failure_counts", "fees_lamports"}
NEWEST_FIRST = {"recent_liquidations", "recent_failures", "insurance_history", "prune_events"}


def test_no_statement_of_the_daily_work_reads_a_whole_table(db):
    queries = aiosql.from_path(SQL_FILES[-1], "sqlite3")
    checked = 0

    for name in queries.available_queries:
        sql = getattr(queries, name).sql
        if name.endswith("_cursor") or name in REPORTS | NEWEST_FIRST:
            continue
        names = dict.fromkeys(re.findall(r"(?<!:):(\w+)", sql), 1)
        plan = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", names)]
        scans = [step.removeprefix("SCAN ") for step in plan if step.startswith("SCAN ")]
        assert {scan.split()[-1] for scan in scans} <= SMALL, (name, plan)
        checked += 1
    assert checked > 30


def test_the_schema_version_counts_the_migrations():
    assert len(migrations.pending(sqlite_utils_memory())) == SCHEMA_VERSION
    assert len([f for f in SQL_FILES if f.parent.name == "migrations"]) == SCHEMA_VERSION


def sqlite_utils_memory():
    from sqlite_utils import Database

    return Database(memory=True)


def test_a_script_is_split_into_whole_statements():
    script = "-- one\nSELECT 1;\nCREATE TRIGGER t BEFORE INSERT ON x\nBEGIN SELECT 1; END;\n"

    assert [s.splitlines()[-1] for s in statements(script)] == ["SELECT 1;", "BEGIN SELECT 1; END;"]


def test_a_migration_that_fails_leaves_nothing(tmp_path, monkeypatch):
    from liqctl.store import schema

    monkeypatch.setattr(
        schema, "statements", lambda _: iter(["CREATE TABLE a (x) STRICT;", "NONSENSE;"])
    )
    connection = sqlite3.connect(tmp_path / "x.db", isolation_level=None)

    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(connection)
    assert not connection.in_transaction
    assert connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone() == (0,)
    assert connection.execute("PRAGMA user_version").fetchone() == (0,)
    connection.close()


def test_a_database_of_the_first_schema_is_brought_up_to_date_with_every_row(tmp_path):
    path = tmp_path / "old.db"
    store = open_store(f"sqlite:{path}")
    claim = store.claim(request(), "me", 0, 1_000)
    assert claim is not None
    assert store.record_attempt(claim, attempt(claim), 1)
    store.close()
    with closing(sqlite3.connect(path)) as old:
        old.execute("DROP INDEX attempt_unpriced")
        old.execute("DELETE FROM _sqlite_migrations WHERE name = '0002_unpriced'")
        old.execute("PRAGMA user_version = 1")
        old.commit()

    again = open_store(f"sqlite:{path}")

    assert [live.signature for live in again.live_attempts()] == ["sig"]
    assert again.unpriced_attempts(1) == []
    again.close()
    with closing(sqlite3.connect(path)) as new:
        assert new.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        names = {name for (name,) in new.execute("SELECT name FROM sqlite_master")}
    assert "attempt_unpriced" in names
