"""URLs, servers and rights that are wrong: one clear error each, and never the password."""

import socket
import sys
import threading
from contextlib import closing
from urllib.parse import quote

import psycopg
import pytest

from liqctl.errors import SettingsError, StoreBusy, StoreError, StoreUnusable
from liqctl.store.open import open_store, sqlite_path
from liqctl.store.postgres import PostgresStore
from liqctl.store.postgres_url import target_of
from liqctl.store.version import SCHEMA_VERSION
from tests.store.postgres_server import fresh_url, server

SECRET = "s3cret-pw"  # noqa: S105 - it opens nothing


def refused(url: str, message: str, kind: type[Exception] = StoreUnusable) -> None:
    with pytest.raises(kind, match=message) as caught:
        open_store(url)
    error: BaseException | None = caught.value
    assert type(error) is kind
    while error is not None:
        assert SECRET not in repr(error)
        error = error.__cause__


def at(place: str, user: str = "postgres", database: str = "liqctl") -> str:
    return f"postgresql://{user}:{SECRET}@/{database}?{place}&port={server().port}"


def socket_place() -> str:
    return f"host={server().folder}"


def test_a_wrong_password_is_refused():
    refused(at(socket_place(), "guarded"), r"refuses user or password \(password authentication")


def test_the_right_password_opens():
    url = at(socket_place(), "guarded").replace(SECRET, "right")
    with pytest.raises(StoreUnusable, match="refuses"):
        open_store(url)  # the user may log in but not create tables
    with server().admin() as db:
        db.execute("CREATE SCHEMA own AUTHORIZATION guarded")
    with closing(open_store(f"{url}&options={quote('-csearch_path=own', safe='')}")) as store:
        assert store.append_event("queue", "{}", 1) == 1


def test_a_user_that_does_not_exist_is_refused():
    refused(at(socket_place(), "stranger"), 'refuses user or password .role "stranger" does not')


def test_a_database_that_does_not_exist_is_refused():
    refused(at(socket_place(), database="none"), "there is no database none at .* `createdb`")


def test_a_host_where_nobody_listens_is_away(tmp_path):
    refused(at(f"host={tmp_path}"), "cannot be reached .*No such file", StoreBusy)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"postgresql://postgres:{SECRET}@127.0.0.1:{port}/liqctl"
    refused(url, "liqctl at 127.0.0.1:.* cannot be reached .*refused", StoreBusy)


def test_a_server_that_speaks_another_language_is_away():
    with socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            client, _ = other.accept()
            with client:
                client.recv(1_000)
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"postgresql://postgres:{SECRET}@127.0.0.1:{other.getsockname()[1]}/liqctl"
        refused(f"{url}?sslmode=disable&gssencmode=disable", "cannot be reached", StoreBusy)
        thread.join()


def test_a_server_without_tls_is_refused_where_tls_is_wanted():
    for mode in ("require", "verify-full"):
        refused(
            at(f"host=127.0.0.1&sslmode={mode}"), "no verified TLS connection .*sslrootcert=FILE"
        )


def test_a_server_that_does_not_admit_the_user_is_refused():
    refused(at("host=127.0.0.1", "guarded"), "does not admit this user .*pg_hba.conf")


def test_a_newer_schema_is_refused_when_opened_and_when_it_appears_under_an_open_store():
    url = fresh_url("newer")
    store = PostgresStore.open(url, create=True, read_only=False)
    with psycopg.connect(url) as db:
        db.execute("INSERT INTO schema_migration VALUES (%s, 'x')", [SCHEMA_VERSION + 1])

    refused(url, f"has schema {SCHEMA_VERSION + 1}, this liqctl knows {SCHEMA_VERSION}: update")
    store._link.drop()
    with pytest.raises(StoreUnusable, match="update liqctl"):
        store.queue()
    store.close()


@pytest.mark.parametrize("write", [False, True])
def test_a_column_that_another_process_changed_fails_one_call_and_no_more(write):
    url = fresh_url("changed")
    with closing(open_store(url)) as store, psycopg.connect(url, autocommit=True) as other:

        def work() -> object:
            return store.append_event("queue", "{}", 1) if write else store.prices()

        for _ in range(10):
            work()
        table, column = ("events", "seq") if write else ("prices", "max_age_s")
        other.execute(f"ALTER TABLE {table} ALTER {column} TYPE NUMERIC".encode())

        with pytest.raises(StoreBusy, match=r"have been changed .*cached plan must not change"):
            work()
        assert work() == (11 if write else [])


def test_an_older_schema_is_migrated_by_a_writer_and_refused_by_a_reader():
    url = fresh_url("older")
    with pytest.raises(SettingsError, match="`liqctl watch` creates them"):
        open_store(url, create=False)
    with pytest.raises(SettingsError, match="`liqctl watch` creates them"):
        open_store(url, create=False, read_only=True)
    open_store(url).close()
    with psycopg.connect(url) as db:
        db.execute("DROP INDEX attempt_unpriced")
        db.execute("DROP TABLE positions, prices, alert_delivery, alert")
        db.execute("DROP INDEX liquidations_by_owner, liquidations_by_time, intent_by_position")
        db.execute("DROP INDEX attempt_by_state")
        db.execute("ALTER TABLE attempt DROP COLUMN cost_lamports CASCADE")
        db.execute("CREATE VIEW spend AS SELECT sig, signed_ms, 0 AS lamports FROM attempt")
        db.execute("DELETE FROM schema_migration WHERE version > 1")

    with pytest.raises(StoreUnusable, match="older than schema"):
        open_store(url, create=False, read_only=True)
    with closing(open_store(url, create=False)) as store:
        assert store.firing() == []


