import pytest

from liqctl.ports import Store
from liqctl.testing import MemoryStore
from tests.store.contract import StoreContract


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def store(self) -> Store:
        return MemoryStore()


def test_the_version_is_always_another_one_since_all_write_over_one_connection():
    store = MemoryStore()

    assert store.version() != store.version()
