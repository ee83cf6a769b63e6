"""A PostgreSQL behind DATABASE_URL: commands read it, and nothing ever shows the password."""

import json
from contextlib import closing
from pathlib import Path

import pytest

from liqctl.cli.connect import stop_file_of
from liqctl.cli.redact import redact
from liqctl.config import Settings
from liqctl.keeper.checkup_host import database_checks
from liqctl.keeper.finding import State
from liqctl.store.open import open_store
from tests.cli.records import run
from tests.store.postgres_server import fresh_url, server
from tests.store.records import OK, attempt, liquidation, queue_row, request

SECRET = "s3cret-pw"  # noqa: S105 - it opens nothing


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> str:
    url = fresh_url("commands").replace("postgres@", f"postgres:{SECRET}@")
    with closing(open_store(url)) as store:
        claim = store.claim(request(), "me", 0, 60_000)
        assert claim is not None
        assert store.record_attempt(claim, attempt(claim), 1)
        store.end_attempt(
            "sig", OK, liquidation=liquidation(), failure=None, intent_state=None, now_ms=2
        )
        store.put_queue([queue_row("waiting")], [])
    monkeypatch.setenv("DATABASE_URL", url)
    return url


@pytest.mark.parametrize(
    "text, shown",
    [
        (f"postgresql://me:{SECRET}@/db?host=/s", "postgresql:///..."),
        (f"postgresql://me:{SECRET}@db:5432/x?sslmode=require", "postgresql://db:5432/..."),
        (f"postgres://me:a/{SECRET}@db/x", "postgres://db/..."),
        (f"postgres://me:a#{SECRET}@db/x", "postgres://db/..."),
        (f"postgres://me:a@{SECRET}@db/x", "postgres://db/..."),
        (f'postgres://me:a"{SECRET}@db/x', "postgres://db/..."),
        (f"postgres://me:a?{SECRET}@db/x", "postgres://..."),
        (f"postgresql+asyncpg://me:{SECRET}@a:1,b:2/x", "postgresql+asyncpg://a:1,b:2/..."),
        (f"postgresql://db/x?user=me&password={SECRET}", "postgresql://db/..."),
        (f"postgresql:///x?password={SECRET}&options=a@b", "postgresql://..."),
        (f"postgresql://me:{SECRET}", "postgresql://..."),
        (f"posgresql://me:{SECRET}@/x", "posgresql:///..."),
        (f"mysql+pymysql://me:{SECRET}@/x", "mysql+pymysql:///..."),
        ("postgresql://[::1]:5432", "postgresql://[::1]:5432"),
        (f'{{"url":"postgres://me:{SECRET}@db/x","n":1}}', '{"url":"postgres://db/...","n":1}'),
        (f"(postgres://me:{SECRET}@a:1,b/x), then", "(postgres://a:1,b/...), then"),
        (f"no postgres://me:{SECRET}@db/x today", "no postgres://db/... today"),
    ],
)
def test_of_a_database_url_stays_where_the_server_is(text, shown):
    assert redact(text) == shown


def test_history_and_queue_read_it_and_config_hides_the_password(url):
    assert '"signature":"sig"' in run("history", "--json").stdout
    assert '"waiting"' in run("queue", "--json").stdout
    for command in (
        ("config", "show"),
        ("config", "show", "--json"),
        ("watch", "--stop", "--json"),
    ):
        done = run(*command)
        assert done.exit_code == 0
        assert "postgresql:///..." in done.output
        assert SECRET not in done.output


@pytest.mark.parametrize("command", [("history",), ("queue",), ("watch", "--stop")])
def test_a_server_that_refuses_or_is_away_is_an_error_without_the_password(
    monkeypatch, command, tmp_path
):
    good = server().url("commands").replace("postgres@", f"guarded:{SECRET}@")
    for url, code in ((good, 2), (good.replace(str(server().folder), str(tmp_path)), 1)):
        monkeypatch.setenv("DATABASE_URL", url)

        done = run(*command)

        assert done.exit_code == code
        assert SECRET not in done.output
        assert len(done.stderr.splitlines()) == 1


def test_beside_a_database_on_a_server_there_is_no_file_that_stops():
    server_side, file = (
        Settings.model_construct(database_url=url) for url in ("postgresql://db/x", "sqlite:k.db")
    )

    assert stop_file_of(server_side) is None
    assert stop_file_of(file) == Path("STOP")


def test_a_doctor_looks_at_the_tables_on_the_server(url):
    states = {one.name: (one.state, one.found) for one in database_checks(url, "cluster", 2)}

    assert {state for state, _ in states.values()} == {State.OK, State.SKIPPED}
    assert states["database"][1].startswith("liqctl at ")
    assert SECRET not in json.dumps(states)


def test_a_doctor_says_of_an_empty_or_unreachable_database_what_to_do(url, tmp_path):
    [empty, *_] = database_checks(fresh_url("commands"), "cluster", 2)
    assert (empty.state, "`liqctl watch` creates them" in empty.found) == (State.WARN, True)

    away = url.replace(str(server().folder), str(tmp_path))
    [absent, *rest] = database_checks(away, "cluster", 2)
    assert absent.state == State.FAIL
    assert {one.state for one in rest} == {State.SKIPPED}
