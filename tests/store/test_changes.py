"""Whoever follows the events of another process hears of them at once, also after an outage."""

import asyncio
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from liqctl.errors import SettingsError
from liqctl.ports import SystemClock
from liqctl.store import changes as module
from liqctl.store.changes import Changes, open_changes
from liqctl.store.open import open_store
from tests.store.postgres_server import fresh_url, server

LONG_S = 20.0


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = f"sqlite:{tmp_path / 'k.db'}" if request.param == "sqlite" else fresh_url("changes")
    open_store(url).close()
    return url


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)


async def during(changes: Changes, action: Callable[[], object]) -> bool:
    """Return the answer of one that waits while something happens."""
    waiting = asyncio.create_task(changes.changed(LONG_S))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    action()
    return await waiting


async def test_the_first_look_is_a_change_and_then_each_commit_of_somebody_else(url):
    changes = open_changes(url, SystemClock())
    with closing(open_store(url)) as store:
        assert await changes.changed(LONG_S)
        assert not await changes.changed(0.01)

        assert await during(changes, lambda: store.append_event("queue", "{}", 1))
        assert not await changes.changed(0.01)

        store.append_event("queue", "{}", 2)
        assert await changes.changed(LONG_S)
    await changes.close()


async def test_many_events_between_two_looks_are_one_change_or_a_few(url):
    changes = open_changes(url, SystemClock())
    with closing(open_store(url)) as store:
        assert await changes.changed(LONG_S)
        for n in range(50):
            store.append_event("queue", "{}", n)

        looks = 0
        while await changes.changed(0.05):
            looks += 1
        assert 1 <= looks <= 50
    await changes.close()


async def test_who_waits_can_be_cancelled_and_closed(url):
    changes = open_changes(url, SystemClock())
    assert await changes.changed(LONG_S)
    waiting = asyncio.create_task(changes.changed(LONG_S))
    await asyncio.sleep(0.02)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    await changes.close()


async def test_after_an_outage_of_the_server_the_next_look_is_a_change():
    url = fresh_url("changes")
    open_store(url).close()
    changes = open_changes(url, SystemClock())
    assert await changes.changed(LONG_S)

    server().crash()
    try:
        assert not await changes.changed(0.05)
        assert not await changes.changed(0.05)
    finally:
        server().start()

    assert await changes.changed(LONG_S)
    assert not await changes.changed(0.01)
    await changes.close()


async def test_a_database_that_is_moved_away_and_comes_back_is_followed(tmp_path):
    path = tmp_path / "k.db"
    changes = open_changes(f"sqlite:{path}", SystemClock())
    assert not await changes.changed(0.01)

    open_store(f"sqlite:{path}").close()
    assert await changes.changed(LONG_S)
    assert not await changes.changed(0.01)
    open_store(f"sqlite:{tmp_path / 'other.db'}").close()
    path.rename(tmp_path / "moved.db")
    assert not await changes.changed(0.01)
    (tmp_path / "other.db").rename(path)
    assert await changes.changed(1)
    await changes.close()


def test_a_url_that_is_not_understood_is_refused_at_once():
    with pytest.raises(SettingsError):
        open_changes("postgresql://u:p@h:port/x", SystemClock())