def test_a_migration_that_fails_leaves_nothing_of_it():
    url = fresh_url("halfway")
    with psycopg.connect(url) as db:
        db.execute("CREATE TABLE positions (mine TEXT)")

    refused(url, 'does not have the tables of liqctl .relation "positions" already exists')
    with psycopg.connect(url) as db:
        assert db.execute("SELECT MAX(version) FROM schema_migration").fetchone() == (2,)
        assert db.execute("SELECT to_regclass('alert')").fetchone() == (None,)


def test_any_number_may_create_one_schema_at_once():
    url = fresh_url("together")
    made: list[int] = []
    start = threading.Barrier(4)

    def create() -> None:
        start.wait()
        with closing(open_store(url)) as store:
            made.append(store.append_event("queue", "{}", 1))

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(made) == [1, 2, 3, 4]


def test_a_user_without_rights_on_the_tables_is_told():
    url = fresh_url("closed")
    open_store(url).close()
    with server().admin() as db:
        db.execute("GRANT USAGE ON SCHEMA closed TO guarded")
    guarded = url.replace("postgres@", f"guarded:{quote('right')}@")

    refused(guarded, "refuses .permission denied for table schema_migration")


def test_a_schema_that_is_not_there_is_told():
    url = at(socket_place()) + "&options=-csearch_path%3Dnowhere"

    refused(url, "has no schema to use")


def test_a_standby_can_be_read_but_not_written():
    url = fresh_url("standby")
    open_store(url).close()
    with server().as_standby():
        refused(url, "is a read-only standby; name its primary")
        with closing(open_store(url, create=False, read_only=True)) as store:
            assert store.queue() == []


def test_without_the_package_it_is_said_what_to_install(monkeypatch):
    for name in [n for n in sys.modules if n.startswith(("liqctl.store.postgres", "psycopg"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with pytest.raises(SettingsError, match=r"pip install 'liqctl\[postgres\]'"):
        open_store("postgresql://db/liqctl")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}/x@db/liqctl",
        f"postgresql://me:x@{SECRET}@db/liqctl",
        f"postgresql://me:{SECRET}@db:port/liqctl",
        f"postgresql://me:{SECRET}@db/liqctl?nonsense=1",
        f"postgresql://me:{SECRET}%zz@db/liqctl",
        f"postgresql://me:{SECRET}@[::1/liqctl",
        f"postgresql://me:123?{SECRET}@db/liqctl",
        f"postgresql://me:123#{SECRET}@db/liqctl",
    ],
)
def test_a_url_that_cannot_be_read_is_not_shown(url):
    refused(url, "the PostgreSQL URL .*%40 for @", SettingsError)


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg", "postgres+x"]
)
def test_the_urls_of_other_libraries_lead_to_the_same_place(scheme):
    target = target_of(f"{scheme}://me:p%40ss@db.example.com:6543/liq%20ctl?sslmode=require")

    assert target.parameters == {
        "user": "me",
        "password": "p@ss",
        "host": "db.example.com",
        "port": "6543",
        "dbname": "liq ctl",
        "sslmode": "require",
    }
    assert target.place == "liq ctl at db.example.com:6543"
    assert "p@ss" not in repr(target)


@pytest.mark.parametrize(
    "query, found",
    [
        ("ssl=require", {"sslmode": "require"}),
        ("ssl=true", {"sslmode": "require"}),
        ("ssl-mode=verify-ca&sslrootcert=f", {"sslmode": "verify-ca", "sslrootcert": "f"}),
        ("sslmode=disable&statement-cache-capacity=10", {"sslmode": "disable"}),
        ("", {"sslmode": "verify-full", "sslrootcert": "system"}),
        ("sslrootcert=f", {"sslmode": "verify-full", "sslrootcert": "f"}),
        (
            "sslmode=disable&options[search_path]=a&options=-c%20work_mem%3D4MB",
            {"sslmode": "disable", "options": "-c search_path=a -c work_mem=4MB"},
        ),
    ],
)
def test_options_are_understood_as_other_libraries_spell_them(monkeypatch, query, found):
    monkeypatch.delenv("PGSSLMODE", raising=False)
    target = target_of(f"postgresql://db/x?{query}")

    assert {k: v for k, v in target.parameters.items() if k not in {"host", "dbname"}} == found


@pytest.mark.parametrize(
    "place, verified",
    [
        ("localhost/x", False),
        ("127.0.0.1:5432/x", False),
        ("[::1]/x", False),
        ("/x", False),
        ("/x?host=/run/postgresql", False),
        ("%2Frun%2Fpostgresql/x", False),
        ("10.0.0.1/x", True),
        ("localhost,db/x", True),
        ("localhost/x?hostaddr=10.0.0.1", True),
        ("localhost.example.com/x", True),
    ],
)
def test_a_server_on_another_host_must_prove_its_name(monkeypatch, place, verified):
    monkeypatch.delenv("PGSSLMODE", raising=False)
    monkeypatch.delenv("PGHOST", raising=False)

    assert (target_of(f"postgres://{place}").parameters.get("sslmode") == "verify-full") is verified


def test_a_url_of_postgres_is_no_file():
    with pytest.raises(SettingsError):
        sqlite_path("postgresql://db/liqctl")


def test_an_error_of_the_server_is_told_in_one_line():
    url = fresh_url("line")
    with closing(open_store(url)) as store, pytest.raises(StoreError) as caught:
        store.put_state("x", "{", 1)

    assert "\n" not in str(caught.value)
    assert "invalid input syntax for type json" in str(caught.value)
