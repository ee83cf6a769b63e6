"""The store on PostgreSQL: several keepers and servers, on as many hosts, share one record.

Leases are compared with the database's clock (`clock_timestamp()`), whatever `now_ms` a caller
gives: only the length of a lease is the caller's. A store may be made on any thread; after that
its methods are for one thread at a time, in the daemon the single thread of the store's executor.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
from types import SimpleNamespace
from typing import Any

import aiosql
import psycopg
from psycopg.pq import TransactionStatus
from psycopg.sql import SQL, Literal

from liqctl.errors import SettingsError, StoreBusy, StoreError, StoreUnusable
from liqctl.ports import Clock, Rng, SystemClock, SystemRng
from liqctl.store.postgres_errors import translated
from liqctl.store.postgres_link import Connection, Link
from liqctl.store.postgres_schema import migrate, schema_version
from liqctl.store.postgres_url import target_of
from liqctl.store.sql.store import SqlStore
from liqctl.store.version import SCHEMA_VERSION

BEGIN = SQL(
    "BEGIN; INSERT INTO writer VALUES ({name}, {commits}, db_now_ms())"
    " ON CONFLICT (name) DO UPDATE SET commits = EXCLUDED.commits, begun_ms = EXCLUDED.begun_ms"
)
# It waits for a transaction of ours that the server has not ended yet.
COMMITS = "SELECT commits FROM writer WHERE name = %(name)s FOR UPDATE"
FORGET_SELF = "DELETE FROM writer WHERE name = %(name)s"
FORGET_OLD = "DELETE FROM writer WHERE begun_ms < db_now_ms() - 86400000"
# Which transactions are visible: another text after every commit, of whomever.
VERSION = "SELECT hashtextextended(CAST(pg_current_snapshot() AS TEXT), 0) AS version"


@cache
def _queries() -> Any:  # noqa: ANN401 - a function for each statement in the files
    """Return the statements, those of PostgreSQL in place of the common ones of the same name."""
    found: dict[str, Any] = {}
    for name in ("queries.sql", "postgres.sql"):
        text = resources.files("liqctl.store").joinpath(name).read_text(encoding="utf-8")
        queries = aiosql.from_str(text, "psycopg")
        found.update({each: getattr(queries, each) for each in queries.available_queries})
    return SimpleNamespace(**found)


class PostgresStore(SqlStore):
    """The Store in one schema of a PostgreSQL database."""

    def __init__(self, link: Link) -> None:
        """Take over a link to a database of this version; see `open`."""
        self._link = link
        self._name = link.place
        self._sql = _queries()
        self._commits = 0

    @classmethod
    def open(
        cls,
        url: str,
        *,
        create: bool,
        read_only: bool,
        clock: Clock | None = None,
        rng: Rng | None = None,
    ) -> "PostgresStore":
        """Return the store in the database that a URL names, migrated unless `read_only`.

        Raises:
            SettingsError: the URL cannot be read, or there are no tables and none may be created.
            StoreUnusable: the server refuses us, is no primary, or its schema is newer.
            StoreBusy: the database is away.
        """
        link = Link(
            target_of(url),
            read_only=read_only,
            clock=clock or SystemClock(),
            rng=rng or SystemRng(),
        )
        try:
            with translated(link.place):
                _make_current(link, create=create, read_only=read_only)
        except BaseException:
            link.close()
            raise
        return cls(link)

    def close(self) -> None:
        """Release the database; one that is away is not waited for."""
        db = self._link.known
        if self._commits and db is not None:
            with suppress(psycopg.Error):
                db.execute(FORGET_SELF, {"name": self._link.name})
        self._link.close()

    def hurry(self) -> None:
        """From now on wait two seconds, not eight, for a server that gives no answer."""
        self._link.hurry()

    def version(self) -> int:
        """Return a number that is another one after a commit of another connection.

        It may be another one without: our own commits and those in other databases count too.
        """
        with self._reading() as db:
            row = db.execute(VERSION).fetchone()
        return 0 if row is None else int(row["version"])

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with translated(self._name):
            try:
                yield self._current()
            except psycopg.errors.FeatureNotSupported:
                # A statement was prepared before another process changed its tables, and the
                # server would refuse it for ever; a new connection has prepared nothing.
                self._link.drop()
                raise

    @contextmanager
    def _snapshot(self) -> Iterator[Connection]:
        with self._reading() as db:
            db.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            with self._rolling_back(db):
                yield db
                db.execute("COMMIT")

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """Give a transaction: all of it is committed and on disk, or nothing.

        A COMMIT whose answer is lost may have taken place: the row of this writer tells, read over
        a new connection. If the database stays away, nobody can tell, and the error says so.
        """
        with self._reading() as db:
            self._commits += 1
            begin = BEGIN.format(name=Literal(self._link.name), commits=Literal(self._commits))
            with self._rolling_back(db):
                db.execute(begin, prepare=False)
                yield db
                self._commit(db)

    def _current(self) -> Connection:
        """Return the connection; a new one leads to a database that still has this version."""
        known = self._link.known
        db = self._link.connected()
        if known is not db and schema_version(db, self._name) != SCHEMA_VERSION:
            self._link.drop()
            raise StoreUnusable(
                f"the database {self._name} is not the one that was opened: "
                "it has another schema; restart liqctl"
            )
        return db

    @contextmanager
    def _rolling_back(self, db: Connection) -> Iterator[None]:
        """End a transaction that the block leaves open."""
        try:
            yield
        finally:
            if not db.closed and db.pgconn.transaction_status != TransactionStatus.IDLE:
                try:
                    db.execute("ROLLBACK")
                except psycopg.Error:
                    self._link.drop()

    def _commit(self, db: Connection) -> None:
        try:
            answer = db.execute("COMMIT", prepare=False).statusmessage
        except psycopg.OperationalError:
            if not self._took_place():
                raise
        else:
            if answer != "COMMIT":
                raise StoreError(f"the database {self._name} rolled back instead of committing")

    def _took_place(self) -> bool:
        """Return whether the transaction whose end nobody told was committed."""
        try:
            with translated(self._name):
                found = self._link.reconnected().execute(COMMITS, {"name": self._link.name})
                row = found.fetchone()
        except StoreError as error:
            raise StoreBusy(
                f"the database {self._name} was lost in the middle of a commit: "
                f"whether the last write was kept is not known, for {error}"
            ) from error
        return row is not None and int(row["commits"]) == self._commits


def _make_current(link: Link, *, create: bool, read_only: bool) -> None:
    db = link.connected()
    version = schema_version(db, link.place)
    if version == 0 and not create:
        raise SettingsError(
            f"there are no tables of liqctl in the database {link.place}: "
            "`liqctl watch` creates them; for another database set DATABASE_URL"
        )
    if read_only and version < SCHEMA_VERSION:
        raise StoreUnusable(
            f"the database {link.place} is empty or older than schema {SCHEMA_VERSION}; "
            "`liqctl watch` brings it up to date"
        )
    if read_only:
        return
    if version < SCHEMA_VERSION:
        migrate(db, link.place)
    db.execute(FORGET_OLD)
