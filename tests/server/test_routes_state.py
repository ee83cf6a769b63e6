import pytest

from tests.server.world import HUGE, OWNERS, address


async def test_positions_come_by_health_and_the_unknown_ones_last(client):
    items = (await client.get("/positions")).json()["items"]

    assert [row["position"] for row in items] == [address(n) for n in range(7)]
    assert items[-1]["health"] is None
    assert items[-1]["liquidatable"] is None
    assert items[-1]["reason"] == "stale_price"


@pytest.mark.parametrize(
    "given, numbers",
    [
        ({"market": "BTC"}, [6]),
        ({"owner": OWNERS[1]}, [1, 3, 5]),
        ({"venue": "jupiter"}, []),
        ({"owner": OWNERS[0], "market": "BTC"}, [6]),
    ],
)
async def test_positions_are_filtered(client, given, numbers):
    items = (await client.get("/positions", params=given)).json()["items"]

    assert [row["position"] for row in items] == [*map(address, numbers)]


async def test_the_distance_is_how_far_the_mark_may_go_in_hundredths_of_a_per_cent(client):
    items = (await client.get("/positions?limit=1")).json()["items"]

    # A long marked at 70 that falls at 60: 10 / 70 = 14.285 %.
    assert items[0]["distance_bps"] == 1_428


async def test_a_position_comes_with_its_place_in_the_queue_and_its_record(client):
    found = (await client.get(f"/positions/{address(0)}")).json()

    assert found["position"]["position"] == address(0)
    assert found["queue"]["state"] == "waiting"
    assert [row["signature"] for row in found["liquidations"]] == ["sig0"]
    assert [row["failure_class"] for row in found["failures"]] == ["oracle"]
    assert found["exclusion"] is None


async def test_a_position_that_is_only_excluded_is_found(client):
    found = (await client.get(f"/positions/{address(8)}")).json()

    assert found["position"] is None
    assert found["exclusion"]["reason"] == "owner asked"


async def test_an_unknown_position_is_not_found_and_no_address_is_malformed(client):
    unknown = await client.get(f"/positions/{'z' * 40}")
    no_address = await client.get("/positions/0OIl")

    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "position_unknown")
    assert no_address.status_code == 422


async def test_prices_tell_their_age_at_the_time_of_the_answer(client):
    items = (await client.get("/prices")).json()["items"]

    by_symbol = {row["symbol"]: row for row in items}
    assert by_symbol["SOL-PERP"]["age_s"] == 4
    assert by_symbol["SOL-PERP"]["price"] == 142_000_000
    assert by_symbol["BTC"]["price"] is None
    assert by_symbol["BTC"]["refusal"] == "price_stale"


@pytest.mark.parametrize("path", ["/prices", "/insurance/balance"])
async def test_a_filter_where_there_is_none_is_refused_and_not_passed_over(client, path):
    assert (await client.get(path)).status_code == 200
    answer = await client.get(path, params={"venue": "reference"})

    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == "query.venue: There is no such parameter."


async def test_the_queue_is_shown_by_health_with_counts_of_everything(client):
    found = (await client.get("/liquidations/pending?state=waiting")).json()

    assert [row["position"] for row in found["items"]] == [address(0)]
    assert (found["waiting"], found["in_flight"], found["quarantined"]) == (1, 1, 1)
    assert [row["position"] for row in found["exclusions"]] == [address(8)]


@pytest.mark.parametrize(
    "given, numbers",
    [({}, [1, 2, 0]), ({"symbol": "BTC"}, [2]), ({"venue": "jupiter"}, [])],
)
async def test_the_queue_is_filtered(client, given, numbers):
    items = (await client.get("/liquidations/pending", params=given)).json()["items"]

    assert [row["position"] for row in items] == [*map(address, numbers)]


async def test_the_fund_is_its_latest_balance_and_beyond_2_to_the_53_a_string(client):
    found = (await client.get("/insurance/balance")).json()
    history = (await client.get("/insurance/history")).json()["items"]
    latest = (await client.get("/insurance/history?limit=1")).json()["items"]

    assert found["balance"] == str(2 * HUGE)
    assert [row["balance"] for row in found["funds"]] == [str(2 * HUGE)]
    assert [row["balance"] for row in history] == [str(HUGE), str(2 * HUGE)]
    assert latest == history[1:]
