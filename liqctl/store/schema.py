"""The schema of an SQLite store: migrations that only go forward, each file one migration."""

import sqlite3
from collections.abc import Callable, Iterator
from importlib import resources

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from liqctl.store.version import APPLICATION_ID, SCHEMA_VERSION

migrations = Migrations("liqctl")


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the database to SCHEMA_VERSION, all or nothing.

    The lock is taken before anything is read: of two programs that start at once, the second
    waits and then finds nothing left to do. sqlite-utils turns each migration into a savepoint.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        migrations.apply(Database(connection, recursive_triggers=False))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def statements(script: str) -> Iterator[str]:
    """Yield the statements of a script one by one: executescript() would commit in between."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _migration(name: str) -> Callable[[Database], None]:
    def run(db: Database) -> None:
        file = resources.files("liqctl.store").joinpath("migrations", f"{name}.sql")
        for statement in statements(file.read_text(encoding="utf-8")):
            db.conn.execute(statement)

    return run


for _name in ("0001_record", "0002_unpriced", "0003_archive", "0004_spend"):
    migrations(name=_name)(_migration(_name))
