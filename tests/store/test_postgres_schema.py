"""What PostgreSQL itself refuses, whoever writes to it, and that it is the schema of SQLite."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from liqctl.core.intent import ATTEMPT_EDGES, AttemptState
from liqctl.store.open import open_store
from tests.store.postgres_server import fresh_url
from tests.store.records import attempt, request

MIGRATIONS = sorted(Path(__file__).parents[2].glob("liqctl/store/migrations/postgres/*.sql"))
ROWS = r"""
INSERT INTO intent VALUES
    (1, 'k', 'NEW', '', 'me', 1, 20000, 100, '{}', 0, 0, 'reference', 'prog', 'pos', 7, 1);
INSERT INTO attempt (sig, intent_id, n, raw, blockhash, lvbh, min_ctx_slot, cu_limit, cu_price,
    max_cost_lamports, symbol, state, signed_ms)
    VALUES ('sig', 1, 1, '\x01', 'hash', 150, 90, 200000, 1000000, 205000, 'SOL-PERP', 'SIGNED', 1);
UPDATE attempt SET state = 'FINALIZED_OK', final_slot = 900, ended_ms = 3, fee_paid = 5000;
"""
OF_POSTGRES_ALONE = {"schema_migration", "event_counter", "writer"}
OF_SQLITE_ALONE = {"_sqlite_migrations", "sqlite_sequence"}
# Text in place of a large number, for which a NUMERIC needs no index.
INDEXES_OF_SQLITE_ALONE = {"liquidations_oversized", "idx__sqlite_migrations_migration_set_name"}
TRIGGERS_OF_POSTGRES_ALONE = {
    "attempt_holds_intent",
    "attempt_truncate",
    "intent_truncate",
    "events_notify",
}

TABLES = """
SELECT table_name FROM information_schema.tables
WHERE table_schema = current_schema() AND table_type = 'BASE TABLE'
"""
COLUMNS = """
SELECT column_name, is_nullable = 'NO' FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = %s
ORDER BY ordinal_position
"""
KEYS = """
SELECT a.attname
FROM pg_index AS i, unnest(i.indkey) WITH ORDINALITY AS k (n, place), pg_attribute AS a
WHERE i.indrelid = to_regclass(%s) AND i.indisprimary
    AND a.attrelid = i.indrelid AND a.attnum = k.n
