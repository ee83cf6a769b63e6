"""The API over PostgreSQL, from rows of the same content."""

import pytest

from liqctl.server.app import create_app
from liqctl.server.options import ServeOptions
from liqctl.store.open import open_store
from liqctl.testing import ManualClock
from tests.server.world import NOW_MS, address, asking, fill
from tests.store.postgres_server import fresh_url

PATHS = (
    *("/health", "/readyz", "/prices", "/insurance/balance", "/insurance/history", "/stats"),
    *("/liquidations/recent", "/liquidations/recent?symbol=BTC&kind=full", "/liquidations/pending"),
    *("/failures?limit=2", "/attempts?limit=2", "/positions?limit=3", "/events?since=2", "/alerts"),
    *(f"/positions/{address(0)}", "/positions/" + "z" * 40),
)


@pytest.mark.timeout(120)
async def test_the_answers_are_those_from_sqlite(client):
    url = fresh_url("api")
    store = open_store(url)
    fill(store)
    store.close()

    app = create_app(ServeOptions(database_url=url), clock=ManualClock(NOW_MS))
    async with asking(app) as other:
        for path in PATHS:
            here, there = await client.get(path), await other.get(path)
            assert (path, there.status_code) == (path, here.status_code)
            assert there.json() == here.json(), path
