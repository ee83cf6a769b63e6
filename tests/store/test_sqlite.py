from collections.abc import Iterator
from pathlib import Path

import pytest

from liqctl.core.record import QueueOrder
from liqctl.ports import Store
from liqctl.store.open import open_store
from tests.store.contract import StoreContract
from tests.store.records import queue_row


class TestSqliteStore(StoreContract):
    @pytest.fixture
    def store(self, tmp_path: Path) -> Iterator[Store]:
        store = open_store(f"sqlite:{tmp_path / 'liqctl.db'}")
        yield store
        store.close()


class TestSqliteStoreInMemory(StoreContract):
    @pytest.fixture
    def store(self) -> Iterator[Store]:
        store = open_store("sqlite::memory:")
        yield store
        store.close()


def test_the_version_is_another_one_after_a_commit_of_somebody_else_alone(tmp_path):
    one, other = (open_store(f"sqlite:{tmp_path / 'k.db'}") for _ in range(2))
    before = one.version()
    one.put_state("x", "1", 1)
    assert one.version() == before

    other.put_state("x", "2", 2)

    assert one.version() != before
    one.close()
    other.close()


def test_keepers_of_two_venues_find_their_orders_and_do_not_wake_each_other(tmp_path):
    ours, theirs, person = (open_store(f"sqlite:{tmp_path / 'k.db'}") for _ in range(3))
    person.put_queue([queue_row("a"), queue_row("b", venue="other")], [])
    person.set_order("a", QueueOrder.RETRY)
    person.set_order("b", QueueOrder.RETRY)
    known = ours.version()

    assert [row.position for row in theirs.take_orders(9, "other")] == ["b"]
    assert ours.version() != known
    assert [row.position for row in ours.take_orders(9, "reference")] == ["a"]

    known = theirs.version()
    assert ours.take_orders(9, "reference") == []
    assert theirs.version() == known
    for store in (ours, theirs, person):
        store.close()
