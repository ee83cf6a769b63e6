"""One SQLite connection as the store wants it: durable, checked, with errors that say what to do."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from liqctl.errors import SettingsError, StoreBusy, StoreError, StoreUnusable

MEMORY = ":memory:"
SQLITE_OLDEST = (3, 37, 0)
WAL_BYTES_KEPT = 64 * 2**20
WAL_TRIES = 5

LOCKED = (
    "the database {path} is locked by another process; "
    "try again, or find the program that keeps it open for writing"
)
READ_ONLY = "the database {path} is read-only; change the owner or mode of file and directory"
DAMAGED = (
    "the database {path} is damaged ({error}); move it away and restore a copy, "
    "or recover it with `sqlite3 FILE .recover`"
)
REFUSALS: dict[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_BUSY: (StoreBusy, LOCKED),
    sqlite3.SQLITE_LOCKED: (StoreBusy, LOCKED),
    sqlite3.SQLITE_NOTADB: (StoreUnusable, "{path} is not a SQLite database; name another file"),
    sqlite3.SQLITE_CORRUPT: (StoreUnusable, DAMAGED),
    sqlite3.SQLITE_READONLY: (StoreUnusable, READ_ONLY),
    sqlite3.SQLITE_PERM: (StoreUnusable, READ_ONLY),
    sqlite3.SQLITE_CANTOPEN: (
        StoreUnusable,
        "the database {path} cannot be opened; look at the permissions of the file, of its "
        "directory and of the files -wal and -shm beside it",
    ),
    sqlite3.SQLITE_FULL: (
        StoreError,
        "the disk of the database {path} is full; free some space: "
        "nothing is signed meanwhile, and no restart is needed",
    ),
    sqlite3.SQLITE_IOERR: (
        StoreError,
        "the database {path} could not be read or written ({error}); look at the disk",
    ),
}


def connect(
    path: str, *, create: bool, read_only: bool, busy_timeout_ms: int
) -> sqlite3.Connection:
    """Return an open connection to the file `path` or to `:memory:`.

    It is in autocommit mode (transactions are begun explicitly), may be used by any thread but by
    one at a time, and its commits survive a loss of power.

    Raises:
        SettingsError: the file is missing and must not be created.
        StoreUnusable: the file or its directory cannot be used.
        StoreBusy: somebody else kept it locked for the whole busy timeout.
    """
    if sqlite3.sqlite_version_info < SQLITE_OLDEST:
        raise StoreUnusable(
            f"this Python has SQLite {sqlite3.sqlite_version}; liqctl needs 3.37 or newer: "
            "install a newer Python"
        )
    if path == MEMORY:
        target = MEMORY
    else:
        file = Path(path).absolute()
        _prepare_file(file, create=create and not read_only, read_only=read_only)
        target = f"{file.as_uri()}?{_mode(file, read_only=read_only)}"
    with translated(path):
        connection = sqlite3.connect(
            target,
            uri=path != MEMORY,
            isolation_level=None,
            check_same_thread=False,
            timeout=busy_timeout_ms / 1_000,
        )
        try:
            _configure(connection, path, read_only=read_only)
        except BaseException:
            connection.close()
            raise
    return connection


def _configure(connection: sqlite3.Connection, path: str, *, read_only: bool) -> None:
    connection.row_factory = sqlite3.Row
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA recursive_triggers = ON")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
        connection.execute("PRAGMA schema_version").fetchone()
        return
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA fullfsync = ON")
    connection.execute(f"PRAGMA journal_size_limit = {WAL_BYTES_KEPT}")
    if path != MEMORY and _switch_to_wal(connection) != "wal":
        raise StoreUnusable(
            f"{path} is on a file system that cannot hold a write-ahead log; "
            "choose a local directory for the database"
        )


def _switch_to_wal(connection: sqlite3.Connection) -> str:
    """Return the journal mode after asking for WAL.

    SQLite does not wait for the lock that the first switch needs, so a transaction waits instead.
    """
    for _ in range(WAL_TRIES - 1):
        try:
            return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("ROLLBACK")
    return str(connection.execute("PRAGMA journal_mode = WAL").fetchone()[0])


def _prepare_file(file: Path, *, create: bool, read_only: bool) -> None:
    """Make sure that the file is there and may be used, or say exactly what is in the way.

    An existing file is never opened here: closing it would drop the locks that SQLite holds for
    other connections of this very program.
    """
    try:
        if file.is_dir():
            raise StoreUnusable(f"{file} is a directory; name a file in it as the database")
        if not file.exists():
            if not create:
                raise SettingsError(
                    f"there is no database at {file}: `liqctl watch` creates it; "
                    "for another file set DATABASE_URL=sqlite:FILE"
                )
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _create(file)
        if not file.is_file():
            raise StoreUnusable(f"{file} is not a regular file; name another one as the database")
    except OSError as error:
        raise StoreUnusable(
            f"the database {file} cannot be reached or created: {error.strerror}; "
            "correct the path or the permissions of its directory"
        ) from error
    _check_permissions(file, read_only=read_only)


def _create(file: Path) -> None:
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return  # another process was quicker, which is as good


def _mode(file: Path, *, read_only: bool) -> str:
    """Return how to open the file.

    A reader of a write-ahead log needs to put files beside the database. Where it must not, and
    nobody has left a log, nobody writes either, and the file can be read as one that never changes.
    """
    if not read_only:
        return "mode=rw"
    log = file.with_name(f"{file.name}-wal")
    at_rest = not log.exists() and not _allowed(file.parent, os.W_OK | os.X_OK)
    return "mode=ro&immutable=1" if at_rest else "mode=ro"


def _check_permissions(file: Path, *, read_only: bool) -> None:
    if not _allowed(file, os.R_OK):
        raise StoreUnusable(f"{file} must not be read by this user; change its owner or mode")
    if read_only:
        return
    if not _allowed(file, os.W_OK):
        raise StoreUnusable(f"{file} is read-only for this user; change its owner or mode")
    if not _allowed(file.parent, os.W_OK | os.X_OK):
        raise StoreUnusable(
            f"the directory {file.parent} is read-only for this user, but SQLite keeps its log "
            f"beside {file.name}; change its owner or mode"
        )


def _allowed(path: Path, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn what sqlite3 raises within into the store's errors, which name the file."""
    try:
        yield
    except (sqlite3.Error, OverflowError) as error:
        raise store_error(error, path) from error


def store_error(error: Exception, path: str) -> StoreError:
    """Return the store's error for one of sqlite3's."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    kind, text = REFUSALS.get(code, (StoreError, "the database {path} refused: {error}"))
    return kind(text.format(path=path, error=error))


def damaged(path: str, finding: str) -> StoreUnusable:
    """Return the error for a database whose content is broken."""
    return StoreUnusable(DAMAGED.format(path=path, error=" ".join(finding.split())))
