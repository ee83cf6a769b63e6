from contextlib import closing

import pytest

from liqctl.store.open import open_store
from tests.server.world import HUGE, application, asking


async def test_stats_add_up_what_was_recorded(client):
    found = (await client.get("/stats")).json()

    assert found["totals"] == {
        "full": 3,
        "partial": 2,
        "failed": 3,
        "lost_races": 1,
        "rewards": 5 * 2_130_000,
        "bad_debt": 5 * 40,
        "bad_debt_uncovered": 0,
        "fees_lamports": 5 * 5_000,
    }
    assert found["attempts"] == {"FINALIZED_OK": 5, "SIGNED": 1}
    assert found["failures"] == {"oracle": 3, "lost_race": 1}
    assert found["success_bps"] == 10_000
    assert found["latency"] == {"count": 5, "p50_us": 300, "p99_us": 500}


async def test_stats_by_day_and_market_cover_the_days_asked_for(client):
    all_days = (await client.get("/stats")).json()
    two_days = (await client.get("/stats?days=2")).json()

    assert [row["day"] for row in all_days["days"]] == [f"2023-11-{n}" for n in range(10, 15)]
    assert [row["symbol"] for row in all_days["days"]] == ["BTC"] * 2 + ["SOL-PERP"] * 3
    markets = {row["symbol"]: row for row in all_days["markets"]}
    assert markets["BTC"]["size"] == str(1_500_000_000 + HUGE)
    assert (markets["SOL-PERP"]["full"], markets["SOL-PERP"]["partial"]) == (2, 1)
    assert [row["day"] for row in two_days["days"]] == ["2023-11-13", "2023-11-14"]
    assert two_days["totals"] == all_days["totals"]


async def test_events_follow_one_another_and_keep_every_digit(client):
    first = (await client.get("/events?limit=2")).json()
    rest = (await client.get(f"/events?since={first['next_since']}")).json()

    assert [event["seq"] for event in first["items"]] == [1, 2]
    assert [event["type"] for event in first["items"]] == ["liquidation"] * 2
    assert rest["items"][0]["seq"] == 3
    assert rest["last_seq"] == rest["next_since"] == rest["items"][-1]["seq"]
    assert not first["gap"]
    [queued] = [event for event in rest["items"] if event["type"] == "queue"]
    assert queued["size"] == str(HUGE)


async def test_events_of_one_type_go_on_behind_those_of_others(client):
    found = (await client.get("/events?type=queue&limit=2")).json()

    assert found["items"] == []
    assert found["next_since"] == 2


async def test_a_type_that_no_event_has_is_refused_with_those_there_are(client):
    answer = await client.get("/events?type=nope")

    assert answer.status_code == 422
    assert "price_update" in answer.text


@pytest.mark.parametrize("since, gap", [(0, True), (3, True), (4, False), (7, False), (8, True)])
async def test_events_tell_when_some_are_gone_for_good(own_file, since, gap):
    with closing(open_store(f"sqlite:{own_file}")) as store:
        last_seq = store.last_seq()
        store.prune_events(last_seq - 4)

    async with asking(application(own_file)) as client:
        found = (await client.get(f"/events?since={since}")).json()

    assert last_seq == 7
    assert found["gap"] is gap


async def test_alerts_are_listed_and_those_that_hold_can_be_asked_for(client):
    everything = (await client.get("/alerts")).json()["items"]
    firing = (await client.get("/alerts?state=firing")).json()["items"]

    assert [alert["rule"] for alert in everything] == ["no_progress"]
    assert firing == everything
