"""From a database URL to an open store."""

from pathlib import Path

from liqctl.errors import SettingsError
from liqctl.ports import Store
from liqctl.store.connection import MEMORY
from liqctl.store.sqlite import SqliteStore

BUSY_TIMEOUT_MS = 5_000


def open_store(url: str, *, create: bool = True, read_only: bool = False) -> Store:
    """Return the store that a DATABASE_URL names, migrated to this version unless `read_only`.

    A store that is opened `read_only` never writes, neither the database nor its schema, and
    works beside a running keeper.

    Raises:
        SettingsError: the URL is not understood, or the database is missing and not to be created.
        StoreUnusable: the file cannot be used.
        StoreBusy: another program kept it locked.
    """
    return SqliteStore.open(
        sqlite_path(url), create=create, read_only=read_only, busy_timeout_ms=BUSY_TIMEOUT_MS
    )


def sqlite_path(url: str) -> str:
    """Return the file that a URL names, or `:memory:`.

    >>> sqlite_path("sqlite:liquidation_engine.db"), sqlite_path("sqlite:////var/lib/liqctl.db")
    ('liquidation_engine.db', '/var/lib/liqctl.db')

    Raises:
        SettingsError: it is not `sqlite:FILE`, `sqlite:///FILE` or `sqlite::memory:`.
    """
    scheme, colon, rest = url.partition(":")
    if colon and scheme in {"postgres", "postgresql"}:
        raise SettingsError(
            "PostgreSQL comes with the next release; set DATABASE_URL=sqlite:FILE for now"
        )
    if not colon or scheme != "sqlite":
        raise SettingsError("the database URL must look like sqlite:FILE")
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
    if not relative.exists() and absolute.exists():
        raise SettingsError(
            f"sqlite:///{name} means the relative path {name}; "
            f"write sqlite:/{name} if /{name} is meant, or sqlite:./{name}"
        )
    return name
