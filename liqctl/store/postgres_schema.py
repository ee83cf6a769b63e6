"""The schema of a PostgreSQL store: the same numbers as for SQLite, each file one transaction."""

from importlib import resources

from psycopg import errors

from liqctl.errors import StoreUnusable, invariant
from liqctl.store.postgres_link import Connection
from liqctl.store.version import SCHEMA_VERSION

ADVISORY_LOCK = 0x6C697163
PATIENCE_S = 600

# Of programs that start at once one migrates; the others wait here and find nothing left to do.
BEGIN = f"""
BEGIN;
SET LOCAL statement_timeout = '{PATIENCE_S - 10}s';
SET LOCAL lock_timeout = '60s';
SELECT pg_advisory_xact_lock({ADVISORY_LOCK});
CREATE TABLE IF NOT EXISTS schema_migration (version BIGINT PRIMARY KEY, name TEXT NOT NULL)
"""


def schema_version(connection: Connection, place: str) -> int:
    """Return the number of the last migration, 0 where liqctl has not been yet.

    Raises:
        StoreUnusable: it is newer than this program.
    """
    try:
        row = connection.execute("SELECT max(version) AS version FROM schema_migration").fetchone()
    except errors.UndefinedTable:
        return 0
    version = int((row or {})["version"] or 0)
    if version > SCHEMA_VERSION:
        raise StoreUnusable(
            f"the database {place} has schema {version}, this liqctl knows {SCHEMA_VERSION}: "
            "update liqctl, or name another database"
        )
    return version


def migrate(connection: Connection, place: str) -> None:
    """Bring the database to SCHEMA_VERSION; a migration is there whole or not at all."""
    connection.answer_s = PATIENCE_S
    try:
        for number, script in enumerate(_scripts(), start=1):
            connection.execute(BEGIN.encode())
            if schema_version(connection, place) < number:
                connection.execute(script.encode())
                row = {"version": number, "name": script.partition("\n")[0]}
                connection.execute(
                    "INSERT INTO schema_migration VALUES (%(version)s, %(name)s)", row
                )
            connection.execute("COMMIT")
    except BaseException:
        connection.close()
        raise
    connection.answer_s = Connection.answer_s


def _scripts() -> list[str]:
    folder = resources.files("liqctl.store").joinpath("migrations", "postgres")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".sql")), key=str)
    invariant(len(files) == SCHEMA_VERSION, "each schema version has its migration")
    return [file.read_text(encoding="utf-8") for file in files]
