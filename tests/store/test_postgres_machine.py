"""PostgreSQL and memory, driven by the same random calls, answer the same."""

from collections.abc import Callable
from typing import Any

from hypothesis import settings

from liqctl.ports import Store
from tests.store.postgres_server import server, told_store
from tests.store.test_machine import SameAnswers
from tests.store.test_machine_archive import SameArchive
from tests.store.two_stores import TwoStores

NEXT_NUMBERS = """
SELECT setval('machine.alert_id_seq', (SELECT COALESCE(MAX(id), 0) + 1 FROM machine.alert), false),
    setval('machine.alert_delivery_id_seq',
        (SELECT COALESCE(MAX(id), 0) + 1 FROM machine.alert_delivery), false)
"""
FEW = settings(SameAnswers.TestCase.settings, max_examples=10, stateful_step_count=40)


class OnPostgres(TwoStores):
    def opened(self) -> Store:
        return told_store("machine")

    def teardown(self) -> None:
        """The next run finds it empty again."""


class SameAnswersOfPostgres(OnPostgres, SameAnswers):
    pass


class SameArchiveOfPostgres(OnPostgres, SameArchive):
    def __init__(self) -> None:
        super().__init__()
        self.admin = server().admin()

    def teardown(self) -> None:
        self.admin.close()

    def both(self, call: Callable[[Store], Any]) -> Any:
        """Number rows as the others do: here those that are refused or deleted use numbers up."""
        self.admin.execute(NEXT_NUMBERS)
        return super().both(call)


TestSameAnswersOfPostgres = SameAnswersOfPostgres.TestCase
TestSameAnswersOfPostgres.settings = FEW
TestSameArchiveOfPostgres = SameArchiveOfPostgres.TestCase
TestSameArchiveOfPostgres.settings = FEW
