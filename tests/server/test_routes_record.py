import csv
import io

import httpx
import pytest

from tests.server.world import DAY_S, HUGE, NOW_MS, OWNERS, address

LISTS = {
    "/liquidations/recent": "id",
    "/failures": "id",
    "/attempts": "signature",
    "/positions": "position",
    "/liquidations/pending": "position",
}


async def _pages(client: httpx.AsyncClient, url: str) -> list[list[dict[str, object]]]:
    pages = []
    following: str | None = url
    while following is not None:
        answer = await client.get(following)
        assert answer.status_code == 200, answer.text
        body = answer.json()
        pages.append(body["items"])
        following = body["next"]
        linked = answer.links["next"]["url"] if "next" in answer.links else None
        assert linked == following
        assert (body["next_cursor"] is None) == (following is None)
    return pages


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", [1, 2, 3])
async def test_pages_hold_every_row_once_and_in_order(client, path, limit):
    [whole] = await _pages(client, path)

    pages = await _pages(client, f"{path}?limit={limit}")

    assert [row for page in pages for row in page] == whole
    assert len({row[LISTS[path]] for row in whole}) == len(whole) >= 3
    assert all(len(page) == limit for page in pages[:-1])
    assert all(pages)


async def test_liquidations_are_shown_with_the_columns_of_the_contract(client):
    answer = await client.get("/liquidations/recent", params={"limit": 1})

    [row] = answer.json()["items"]
    assert list(row)[:13] == [
        *("id", "position_pubkey", "owner_pubkey", "symbol", "liquidated_size"),
        *("liquidation_price", "liquidator_pubkey", "liquidator_reward", "bad_debt"),
        *("health_factor_before", "is_full_liquidation", "timestamp", "created_at"),
    ]
    assert row["position_pubkey"] == address(4)
    assert row["liquidated_size"] == str(HUGE)
    assert row["liquidation_price"] == 142_000_000


@pytest.mark.parametrize(
    "given, numbers",
    [
        ({"symbol": "BTC"}, [4, 3]),
        ({"symbol": "SOL-PERP", "limit": 2}, [2, 1]),
        ({"position": address(1)}, [1]),
        ({"owner": OWNERS[0]}, [4, 2, 0]),
        ({"owner": OWNERS[0], "symbol": "BTC"}, [4]),
        ({"venue": "reference"}, [4, 3, 2, 1, 0]),
        ({"venue": "jupiter"}, []),
        ({"kind": "full"}, [4, 2, 0]),
        ({"kind": "partial"}, [3, 1]),
        ({"since": NOW_MS // 1_000 - DAY_S}, [1, 0]),
        ({"until": NOW_MS // 1_000 - DAY_S}, [4, 3, 2]),
    ],
)
async def test_liquidations_are_filtered(client, given, numbers):
    answer = await client.get("/liquidations/recent", params=given)

    assert [row["position_pubkey"] for row in answer.json()["items"]] == [*map(address, numbers)]


async def test_a_page_keeps_its_filters(client):
    pages = await _pages(client, f"/liquidations/recent?owner={OWNERS[0]}&kind=full&limit=2")

    assert [[row["position_pubkey"] for row in page] for page in pages] == [
        [address(4), address(2)],
        [address(0)],
    ]


@pytest.mark.parametrize(
    "given, count",
    [
        ({}, 4),
        ({"symbol": "BTC"}, 1),
        ({"failure_class": "oracle"}, 3),
        ({"position": address(2)}, 1),
        ({"since_ms": 1_001}, 2),
        ({"until_ms": 1_001}, 2),
    ],
)
async def test_failures_are_filtered(client, given, count):
    answer = await client.get("/failures", params=given)

    assert len(answer.json()["items"]) == count


@pytest.mark.parametrize(
    "given, signatures",
    [
        ({"state": "SIGNED"}, ["sig7"]),
        ({"position": address(3)}, ["sig3"]),
        ({"since_ms": 1_002}, ["sig7", "sig4"]),
        ({"symbol": "BTC"}, []),
        ({"venue": "jupiter"}, []),
    ],
)
async def test_attempts_are_filtered(client, given, signatures):
    answer = await client.get("/attempts", params=given)

    assert [row["signature"] for row in answer.json()["items"]] == signatures


async def test_lists_come_as_csv_to_who_prefers_it(client):
    answer = await client.get("/liquidations/recent", headers={"Accept": "text/csv"})

    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["vary"] == "Accept"
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    listed = (await client.get("/liquidations/recent")).json()["items"]
    assert [row["signature"] for row in rows] == [row["signature"] for row in listed]
    assert list(rows[0]) == list(listed[0])
    assert rows[0]["liquidated_size"] == str(HUGE)
    assert rows[0]["is_full_liquidation"] == "true"


async def test_csv_names_its_columns_when_there_are_no_rows_and_links_the_next_page(client):
    nothing = await client.get("/failures?symbol=ETH", headers={"Accept": "text/csv"})
    first = await client.get("/failures?limit=1", headers={"Accept": "text/csv"})

    assert nothing.text.split(",")[:3] == ["id", "position_pubkey", "symbol"]
    assert first.links["next"]["url"].startswith("/failures?limit=1&cursor=")


@pytest.mark.parametrize("path", LISTS)
async def test_cursors_from_elsewhere_are_refused(client, path):
    async def cursor(url: str) -> str:
        found = (await client.get(url)).json()["next_cursor"]
        assert isinstance(found, str)
        return found

    own = await cursor(f"{path}?limit=1")
    other = await cursor("/failures?limit=1" if path != "/failures" else "/attempts?limit=1")
    for given, code in (
        ({"cursor": other}, "cursor_foreign"),
        ({"cursor": own, "venue" if path != "/failures" else "symbol": "x"}, "cursor_foreign"),
        ({"cursor": own[:-3]}, "cursor_invalid"),
        ({"cursor": "WyJhYmMiXQ"}, "cursor_invalid"),
        ({"cursor": "é"}, "cursor_invalid"),
        ({"cursor": ""}, "cursor_invalid"),
    ):
        answer = await client.get(path, params=given)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), given


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=501", "limit=x", "limit=-1", "limit=1e3"),
        *("limit=99999999999999999999999999", "unknown=1", f"cursor={'x' * 257}"),
    ],
)
async def test_malformed_queries_are_refused(client, path, query):
    answer = await client.get(f"{path}?{query}")

    assert answer.status_code == 422
    assert answer.json()["error"]["code"] == "malformed"


@pytest.mark.parametrize(
    "query", ["symbol=%00", "position=x", "kind=half", "since=-1", "since=2&until=1", "symbol="]
)
async def test_filters_without_sense_are_refused(client, query):
    answer = await client.get(f"/liquidations/recent?{query}")

    assert answer.status_code == 422


async def test_a_page_never_holds_more_than_500_rows_and_500_may_be_asked_for(client):
    assert (await client.get("/liquidations/recent?limit=500")).status_code == 200


async def test_a_time_that_runs_backwards_is_told_in_words_of_ours(client):
    answer = await client.get("/liquidations/recent?since=5&until=1")

    message = "query: since must not be later than until."
    assert answer.json()["error"] == {"code": "malformed", "message": message}
