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
