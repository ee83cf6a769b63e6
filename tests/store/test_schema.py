"""What the database itself refuses, whoever writes to it."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import aiosql
import pytest
from sqlite_utils import Database

from liqctl.core.intent import ATTEMPT_EDGES, INTENT_EDGES, AttemptState, IntentState
from liqctl.core.record import LiquidationQuery
from liqctl.store.open import open_store
from liqctl.store.schema import migrations, statements
from liqctl.store.sql import session
from liqctl.store.version import APPLICATION_ID, SCHEMA_VERSION
from tests.store.records import (
    alert,
    attempt,
    delivery,
    failure,
    liquidation,
    position_row,
    price_row,
    queue_row,
    request,
    sample,
)

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
MIGRATIONS = [file for file in SQL_FILES if file.parent.name == "migrations"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("template") / "liqctl.db"
    store = open_store(f"sqlite:{path}")
    claim = store.claim(request(), "me", 0, 20_000)
    assert claim is not None
    assert store.record_attempt(claim, attempt(claim), 1)
    store.put_positions([position_row()], [])
    store.put_prices([price_row()])
    store.put_alert(alert(), [delivery()], "{}")
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
        "positions",
        "prices",
        "alert",
        "alert_delivery",
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
        ("UPDATE positions SET size = 1.5", "CHECK"),
        ("UPDATE positions SET equity = 1.5", "CHECK"),
        ("UPDATE positions SET liquidatable = 2", "CHECK"),
        ("UPDATE prices SET price = 1.5", "CHECK"),
        ("UPDATE alert SET state = 'over'", "CHECK"),
        ("UPDATE alert SET severity = 'bad'", "CHECK"),
        ("UPDATE alert SET state = 'resolved'", "resolved_has_its_time"),
        (
            "INSERT INTO alert SELECT 9, rule, subject, severity, state, title, body, 1, NULL, NULL"
            " FROM alert",
            "UNIQUE",
        ),
        ("DELETE FROM alert", "FOREIGN KEY"),
        ("UPDATE alert_delivery SET resolves = 2", "CHECK"),
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
        " sends, seen_slot, seen_level, err_json, fee_paid, final_slot, proof_json, ended_ms, NULL"
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
        if file.parent.name == "postgres":
            continue  # leases of keepers on several hosts are compared with the server's clock
        assert not hidden.search(file.read_text()), file


SMALL = {
    "queue",
    "state",
    "sqlite_autoindex_prices_1",
    "sqlite_sequence",
    "ROW",
    "attempt_one_live",
    "intent_held",
    "liquidations_oversized",
    "attempt_unpriced",
    "alert_one_firing",
    "alert_delivery_due",
    # What a window over alert_delivery_due leaves.
    "due",
    "(subquery-4)",
}
REPORTS = {
    "liquidation_sums",
    "failure_counts",
    "fees_lamports",
    "attempt_counts",
    "failure_classes",
}
NEWEST_FIRST = {
    "all_liquidations",
    "latencies_us",
    "all_failures",
    "insurance_history",
    "prune_events",
    "alerts",
    "deliveries",
}


def plans(db: sqlite3.Connection) -> dict[str, list[str]]:
    """Return what SQLite does for each statement, step by step, by name."""
    queries = aiosql.from_str(session.statements("sqlite"), "sqlite3")
    found = {}
    for name in queries.available_queries:
        if not name.endswith("_cursor"):
            sql = getattr(queries, name).sql
            names = dict.fromkeys(re.findall(r"(?<!:):(\w+)", sql), 1)
            found[name] = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", names)]
    return found


def test_no_statement_of_the_daily_work_reads_a_whole_table(db):
    found = plans(db)

    assert len(found) > 80
    assert found.keys() >= REPORTS | NEWEST_FIRST
    for name in found.keys() - REPORTS - NEWEST_FIRST:
        scans = {step.split()[-1] for step in found[name] if step.startswith("SCAN ")}
        assert scans <= SMALL, (name, found[name])


def test_every_page_of_many_positions_is_read_in_the_order_of_an_index(db):
    found = plans(db)

    after = "(health_rank,position)>(?,?)"
    assert {name: found[name] for name in found if name.endswith("positions")} | {
        name: found[name] for name in found if name.startswith("positions_of")
    } == {
        "put_positions": [],
        "remove_positions": [SEARCH.format("sqlite_autoindex_positions_1 (position=?)")],
        "forget_positions": [
            SEARCH.format("sqlite_autoindex_positions_1 (position=?)"),
            "LIST SUBQUERY 1",
            SEARCH.format("positions_by_age (venue=? AND at_ms<?)"),
        ],
        "all_positions": [SEARCH.format(f"positions_by_health ({after})")],
        "positions_of_venue": [SEARCH.format(f"positions_by_venue (venue=? AND {after})")],
        "positions_of_symbol": [SEARCH.format(f"positions_by_symbol (symbol=? AND {after})")],
        "positions_of_owner": [SEARCH.format(f"positions_by_owner (owner=? AND {after})")],
    }


SEARCH = "SEARCH positions USING INDEX {}"


def test_the_schema_version_counts_the_migrations():
    with closing(Database(memory=True)) as database:
        assert len(migrations.pending(database)) == SCHEMA_VERSION
    assert len(MIGRATIONS) == SCHEMA_VERSION


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


def earlier(path: Path, version: int) -> None:
    """Make a database as the program of that schema made it, with a row in every table."""
    with closing(sqlite3.connect(path)) as old:
        for file in MIGRATIONS[:version]:
            old.executescript(file.read_text(encoding="utf-8"))
        old.execute("CREATE TABLE _sqlite_migrations (migration_set, name, applied_at)")
        old.executemany(
            "INSERT INTO _sqlite_migrations VALUES ('liqctl', ?, '')",
            [(file.stem,) for file in MIGRATIONS[:version]],
        )
        old.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        old.execute(f"PRAGMA user_version = {version}")
        old.executescript(ROWS)


ROWS = """
INSERT INTO intent VALUES
    (1, 'k', 'NEW', '', 'me', 1, 20000, 100, '{}', 0, 0, 'reference', 'prog', 'pos', 7, 1);
