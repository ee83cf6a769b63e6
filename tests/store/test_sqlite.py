from collections.abc import Iterator
from pathlib import Path

import pytest

from liqctl.ports import Store
from liqctl.store.open import open_store
from tests.store.contract import StoreContract


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
