"""Which databases this version of the program reads, found out without loading the migrations."""

import sqlite3

from liqctl.errors import StoreUnusable

APPLICATION_ID = 0x6C697163
SCHEMA_VERSION = 4

# One statement, so that the migration of another process is seen whole or not at all.
MARKS = """
SELECT
    (SELECT application_id FROM pragma_application_id),
    (SELECT user_version FROM pragma_user_version),
    (SELECT COUNT(*) FROM sqlite_schema)
"""


def needs_migration(connection: sqlite3.Connection, path: str) -> bool:
    """Return whether the database is empty or older than this program.

    Raises:
        StoreUnusable: it is newer, or it belongs to another program.
    """
    application, version, tables = connection.execute(MARKS).fetchone()
    if application != APPLICATION_ID and (application or version or tables):
        raise StoreUnusable(f"{path} is the database of another program; name another file")
    if version > SCHEMA_VERSION:
        raise StoreUnusable(
            f"the database {path} has schema {version}, this liqctl knows {SCHEMA_VERSION}: "
            "update liqctl, or name another file"
        )
    return bool(version < SCHEMA_VERSION)
