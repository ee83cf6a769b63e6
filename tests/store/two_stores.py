"""A state machine over SQLite and memory that compares every answer."""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from liqctl.errors import StoreError
from liqctl.ports import Store
from liqctl.store.open import open_store
from liqctl.store.sqlite import SqliteStore
from liqctl.testing import MemoryStore


class TwoStores(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.engine = self.opened()
        self.memory = MemoryStore()
        self.now_ms = 0

    def opened(self) -> Store:
        self.folder = TemporaryDirectory()
        store = open_store(f"sqlite:{Path(self.folder.name) / 'liqctl.db'}")
        assert isinstance(store, SqliteStore)
        # What is compared here is the logic; durability has its own tests and costs 4 ms a call.
        store._connection.execute("PRAGMA synchronous = OFF")
        return store

    def teardown(self) -> None:
        self.engine.close()
        self.folder.cleanup()

    def both(self, call: Callable[[Store], Any]) -> Any:
        """Call both stores and return the one answer they give."""
        refusals: list[StoreError] = []

        def answer(store: Store) -> object:
            try:
                return call(store)
            except StoreError as error:
                refusals.append(error)
                return StoreError

        found, expected = answer(self.engine), answer(self.memory)
        assert found == expected, f"{found!r} is not {expected!r}; refused: {refusals}"
        return found
