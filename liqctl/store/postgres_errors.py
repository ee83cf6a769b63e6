"""psycopg's errors as the store's: what the server said, and what to do about it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import errors

from liqctl.errors import StoreBusy, StoreError, StoreUnusable

AWAY = (
    "the database {place} cannot be reached ({said}); "
    "nothing is signed meanwhile, and no restart is needed"
)
RIGHTS = (
    "the database {place} refuses ({said}); grant the user of DATABASE_URL the rights, "
    "or make it the owner of schema and tables"
)
FOREIGN = (
    "the database {place} does not have the tables of liqctl ({said}); name another database, or "
    "a schema of its own with ?options=-csearch_path%3DSCHEMA in DATABASE_URL"
)

# libpq tells why it could not connect in words only; those it does not know mean: away.
REFUSED: tuple[tuple[str, type[StoreError], str], ...] = (
    (
        r"password|authentication failed|role .* (does not exist|is not permitted to log in)",
        StoreUnusable,
        "the database {place} refuses user or password ({said}); correct DATABASE_URL or PGPASSFILE",
    ),
    (
        r"database .* does not exist",
        StoreUnusable,
        "there is no database {place} ({said}); create it with `createdb`, or correct DATABASE_URL",
    ),
    (r"permission denied|is not currently accepting connections", StoreUnusable, RIGHTS),
    (
        r"no pg_hba\.conf entry|pg_hba\.conf rejects",
        StoreUnusable,
        "the database {place} does not admit this user from this host ({said}); "
        "add a line to the server's pg_hba.conf, or set sslmode in DATABASE_URL",
    ),
    (
        r"\bSSL\b|\bTLS\b|certificate|sslmode|sslrootcert",
        StoreUnusable,
        "no verified TLS connection to the database {place} ({said}); name the file of its "
        "authority with ?sslrootcert=FILE in DATABASE_URL, or choose another sslmode knowingly",
    ),
)

KINDS: tuple[
    tuple[type[psycopg.Error] | tuple[type[psycopg.Error], ...], type[StoreError], str], ...
] = (
    (
        (
            errors.LockNotAvailable,
            errors.QueryCanceled,
            errors.SerializationFailure,
            errors.DeadlockDetected,
        ),
        StoreBusy,
        "the database {place} is locked by another process ({said}); try again, "
        "or find the session that holds the lock in pg_locks",
    ),
    (
        errors.FeatureNotSupported,
        StoreBusy,
        "the tables of the database {place} have been changed by another process ({said}); "
        "try again",
    ),
    (
        errors.ReadOnlySqlTransaction,
        StoreUnusable,
        "the database {place} is read-only; name its primary server in DATABASE_URL",
    ),
    (errors.InsufficientPrivilege, StoreUnusable, RIGHTS),
    (
        (
            errors.UndefinedTable,
            errors.UndefinedColumn,
            errors.UndefinedFunction,
            errors.DuplicateTable,
            errors.DuplicateObject,
            errors.DuplicateFunction,
            errors.InvalidSchemaName,
        ),
        StoreUnusable,
        FOREIGN,
    ),
    (
        errors.DiskFull,
        StoreError,
        "the disk of the database {place} is full; free some space: "
        "nothing is signed meanwhile, and no restart is needed",
    ),
    (
        (errors.DataCorrupted, errors.IndexCorrupted),
        StoreUnusable,
        "the database {place} is damaged ({said}); restore it from a backup",
    ),
    (
        (psycopg.IntegrityError, psycopg.DataError),
        StoreError,
        "the database {place} refused: {said}",
    ),
    (psycopg.OperationalError, StoreBusy, AWAY),
    (psycopg.InterfaceError, StoreBusy, AWAY),
)


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn what psycopg raises within into the store's errors, which name the database."""
    try:
        yield
    except psycopg.Error as error:
        raise store_error(error, place) from error


def store_error(error: psycopg.Error, place: str) -> StoreError:
    """Return the store's error for one that a statement met."""
    for kind, ours, text in KINDS:
        if isinstance(error, kind):
            return ours(text.format(place=place, said=_said(error)))
    return StoreError(f"the database {place} refused: {_said(error)}")


def connect_error(error: psycopg.Error, place: str) -> StoreError:
    """Return the store's error for a connection that was not made."""
    said = _said(error)
    for pattern, ours, text in REFUSED:
        if re.search(pattern, said):
            return ours(text.format(place=place, said=said))
    return StoreBusy(AWAY.format(place=place, said=said))


def _said(error: psycopg.Error) -> str:
    """Return the essence of a message in one line; values of rows, which may be long, stay out."""
    text = error.diag.message_primary or str(error).strip().splitlines()[0]
    return re.sub(r"^.* failed: (?:FATAL: *)?", "", " ".join(text.split()))