INSERT INTO attempt (sig, intent_id, n, raw, blockhash, lvbh, min_ctx_slot, cu_limit, cu_price,
    max_cost_lamports, symbol, state, signed_ms)
    VALUES ('sig', 1, 1, x'01', 'hash', 150, 90, 200000, 1000000, 205000, 'SOL-PERP', 'SIGNED', 1);
UPDATE attempt SET state = 'FINALIZED_OK', final_slot = 900, ended_ms = 3;
UPDATE intent SET state = 'OPEN';
UPDATE intent SET state = 'DONE';
INSERT INTO liquidations VALUES (1, 'pos', 'owner', 'SOL-PERP', 1500000000, 142000000, 'me',
    '18446744073709551615', 40, CAST(3 AS REAL) / 4, 1, 1700000000, 1700000000123, 'reference', 'sig', 900, NULL,
    -40, '9223372036854775808', 7, 850);
INSERT INTO failed_liquidations VALUES
    (1, 'pos', 'SOL-PERP', 'oracle', 'StalePrice', 'sig', 900, 1000);
INSERT INTO events (kind, at_ms, body_json) VALUES ('liquidation', 1, '{}');
INSERT INTO insurance_balance VALUES (1, 'reference', 'fund', 1000, 3, 4, 9, 1);
INSERT INTO queue VALUES
    ('pos', 'owner', 'reference', 'SOL-PERP', 'long', 10, CAST(1 AS REAL) / 2, 'waiting', '', 0, 0, 5, NULL);
INSERT INTO state VALUES ('keeper', '{}', 1);
"""


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_database_of_an_earlier_schema_is_brought_up_to_date_with_every_row(tmp_path, version):
    path = tmp_path / "old.db"
    earlier(path, version)

    store = open_store(f"sqlite:{path}")

    row = liquidation(
        id=1, fee_lamports=None, liquidator_reward=2**64 - 1, bad_debt_uncovered=2**63
    )
    assert (
        store.recent_liquidations() == store.liquidations(LiquidationQuery(owner="owner")) == [row]
    )
    assert store.recent_failures(failure_class="oracle") == [failure(id=1)]
    assert [each.signature for each in store.unpriced_attempts(9)] == ["sig"]
    assert [each.state for each in store.attempts(position="pos")] == ["FINALIZED_OK"]
    assert store.intent_of("sig") == (request(), 1, "DONE")
    assert [each.rewards for each in store.daily(0)] == [2**64 - 1]
    assert store.totals().bad_debt_uncovered == 2**63
    assert (store.last_seq(), len(store.events_since(0, 9))) == (1, 1)
    assert store.insurance_history(9) == [sample()]
    assert store.queue() == [queue_row()]
    assert store.state("keeper") == ("{}", 1)
    assert store.put_alert(alert(), [delivery()], "{}") == 1
    store.close()
    with closing(sqlite3.connect(path)) as new, closing(sqlite3.connect(":memory:")) as fresh:
        assert new.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        assert new.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        for file in MIGRATIONS:
            fresh.executescript(file.read_text(encoding="utf-8"))
        assert named(new) == named(fresh)


def test_what_an_earlier_schema_counted_by_its_fee_counts_in_full_once_migrated(tmp_path):
    path = tmp_path / "old.db"
    earlier(path, 3)
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("UPDATE attempt SET fee_paid = 5000")
        assert old.execute("SELECT SUM(lamports) FROM spend").fetchone() == (5_000,)

    with closing(open_store(f"sqlite:{path}")) as store:
        assert store.spent_lamports(0) == 205_000


def named(db: sqlite3.Connection) -> set[tuple[str, str]]:
    found = db.execute("SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {(name, sql) for name, sql in found if "_sqlite_migrations" not in name}
