"""Full disks, failing disks and locks at every operation: nothing is lost, no restart is needed."""

from typing import Any

import pytest

from liqctl.errors import StoreError
from liqctl.store.sqlite import SqliteStore
from tests.crash.findings import Findings
from tests.crash.io_errors import FAULTS, fail_everywhere
from tests.crash.vfs import Unreachable

STRIDE = 3


def failures(**options: Any) -> Findings:
    try:
        return fail_everywhere(3, **options)
    except Unreachable as reason:
        pytest.skip(str(reason))


@pytest.mark.timeout(180)
@pytest.mark.parametrize("fresh", [False, True], ids=["an old database", "a new database"])
def test_an_error_at_any_operation_fails_one_call_and_loses_no_row(fresh):
    # At all operations, and of longer workloads, in `python -m tests.soak --only io`.
    found = failures(calls=1 if fresh else 9, fresh=fresh, stride=STRIDE)

    assert found.violations == []
    assert found.cycles > 20 * len(FAULTS) // STRIDE


def test_a_store_that_hides_its_failures_is_found_out(monkeypatch):
    honest = SqliteStore._transaction

    def quiet(store, begin):
        try:
            yield from honest(store, begin)
        except StoreError:
            return

    monkeypatch.setattr(SqliteStore, "_transaction", quiet)

    found = failures(calls=4, faults=FAULTS[:1])

    assert any(violation.startswith("LOST_ROW") for violation in found.violations)
