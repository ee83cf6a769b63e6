"""The store on SQLite: one writer, commits that survive a loss of power.

A store may be made on any thread; after that its methods are for one thread at a time, in the
daemon the single thread of the store's executor.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import aiosql

from liqctl.errors import StoreUnusable
from liqctl.store.connection import connect, damaged, translated
from liqctl.store.sql.session import statements
from liqctl.store.sql.store import SqlStore
from liqctl.store.version import SCHEMA_VERSION, needs_migration


@cache
def _queries() -> Any:  # noqa: ANN401 - a function for each statement in the files
    """Return the statements; reading them takes some 10 ms."""
    return aiosql.from_str(statements("sqlite"), "sqlite3")


class SqliteStore(SqlStore):
    """The Store in one SQLite file."""

    def __init__(self, connection: sqlite3.Connection, path: str) -> None:
        """Take over a connection to a database of this version; see `open`."""
        self._connection = connection
        self._name = path
        self._sql = _queries()

    @classmethod
    def open(
        cls, path: str, *, create: bool, read_only: bool, busy_timeout_ms: int
    ) -> "SqliteStore":
        """Return the store in the file `path` (or `:memory:`), checked and migrated.

        Raises:
            SettingsError: the file is missing and must not be created.
            StoreUnusable: not a database of ours, damaged, read-only, or newer than the program.
            StoreBusy: locked for the whole busy timeout.
        """
        connection = connect(
            path, create=create, read_only=read_only, busy_timeout_ms=busy_timeout_ms
        )
        try:
            with translated(path):
                _make_current(connection, path, read_only=read_only)
        except BaseException:
            connection.close()
            raise
        return cls(connection, path)

    def close(self) -> None:
        """Release the database."""
        with translated(self._name):
            self._connection.close()

    def hurry(self) -> None:
        """Do nothing: a lock is waited for by `busy_timeout_ms`, and a file does not fall silent."""

    def version(self) -> int:
        """Return a number that is another one after a commit of another connection."""
        with self._reading() as db:
            return int(db.execute("PRAGMA data_version").fetchone()[0])

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with translated(self._name):
            yield self._connection

    @contextmanager
    def _snapshot(self) -> Iterator[sqlite3.Connection]:
        yield from self._transaction("BEGIN")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock for the block: all of it is committed and on disk, or nothing."""
        yield from self._transaction("BEGIN IMMEDIATE")

    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        db = self._connection
        with translated(self._name):
            db.execute(begin)
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")


def _make_current(connection: sqlite3.Connection, path: str, *, read_only: bool) -> None:
    outdated = needs_migration(connection, path)
    if read_only and outdated:
        raise StoreUnusable(
            f"the database {path} is empty or older than schema {SCHEMA_VERSION}; "
            "`liqctl watch` brings it up to date"
        )
    if read_only:
        return
    finding = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if finding != "ok":
        raise damaged(path, finding)
    if outdated:
        from liqctl.store.schema import migrate  # noqa: PLC0415 - sqlite-utils takes 180 ms

        migrate(connection)
