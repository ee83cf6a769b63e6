import sqlite3
from contextlib import closing

import pytest

from liqctl.ports import SystemClock
from tests.server.world import application, asking


async def test_a_database_that_goes_and_comes_back_is_served_without_a_restart(own_file, tmp_path):
    async with asking(application(own_file)) as client:
        before = await client.get("/liquidations/recent?limit=3")
        own_file.rename(tmp_path / "gone.db")
        gone = await client.get("/failures")
        ready = await client.get("/readyz")
        (tmp_path / "gone.db").rename(own_file)
        after = await client.get("/liquidations/recent?limit=3")

    assert (before.status_code, gone.status_code, ready.status_code) == (200, 503, 503)
    assert gone.json()["error"]["code"] == "database_unusable"
    assert gone.headers["retry-after"] == "1"
    assert after.json() == before.json()


async def test_a_locked_database_is_told_and_served_again(own_file, monkeypatch):
    monkeypatch.setattr("liqctl.server.app.LOCK_WAIT_MS", 20)
    async with asking(application(own_file, clock=SystemClock())) as client:
        with closing(sqlite3.connect(own_file, isolation_level=None)) as other:
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            other.execute("BEGIN EXCLUSIVE")
            locked = await client.get("/liquidations/recent")
        after = await client.get("/liquidations/recent")

    assert (locked.status_code, locked.json()["error"]["code"]) == (503, "database_busy")
    assert after.status_code == 200


@pytest.mark.parametrize(
    "path", ["/nothing", "/static/nothing", "/static/../app.py", "/positions/"]
)
async def test_an_unknown_path_is_not_found_in_the_shape_of_every_error(client, path):
    answer = await client.get(path)

    assert answer.status_code == 404
    assert answer.json() == {"error": {"code": "not_found", "message": "Not Found."}}


async def test_a_bug_is_told_without_its_text(full_file, caplog):
    app = application(full_file)

    def broken(_store):
        raise RuntimeError("secret")

    app.state.reader.run = broken
    async with asking(app) as client:
        answer = await client.get("/prices")

    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal_error"
    assert "secret" not in answer.text


async def test_what_is_wrong_with_a_query_is_told_without_repeating_it(client):
    answer = await client.get("/attempts?state=%3Cscript%3E&a=1&b=2&c=3&limit=0")

    message = answer.json()["error"]["message"]
    assert "query.limit: Input should be greater than or equal to 1" in message
    assert "script" not in message
    assert message.endswith("more.")
