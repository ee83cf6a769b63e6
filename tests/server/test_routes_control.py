import json
import sqlite3
from contextlib import closing

import pytest

from liqctl.server.token import TokenFile
from liqctl.store.open import open_store
from liqctl.store.switch import KILL_SWITCH
from liqctl.testing import ManualClock
from tests.server.guarded import written
from tests.server.world import BEARER, NOW_MS, TOKEN, application, asking


def _switch(file):
    with closing(open_store(f"sqlite:{file}", read_only=True)) as store:
        return store.state(KILL_SWITCH)


@pytest.fixture
def app(own_file, tmp_path):
    clock = ManualClock(NOW_MS)
    tokens = TokenFile(written(tmp_path / "token", TOKEN), clock)
    return application(own_file, clock=clock, tokens=tokens)


@pytest.mark.parametrize("order, word", [("stop", "stop"), ("resume", "run")])
async def test_the_kill_switch_is_written_where_keepers_read_it(app, own_file, order, word):
    async with asking(app, **BEARER) as client:
        answer = await client.post(f"/control/{order}")

    assert answer.status_code == 200
    assert answer.json() == {"kill_switch": word, "at_ms": NOW_MS}
    assert _switch(own_file) == (json.dumps(word), NOW_MS)


@pytest.mark.parametrize("headers", [{}, {"Authorization": f"Bearer {TOKEN}x"}])
async def test_nothing_is_switched_without_the_token(app, own_file, headers):
    async with asking(app, **headers) as client:
        answer = await client.post("/control/stop")

    assert answer.status_code == 401
    assert _switch(own_file) is None


async def test_nothing_else_can_be_changed(app, own_file):
    before = own_file.read_bytes()
    document = app.openapi()
    changing = [
        (path, method)
        for path, methods in document["paths"].items()
        for method in methods
        if method != "get"
    ]
    async with asking(app, **BEARER) as client:
        for path in document["paths"]:
            for method in ("POST", "PUT", "PATCH", "DELETE"):
                if (path, method.lower()) not in changing:
                    answer = await client.request(method, path)
                    assert answer.status_code == 405, (path, method)
                    assert answer.json()["error"]["code"] == "method_not_allowed"
                    assert "GET" in answer.headers["allow"] or path.startswith("/control/")

    assert changing == [("/control/stop", "post"), ("/control/resume", "post")]
    assert own_file.read_bytes() == before


async def test_a_switch_without_a_database_is_refused_as_unavailable(tmp_path):
    clock = ManualClock(NOW_MS)
    tokens = TokenFile(written(tmp_path / "token", TOKEN), clock)
    app = application(tmp_path / "missing.db", clock=clock, tokens=tokens)

    async with asking(app, **BEARER) as client:
        answer = await client.post("/control/stop")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unusable")
    assert not (tmp_path / "missing.db").exists()


async def test_a_database_of_an_older_version_is_not_changed(app, own_file):
    with closing(sqlite3.connect(own_file)) as db:
        db.execute("PRAGMA user_version = 1")

    async with asking(app, **BEARER) as client:
        answer = await client.post("/control/stop")

    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "database_unusable")
    with closing(sqlite3.connect(own_file)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
