"""What an engine gives to the statements: transactions, and functions made of the SQL files.

An engine is a subclass of `SqlStore` that sets two attributes and defines six methods:

* `_sql`: what aiosql makes of `statements(engine)` with the engine's own adapter. `queries.sql` is
  for every engine; `<engine>.sql` has the few statements that cannot be, under the same names.
* `_name`: what messages call the database; no password in it.
* `_reading()`, `_snapshot()`, `_writing()`: see below. Each yields what aiosql takes as connection.
* `version()`, `hurry()` and `close()`.

Many rows are written in the order of their keys: writers that took them in different orders would
wait for one another. Rows are read by column name (`row["id"]`, `dict(row)`). Amounts go in as `int` or, beyond 63 bits,
as decimal digits, and everything numeric comes out through `int()`: a NUMERIC column will do.
Flags go in as `bool` and come out through `bool()`. Text that rows are ordered by must be compared
by code points (in PostgreSQL: COLLATE "C").
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from importlib import resources
from typing import Any


def statements(engine: str) -> str:
    """Return the SQL of an engine: the common statements and its own."""
    files = resources.files("liqctl.store")
    return "\n".join(
        files.joinpath(name).read_text(encoding="utf-8")
        for name in ("queries.sql", f"{engine}.sql")
    )


class SqlSession(ABC):
    """One open database; all three blocks raise the store's own errors."""

    _sql: Any
    _name: str

    @abstractmethod
    def _reading(self) -> AbstractContextManager[Any]:
        """Give the connection for one statement that reads."""

    @abstractmethod
    def _snapshot(self) -> AbstractContextManager[Any]:
        """Give the connection for several statements that read one moment."""

    @abstractmethod
    def _writing(self) -> AbstractContextManager[Any]:
        """Give the connection to one writer at a time: all of the block is durable, or nothing."""