ORDER BY place
"""
COLLATED = """
SELECT table_name || '.' || column_name FROM information_schema.columns
WHERE table_schema = current_schema() AND collation_name = 'C'
"""
TRIGGERS = """
SELECT t.tgname FROM pg_trigger AS t INNER JOIN pg_class AS c ON c.oid = t.tgrelid
WHERE NOT t.tgisinternal AND c.relnamespace = current_schema()::regnamespace
"""

Db = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def schema() -> str:
    url = fresh_url("refusing")
    with closing(open_store(url)) as store:
        claim = store.claim(request(), "me", 0, 20_000)
        assert claim is not None
        assert store.record_attempt(claim, attempt(claim), 1)
    return url


@pytest.fixture
def db(schema: str) -> Iterator[Db]:
    with psycopg.connect(schema) as db:
        yield db
        db.rollback()


@pytest.fixture(scope="module")
def lite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sqlite3.Connection]:
    path = tmp_path_factory.mktemp("lite") / "liqctl.db"
    open_store(f"sqlite:{path}").close()
    with closing(sqlite3.connect(path)) as db:
        yield db


def all_of(db: Db, sql: str, *values: object) -> list[Any]:
    return [row[0] if len(row) == 1 else row for row in db.execute(sql.encode(), values).fetchall()]


def names(lite: sqlite3.Connection, kind: str) -> set[str]:
    found = lite.execute(
        "SELECT name FROM sqlite_schema WHERE type = ? AND sql IS NOT NULL", [kind]
    )
    return {name for (name,) in found}


def test_both_engines_have_the_same_tables_columns_and_keys(db, lite):
    tables = all_of(db, TABLES)
    assert set(tables) - OF_POSTGRES_ALONE == names(lite, "table") - OF_SQLITE_ALONE

    for table in set(tables) - OF_POSTGRES_ALONE:
        columns = all_of(db, COLUMNS, table)
        expected = [
            (row[1], bool(row[3] or row[5])) for row in lite.execute(f"PRAGMA table_xinfo({table})")
        ]
        assert columns == expected, table
        keys = all_of(db, KEYS, table)
        info = lite.execute(f"PRAGMA table_info({table})").fetchall()
        assert keys == [r[1] for r in sorted(info, key=lambda r: r[5]) if r[5]], table


def test_both_engines_have_the_same_indexes(db, lite):
    spelled = "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = current_schema()"
    indexes = {name: words(text) for name, text in all_of(db, spelled)}
    wanted = lite.execute(
        "SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql NOTNULL"
    )

    for name, text in wanted:
        if name not in INDEXES_OF_SQLITE_ALONE:
            assert indexes.pop(name) == words(text), name
    assert {name for name in indexes if not name.endswith(("_pkey", "_key"))} == set()


def test_what_rows_are_ordered_by_is_compared_by_code_points(db):
    spelled = all_of(db, COLLATED)

    assert {
        *("queue.position", "positions.position", "state.name", "attempt.sig"),
        *("prices.venue", "prices.symbol", "prices.market"),
        *("liquidations.venue", "liquidations.symbol", "failed_liquidations.failure_class"),
    } <= set(spelled)


def words(definition: str) -> list[str]:
    """Return what an index is about, however an engine spells it."""
    spelling = r"using btree|\brefusing\.|::text(\[\])?|=|\b(any|array|in|on)\b|is not null|notnull"
    return re.findall(r"\w+", re.sub(spelling, " ", definition.lower()))


def test_both_engines_have_the_same_triggers_and_named_constraints(db, lite):
    triggers = set(all_of(db, TRIGGERS))
    constraints = set(all_of(db, "SELECT conname FROM pg_constraint WHERE contype = 'c'"))
    sql = " ".join(
        text for (text,) in lite.execute("SELECT sql FROM sqlite_schema WHERE sql NOTNULL")
    )

    assert triggers - TRIGGERS_OF_POSTGRES_ALONE == names(lite, "trigger")
    named = set(re.findall(r"CONSTRAINT (\w+)", sql))
    assert len(named) >= 3
    assert named <= constraints
    for kind in ("attempt", "intent"):
        edges = f"SELECT a, b FROM {kind}_edge ORDER BY a, b"  # noqa: S608 - a name of ours
        assert all_of(db, edges) == lite.execute(edges).fetchall()


@pytest.mark.parametrize("start", AttemptState)
def test_only_allowed_edges_of_an_attempt_pass(db, start):
    move = b"UPDATE attempt SET state = %s, proof_json = '{}'"
    if start is not AttemptState.SIGNED:
        db.execute(b"SET LOCAL session_replication_role = replica")
        db.execute(move, [start.value])
        db.execute(b"SET LOCAL session_replication_role = origin")

    for end in AttemptState:
        db.execute("SAVEPOINT here")
        if start == end or (start, end) in ATTEMPT_EDGES:
            db.execute(move, [end.value])
        else:
            with pytest.raises(psycopg.IntegrityError, match="forbidden edge"):
                db.execute(move, [end.value])
        db.execute("ROLLBACK TO here")


@pytest.mark.parametrize(
    "statement, refusal",
    [
        (r"UPDATE attempt SET raw = '\x00'", "never changes"),
        ("UPDATE attempt SET lvbh = lvbh + 1", "never changes"),
        ("UPDATE attempt SET sig = 'x'", "never changes"),
        ("UPDATE attempt SET intent_id = 2", "never changes"),
        ("UPDATE attempt SET n = 2", "never changes"),
        ("UPDATE attempt SET state = 'LOST'", "forbidden edge"),
        ("UPDATE attempt SET state = 'EXPIRED'", "expired_needs_proof"),
        ("UPDATE attempt SET state = 'VOID', proof_json = '{}', sends = 1", "void_was_never_sent"),
        ("DELETE FROM attempt", "live one cannot be deleted"),
        ("TRUNCATE attempt CASCADE", "live one cannot be deleted"),
        ("DELETE FROM intent", "unfinished one cannot be deleted"),
        ("UPDATE intent SET key = 'x'", "never changes"),
        ("UPDATE intent SET generation = 8", "never changes"),
        ("UPDATE intent SET state = 'NEW'", "forbidden edge"),
        ("UPDATE intent SET state = 'GONE'", "an attempt is live"),
        ("UPDATE intent SET state = 'HELD'", "an attempt is live"),
        (
            "INSERT INTO intent SELECT 9, 'k', 'OPEN', '', NULL, 1, 0, 1, '{}', 1, 1, 'v', 'p', 'q', 1, 1",
            "not a new one",
        ),
        ("INSERT INTO events VALUES (9, 'x', 1, '{')", "invalid input syntax for type json"),
        ("INSERT INTO events VALUES (9, 'x', 1, '{\"x\":NaN}')", "invalid input syntax"),
        ("INSERT INTO event_counter VALUES (false, 9)", "event_counter_only_row_check"),
        ("INSERT INTO insurance_balance VALUES (1, 'v', 'a', 1.5, 0, 0, 1, 1)", "amount_is_whole"),
        (
            "INSERT INTO insurance_balance VALUES (1, 'v', 'a', 'NaN', 0, 0, 1, 1)",
            "amount_is_whole",
        ),
        (
            "INSERT INTO insurance_balance VALUES (1, 'v', 'a', 'Infinity', 0, 0, 1, 1)",
            "amount_is_whole",
        ),
    ],
)
def test_the_database_refuses(db, statement, refusal):
    with pytest.raises(psycopg.DatabaseError, match=refusal):
        db.execute(statement.encode())


@pytest.mark.parametrize("state, refusal", [("SIGNED", "attempt_one_live"), ("SENT", "not SIGNED")])
def test_one_live_attempt_an_intent_and_only_a_signed_one_is_new(db, state, refusal):
    copy = (
        b"INSERT INTO attempt SELECT 'sig2', intent_id, 2, raw, blockhash, lvbh, min_ctx_slot,"
        b" cu_limit, cu_price, max_cost_lamports, symbol, %s, signed_ms, first_sent, last_sent,"
        b" sends, seen_slot, seen_level, err_json, fee_paid, final_slot, proof_json, ended_ms"
        b" FROM attempt WHERE sig = 'sig'"
    )
    with pytest.raises(psycopg.IntegrityError, match=refusal):
        db.execute(copy, [state])


def test_whoever_inserts_an_attempt_holds_its_intent(schema, db):
    db.execute("UPDATE attempt SET state = 'FINALIZED_ERR'")
    db.execute(
        "INSERT INTO attempt SELECT 'sig2', intent_id, 2, raw, blockhash, lvbh, min_ctx_slot,"
        " cu_limit, cu_price, max_cost_lamports, symbol, 'SIGNED', signed_ms FROM attempt"
    )

    with psycopg.connect(schema) as other, pytest.raises(psycopg.errors.LockNotAvailable):
        other.execute("SELECT 1 FROM intent FOR NO KEY UPDATE NOWAIT")


def test_a_database_of_schema_3_counts_in_full_what_it_counted_by_its_fee():
    url = fresh_url("earlier")
    made = "INSERT INTO schema_migration VALUES (%s, %s)"
    with psycopg.connect(url, autocommit=True) as old:
        old.execute(
            "CREATE TABLE schema_migration (version BIGINT PRIMARY KEY, name TEXT NOT NULL)"
        )
        for number, file in enumerate(MIGRATIONS[:3], start=1):
            old.execute(file.read_bytes())
            old.execute(made, [number, file.stem])
        old.execute(ROWS.encode())
        assert all_of(old, "SELECT SUM(lamports) FROM spend") == [5_000]

    with closing(open_store(url)) as store:
        assert store.spent_lamports(0) == 205_000
        assert store.totals().fees_lamports == 5_000
