"""A database with a row of every kind, and the API over it in the same program."""

import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import httpx
from fastapi import FastAPI

from liqctl.core.intent import IntentState
from liqctl.core.record import Exclusion, QueueState
from liqctl.ports import Clock, Store
from liqctl.server.app import create_app
from liqctl.server.options import ServeOptions
from liqctl.server.token import TokenFile
from liqctl.store.open import open_store
from liqctl.testing import ManualClock
from tests.core.statuses import status
from tests.store import records

NOW_MS = 1_700_000_000_000
DAY_S = 86_400
HUGE = 2**64 + 1
OWNERS = ("A" * 40, "B" * 40)
TOKEN = "t" * 20 + "0123456789abcdef"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def address(number: int) -> str:
    """Return an address of its own for each number below 1000."""
    return "P" * 37 + f"{number:03}".replace("0", "z")


def fill(store: Store) -> None:
    """Write five liquidations, two of another market, and at least one row of everything else."""
    for number in range(5):
        _liquidate(store, number)
    claim = store.claim(records.request(address(7)), "me", 1, 10_000)
    assert claim is not None
    store.record_attempt(claim, records.attempt(claim, "sig7", position=address(7)), 1_005)
    for number in range(3):
        failed = records.failure(position_pubkey=address(number), at_ms=1_000 + number)
        store.record_failure(failed)
    store.record_failure(records.failure("lost_race", symbol="BTC", position_pubkey=address(9)))
    store.put_positions(
        [
            *(
                records.position_row(address(n), 0.9 + n / 10, owner=OWNERS[n % 2])
                for n in range(6)
            ),
            records.unknown_row(address(6), owner=OWNERS[0], symbol="BTC"),
        ],
        [],
    )
    store.put_prices(
        [
            records.price_row(publish_time=NOW_MS // 1_000 - 4),
            records.price_row("other", symbol="BTC", price=None, refusal="price_stale"),
        ]
    )
    store.put_queue(
        [
            records.queue_row(address(0), 0.9),
            records.queue_row(address(1), 0.7, state=QueueState.QUARANTINED, reason="oracle"),
            records.queue_row(address(2), 0.8, state=QueueState.IN_FLIGHT, symbol="BTC"),
        ],
        [],
    )
    store.exclude(Exclusion(position=address(8), reason="owner asked", since_ms=1))
    for at_ms in (1, 2):
        store.record_insurance(records.sample(at_ms, balance=at_ms * HUGE))
    store.append_event("queue", json.dumps({"type": "queue", "size": HUGE}), 7)
    store.put_alert(records.alert(), [], "{}")
    store.put_state("keeper:reference", json.dumps(status().as_json()), NOW_MS - 1_000)


def _liquidate(store: Store, number: int) -> None:
    claim = store.claim(records.request(address(number)), "me", 1, 10_000)
    assert claim is not None
    signature = f"sig{number}"
    # Two attempts of one millisecond: pages must not lose one of them.
    store.record_attempt(
        claim, records.attempt(claim, signature, position=address(number)), 1_000 + number // 2
    )
    row = records.liquidation(
        signature,
        position_pubkey=address(number),
        owner_pubkey=OWNERS[number % 2],
        symbol="SOL-PERP" if number < 3 else "BTC",
        liquidated_size=HUGE if number == 4 else 1_500_000_000,
        is_full_liquidation=number % 2 == 0,
        timestamp=NOW_MS // 1_000 - number * DAY_S,
        decision_latency_us=(number + 1) * 100,
    )
    store.end_attempt(
        signature,
        records.OK,
        liquidation=row,
        failure=None,
        intent_state=IntentState.DONE,
        now_ms=NOW_MS,
    )


def filled(folder: Path) -> Path:
    """Return the file of a filled database."""
    file = folder / "api.db"
    with closing(open_store(f"sqlite:{file}")) as store:
        fill(store)
    return file


def copied(file: Path, folder: Path) -> Path:
    """Return a copy that a test may change."""
    return Path(shutil.copy(file, folder / "copy.db"))


def application(
    file: Path, *, clock: Clock | None = None, tokens: TokenFile | None = None, **options: object
) -> FastAPI:
    given = replace(ServeOptions(database_url=f"sqlite:{file}"), **options)  # type: ignore[arg-type]
    return create_app(given, clock=clock or ManualClock(NOW_MS), tokens=tokens)


@asynccontextmanager
async def asking(app: FastAPI, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a client of the application within this program."""
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=transport, base_url="http://localhost", headers=headers
        ) as client,
    ):
        yield client
