"""One PostgreSQL connection as the store wants it: durable, bounded, made again when it is lost."""

from collections.abc import Callable
from selectors import EVENT_READ, DefaultSelector
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.adapt import Buffer, Dumper, Loader
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg.types.string import StrDumperUnknown

from liqctl.errors import StoreBusy, StoreError, StoreUnusable
from liqctl.ports import Clock, Rng
from liqctl.store.postgres_errors import connect_error, translated
from liqctl.store.postgres_url import Target

OLDEST = 140_000
ANSWER_S = 8.0
HURRIED_S = 2.0
PAUSE_MS = 500
WAIT_INTERVAL_S = 0.1

# `tcp_user_timeout` and keepalives find a host that fell silent; ANSWER_S is for a server that did.
PARAMETERS = {
    "connect_timeout": "3",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "client_encoding": "UTF8",
}
SESSION = """
SELECT
    set_config('statement_timeout', '5s', false),
    set_config('lock_timeout', '2s', false),
    set_config('idle_in_transaction_session_timeout', '10s', false),
    set_config('default_transaction_read_only', %(read_only)s, false),
    CASE WHEN current_setting('synchronous_commit') <> 'remote_apply'
        THEN set_config('synchronous_commit', 'on', false) END
"""
FACTS = """
SELECT
    current_setting('synchronous_commit') AS synchronous_commit,
    current_setting('transaction_read_only') AS read_only,
    current_schema() AS schema
"""
# What is left of an earlier connection may still be in a transaction: it is ended and waited for.
END_FORMER_SELF = """
SELECT pg_terminate_backend(pid, 2000) FROM pg_stat_activity
WHERE application_name = %(name)s AND pid <> pg_backend_pid() AND usename = session_user
"""

T = TypeVar("T")


class Connection(psycopg.Connection[DictRow]):
    """A connection that does not wait for ever for a server that has fallen silent."""

    answer_s = ANSWER_S

    def wait(
        self, gen: PQGen[T], interval: float = WAIT_INTERVAL_S, timeout: float | None = None
    ) -> T:
        """Return what the generator returns; a connection without an answer is closed."""
        heard = _heard(gen, lambda: round(self.answer_s / interval))
        try:
            return super().wait(heard, interval=interval, timeout=timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()
            raise


def _heard(gen: PQGen[T], silent_max: Callable[[], int]) -> PQGen[T]:
    """Do as the generator does, until so many intervals in a row pass without a word.

    Asked anew each time: the end of the program shortens a wait that is under way.

    A batch may take long, but not in silence; a statement has its own limit, on the server.
    """
    silent = 0
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            silent = 0 if ready else silent + 1
            if silent > silent_max():
                raise psycopg.OperationalError("the server has fallen silent")
            wanted = gen.send(ready)
    except StopIteration as done:
        result: T = done.value
        return result


class Link:
    """Keeps one connection to one database and makes it again when it was lost."""

    def __init__(self, target: Target, *, read_only: bool, clock: Clock, rng: Rng) -> None:
        """Name the session, so that it can be told from all others; connect at the first use."""
        self.place = target.place
        self.name = f"liqctl-{rng.token(16)}"
        self._target = target
        self._read_only = read_only
        self._clock = clock
        self._connection: Connection | None = None
        self._closed = False
        self._hurried = False
        self._failed: StoreError | None = None
        self._not_before_ns = 0

    @property
    def known(self) -> Connection | None:
        """The connection that was made last, if it has not been dropped."""
        return self._connection

    def connected(self) -> Connection:
        """Return the connection, a new one where the last has been lost.

        Right after a failure it fails again untried, so that a row of calls does not wait each.

        Raises:
            StoreBusy: the database is away.
            StoreUnusable: it will not have us, or it is not fit to keep a record.
        """
        if self._connection is not None and not _is_lost(self._connection):
            return self._connection
        if self._closed:
            raise StoreBusy(f"the database {self.place} has been closed")
        self.drop()
        if self._failed is not None and self._clock.monotonic_ns() < self._not_before_ns:
            raise type(self._failed)(str(self._failed))
        try:
            self._connection = self._connect()
        except StoreError as error:
            self._failed = error
            self._not_before_ns = self._clock.monotonic_ns() + PAUSE_MS * 1_000_000
            raise
        self._failed = None
        return self._connection

    def reconnected(self) -> Connection:
        """Return a new connection, at once."""
        self.drop()
        self._failed = None
        return self.connected()

    def hurry(self) -> None:
        """From now on wait only briefly for a server that is silent; callable from any thread."""
        self._hurried, known = True, self._connection
        if known is not None:
            known.answer_s = HURRIED_S

    def drop(self) -> None:
        """Close the connection; the next use makes another."""
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def close(self) -> None:
        """Close the connection for good."""
        self.drop()
        self._closed = True

    def _connect(self) -> Connection:
        parameters: dict[str, Any] = {
            **PARAMETERS,
            **self._target.parameters,
            "application_name": self.name,
        }
        try:
            made = Connection.connect(autocommit=True, row_factory=dict_row, **parameters)
        except psycopg.Error as error:
            raise connect_error(error, self.place) from None
        if self._hurried:
            made.answer_s = HURRIED_S
        try:
            with translated(self.place):
                self._prepare(made)
        except BaseException:
            made.close()
            raise
        return made

    def _prepare(self, made: Connection) -> None:
        made.adapters.register_dumper(bool, _FlagDumper)
        made.adapters.register_dumper(str, _TextDumper)
        made.adapters.register_loader("numeric", _WholeLoader)
        if made.info.server_version < OLDEST:
            raise StoreUnusable(
                f"the database {self.place} is PostgreSQL {made.info.server_version // 10_000}; "
                "liqctl needs 14 or newer"
            )
        made.execute(SESSION, {"read_only": "on" if self._read_only else "off"})
        made.execute(END_FORMER_SELF, {"name": self.name})
        facts = made.execute(FACTS).fetchone() or {}
        if facts["synchronous_commit"] not in {"on", "remote_apply"}:
            raise StoreUnusable(
                f"the database {self.place} does not let synchronous_commit be on: "
                "a commit might be lost with the power"
            )
        if facts["schema"] is None:
            raise StoreUnusable(
                f"the database {self.place} has no schema to use: create the one that "
                "search_path names, and grant USAGE and CREATE on it"
            )
        if facts["read_only"] == "on" and not self._read_only:
            raise StoreUnusable(
                f"the database {self.place} is a read-only standby; "
                "name its primary server in DATABASE_URL"
            )


def _is_lost(connection: Connection) -> bool:
    """Return whether the server has gone away, as far as one can know without asking it.

    Between two calls it has nothing to say but that it ends the connection.
    """
    if connection.closed:
        return True
    with DefaultSelector() as selector:
        selector.register(connection, EVENT_READ)
        return bool(selector.select(timeout=0))


class _FlagDumper(Dumper):
    """A flag as the number that its column holds, in every engine the same."""

    oid = psycopg.adapters.types["int2"].oid

    def dump(self, obj: bool) -> Buffer:
        """Return the digit."""
        return b"1" if obj else b"0"


class _TextDumper(StrDumperUnknown):
    """Any text, also of foreign origin: PostgreSQL cannot hold a zero byte or half a character."""

    def dump(self, obj: str) -> Buffer:
        """Return the text in UTF-8 with a mark in place of what cannot be held."""
        return obj.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace")


class _WholeLoader(Loader):
    """Every NUMERIC of the schema is a whole number, and so is a sum of integers."""

    def load(self, data: Buffer) -> int:
        """Return the integer."""
        return int(bytes(data))
