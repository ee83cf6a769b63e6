import json
from contextlib import closing

import pytest

from liqctl.server.token import TokenFile
from liqctl.store.open import open_store
from liqctl.testing import ManualClock
from tests.core.statuses import status
from tests.server.guarded import written
from tests.server.world import BEARER, NOW_MS, TOKEN, application, asking


def _put(file, venue, shown, at_ms=NOW_MS):
    with closing(open_store(f"sqlite:{file}")) as store:
        store.put_state(f"keeper:{venue}", json.dumps(shown), at_ms)


async def test_a_keeper_that_is_well_is_healthy_and_shows_its_own_figures(client):
    answer = await client.get("/health")

    assert answer.status_code == 200
    found = answer.json()
    assert (found["status"], found["reasons"]) == ("healthy", [])
    assert found["keepers"] == {"reference": json.loads(json.dumps(status().as_json()))}


async def test_the_worst_keeper_decides_and_every_reason_is_told_worst_first(own_file):
    _put(own_file, "reference", status(held="kill_switch_row", held_ms=5_000).as_json())
    _put(own_file, "jupiter", status().as_json(), NOW_MS - 5_001)

    async with asking(application(own_file)) as client:
        answer = await client.get("/health")

    assert answer.status_code == 503
    found = answer.json()
    assert found["status"] == "unhealthy"
    assert [(each["keeper"], each["code"], each["grade"]) for each in found["reasons"]] == [
        ("jupiter", "keeper_silent", "unhealthy"),
        ("reference", "held", "degraded"),
    ]
    assert found["reasons"][1]["since_ms"] == NOW_MS - 5_000


async def test_a_degraded_keeper_is_not_healthy(own_file):
    _put(own_file, "reference", status(held="kill_switch_row", held_ms=5_000).as_json())

    async with asking(application(own_file)) as client:
        answer = await client.get("/health")

    assert (answer.status_code, answer.json()["status"]) == (503, "degraded")


async def test_no_keeper_is_unhealthy(tmp_path):
    open_store(f"sqlite:{tmp_path}/empty.db").close()

    async with asking(application(tmp_path / "empty.db")) as client:
        answer = await client.get("/health")

    assert answer.status_code == 503
    assert [each["code"] for each in answer.json()["reasons"]] == ["keeper_missing"]


async def test_a_keeper_of_another_version_is_a_reason_and_no_failure(own_file):
    _put(own_file, "reference", {"slot": "new"})

    async with asking(application(own_file)) as client:
        answer = await client.get("/health")

    assert answer.status_code == 503
    assert [each["code"] for each in answer.json()["reasons"]] == ["keeper_unreadable"]


async def test_a_server_without_a_database_is_alive_but_neither_ready_nor_healthy(tmp_path):
    async with asking(application(tmp_path / "missing.db")) as client:
        alive = await client.get("/healthz")
        ready = await client.get("/readyz")
        health = await client.get("/health")

    assert (alive.status_code, ready.status_code, health.status_code) == (200, 503, 503)
    assert ready.json()["error"]["code"] == "database_unusable"
    assert [each["code"] for each in health.json()["reasons"]] == ["database_unusable"]
    assert str(tmp_path) not in ready.text + health.text


async def test_a_stranger_learns_the_grade_and_nothing_else(full_file, tmp_path):
    clock = ManualClock(NOW_MS)
    tokens = TokenFile(written(tmp_path / "token", TOKEN), clock)
    app = application(full_file, clock=clock, tokens=tokens, host="0.0.0.0")  # noqa: S104

    async with asking(app) as client:
        terse = await client.get("/health")
        whole = await client.get("/health", headers=BEARER)

    assert terse.json() == {"status": "healthy"}
    assert {"status", "reasons", "keepers"} == set(whole.json())


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/health", "/liquidations/recent"])
async def test_the_head_of_an_answer_can_be_asked_for(client, path):
    got = await client.get(path)
    head = await client.head(path)

    assert head.status_code == got.status_code == 200
    assert head.headers["content-length"] == got.headers["content-length"]


async def test_the_public_cluster_of_the_database_is_named_and_no_other(own_file):
    shown = []
    for genesis in ("EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG", "1" * 32):
        with closing(open_store(f"sqlite:{own_file}")) as store:
            store.put_state("genesis", json.dumps(genesis), NOW_MS)
        async with asking(application(own_file)) as client:
            shown.append((await client.get("/health")).json().get("cluster"))

    assert shown == ["devnet", None]
