"""From a database URL to an open store."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from liqctl.errors import SettingsError
from liqctl.ports import Store
from liqctl.store.connection import MEMORY
from liqctl.store.sqlite import SqliteStore

BUSY_TIMEOUT_MS = 5_000
SQLITE_SCHEMES = {"sqlite", "sqlite+aiosqlite", "sqlite+pysqlite"}


def open_store(
    url: str,
    *,
    create: bool = True,
    read_only: bool = False,
    busy_timeout_ms: int | None = None,
) -> Store:
    """Return the store that a DATABASE_URL names, migrated to this version unless `read_only`.

    A store that is opened `read_only` never writes, neither the database nor its schema, and
    works beside a running keeper. An SQLite file that another program keeps locked is waited for
    as long as `busy_timeout_ms`.

    Raises:
        SettingsError: the URL is not understood, the package for PostgreSQL is not installed, or
            the database is missing and not to be created.
        StoreUnusable: the file or server cannot be used.
        StoreBusy: another program kept it locked, or the server is away.
    """
    if is_postgres(url):
        return _postgres_store(url, create=create, read_only=read_only)
    return SqliteStore.open(
        sqlite_path(url),
        create=create,
        read_only=read_only,
        busy_timeout_ms=BUSY_TIMEOUT_MS if busy_timeout_ms is None else busy_timeout_ms,
    )


def is_postgres(url: str) -> bool:
    """Return whether a database URL is one of PostgreSQL, whatever driver it names.

    >>> is_postgres("postgresql+asyncpg://db/liqctl"), is_postgres("sqlite:postgres")
    (True, False)
    """
    return url.partition(":")[0].partition("+")[0] in {"postgres", "postgresql"}


def server_place(url: str) -> str:
    """Return what may be shown of a PostgreSQL URL: the names of database and host.

    Raises:
        SettingsError: it cannot be read, or the package for PostgreSQL is not installed.
    """
    with _needing_psycopg():
        from liqctl.store.postgres_url import target_of  # noqa: PLC0415 - psycopg takes 120 ms
    return target_of(url).place


def _postgres_store(url: str, *, create: bool, read_only: bool) -> Store:
    with _needing_psycopg():
        from liqctl.store.postgres import PostgresStore  # noqa: PLC0415 - psycopg takes 120 ms
    return PostgresStore.open(url, create=create, read_only=read_only)


@contextmanager
def _needing_psycopg() -> Iterator[None]:
    try:
        yield
    except ImportError as error:
        raise SettingsError(
            "for PostgreSQL a package is missing: run pip install 'liqctl[postgres]'"
        ) from error


def sqlite_path(url: str) -> str:
    """Return the file that a URL names, or `:memory:`; a driver of SQLAlchemy's is left out.

    >>> sqlite_path("sqlite:liquidation_engine.db"), sqlite_path("sqlite:////var/lib/liqctl.db")
    ('liquidation_engine.db', '/var/lib/liqctl.db')
    >>> sqlite_path("sqlite+aiosqlite:///liqctl.db")
    'liqctl.db'

    Raises:
        SettingsError: it is not `sqlite:FILE`, `sqlite:///FILE` or `sqlite::memory:`.
    """
    scheme, colon, rest = url.partition(":")
    if not colon or scheme not in SQLITE_SCHEMES:
        raise SettingsError(
            "the database URL must look like sqlite:FILE or postgresql://HOST/DATABASE"
        )
    if rest.startswith("///"):
        return _file(_unambiguous(rest.removeprefix("///")))
    if rest.startswith("//"):
        raise SettingsError(f"{url} has two slashes; write sqlite:FILE or sqlite:///FILE")
    return _file(rest)


def _file(name: str) -> str:
    if not name:
        raise SettingsError("the database URL names no file; write sqlite:FILE")
    if "?" in name or "\0" in name:
        raise SettingsError(f"options are not understood in sqlite:{name!r}; write sqlite:FILE")
    return name if name == MEMORY else str(Path(name).expanduser())


def _unambiguous(name: str) -> str:
    """Return `name`, which is relative by the convention of Python's libraries.

    Others read three slashes as an absolute path. Where only that reading leads to an existing
    directory, a database in a new place would be a surprise.
    """
    relative, absolute = Path(name).parent, Path("/", name).parent
    try:
        elsewhere = not relative.exists() and absolute.exists()
    except OSError:  # it may not be looked at, so it is there
        elsewhere = True
    if elsewhere:
        raise SettingsError(
            f"sqlite:///{name} means the relative path {name}; "
            f"write sqlite:/{name} if /{name} is meant, or sqlite:./{name}"
        )
    return name
