import asyncio
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import pytest
from structlog.testing import capture_logs

from liqctl.errors import StoreBusy, StoreError, StoreUnusable
from liqctl.ports import SystemClock
from liqctl.server import reader as reader_module
from liqctl.server.reader import Reader, Source
from liqctl.store.open import open_store
from liqctl.store.place import place_of
from liqctl.testing import ManualClock
from tests.store import records


def _reader(file, clock=None):
    url = f"sqlite:{file}"
    source = Source(
        open=partial(open_store, url, create=False, read_only=True, busy_timeout_ms=20),
        place=partial(place_of, url),
    )
    return Reader(source, clock or SystemClock())


def _count(store):
    return len(store.insurance_history(500))


def _record(file):
    with closing(open_store(f"sqlite:{file}")) as store:
        store.record_insurance(records.sample(3))


async def test_a_database_that_comes_later_is_read_as_soon_as_it_is_there(own_file, tmp_path):
    reader = _reader(tmp_path / "later.db")
    with pytest.raises(StoreUnusable, match=r"there is no database at .*later\.db"):
        await reader.run(_count)

    shutil.copy(own_file, tmp_path / "later.db")

    assert await reader.run(_count) == 2
    await reader.close()


async def test_another_database_in_the_place_of_the_first_is_read_at_once(own_file, tmp_path):
    reader = _reader(own_file)
    first = await reader.version()
    assert await reader.run(_count) == 2
    own_file.rename(tmp_path / "old.db")
    with pytest.raises(StoreUnusable):
        await reader.run(_count)

    open_store(f"sqlite:{own_file}").close()

    assert await reader.run(_count) == 0
    await asyncio.sleep(reader_module.FRESH_NS / 1e9)
    assert await reader.version() != first
    await reader.close()


async def test_after_a_read_that_failed_the_database_is_opened_anew(own_file):
    reader = _reader(own_file)
    before = await reader.version()

    def fail(_store):
        raise StoreError("the disk")

    with pytest.raises(StoreError, match="the disk"):
        await reader.run(fail)

    assert await reader.run(_count) == 2
    await asyncio.sleep(reader_module.FRESH_NS / 1e9)
    assert (await reader.version()).opening == before.opening + 1
    await reader.close()


async def test_a_locked_database_is_busy_which_is_logged_once_and_then_answers_again(own_file):
    reader = _reader(own_file)
    with closing(sqlite3.connect(own_file, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        with capture_logs() as logs:
            for _ in range(2):
                with pytest.raises(StoreBusy):
                    await reader.run(_count)
            assert [entry["event"] for entry in logs] == ["database_busy"]

    with capture_logs() as logs:
        assert await reader.run(_count) == 2
    assert [entry["event"] for entry in logs] == ["database_works_again"]
    await reader.close()


async def test_the_version_changes_with_a_commit_and_is_looked_at_every_25_ms(own_file):
    clock = ManualClock()
    reader = _reader(own_file, clock)
    await clock.advance(1)
    first = await reader.version()

    _record(own_file)

    assert await reader.version() == first
    await clock.advance(0.025)
    assert await reader.version() != first
    await reader.close()


async def test_who_waits_too_long_is_told_and_the_read_goes_on(own_file, monkeypatch):
    monkeypatch.setattr(reader_module, "TIMEOUT_S", 0.01)
    reader = _reader(own_file)
    release = asyncio.Event()
    loop = asyncio.get_running_loop()

    def slow(_store):
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    with pytest.raises(StoreBusy, match="within"):
        await reader.run(slow)
    release.set()
    monkeypatch.setattr(reader_module, "TIMEOUT_S", 6.0)

    assert await reader.run(_count) == 2
    await reader.close()


async def test_more_reads_than_can_wait_are_refused_and_later_ones_are_not(own_file, monkeypatch):
    monkeypatch.setattr(reader_module, "WAITING_MAX", 3)
    reader = _reader(own_file)

    async def read():
        try:
            return await reader.run(_count)
        except StoreBusy:
            return "busy"

    async with asyncio.TaskGroup() as group:
        reads = [group.create_task(read()) for _ in range(5)]

    assert [each.result() for each in reads] == [2, 2, 2, "busy", "busy"]
    assert await read() == 2
    await reader.close()


async def test_all_reads_are_made_by_one_thread(own_file, monkeypatch):
    made = []

    def pool(**given):
        made.append(given)
        return ThreadPoolExecutor(**given)

    monkeypatch.setattr(reader_module, "ThreadPoolExecutor", pool)
    reader = _reader(own_file)

    async with asyncio.TaskGroup() as group:
        for _ in range(20):
            group.create_task(reader.run(_count))

    assert [each["max_workers"] for each in made] == [1]
    await reader.close()
