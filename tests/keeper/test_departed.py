"""A venue that nobody watches any more is not told as silent for ever."""

import pytest
from structlog.testing import capture_logs

from liqctl.core.status import state_name
from liqctl.keeper.departed import DEPARTED_MS, forget_departed
from liqctl.keeper.storage import StoreThread
from liqctl.store.memory import MemoryStore
from liqctl.store.sqlite import SqliteStore

NOW_MS = 10 * DEPARTED_MS
LIMIT_MS = NOW_MS - DEPARTED_MS


@pytest.fixture(params=["memory", "sqlite"])
def store(request, tmp_path):
    if request.param == "memory":
        return MemoryStore()
    return SqliteStore.open(
        str(tmp_path / "k.db"), create=True, read_only=False, busy_timeout_ms=20
    )


async def test_what_is_old_and_not_watched_here_is_forgotten_and_logged(store):
    thread = StoreThread(store)
    for venue, at_ms in (("ours", 1), ("gone", LIMIT_MS - 1), ("other", LIMIT_MS)):
        store.put_state(state_name(venue), "{}", at_ms)
    store.put_state("genesis", '"x"', 1)

    with capture_logs() as logs:
        await forget_departed(thread, ["ours"], NOW_MS)
    left = {name for name, *_ in store.states("")}
    await thread.close()

    assert left == {"genesis", state_name("ours"), state_name("other")}
    assert [(line["event"], line["venue"], line["silent_s"]) for line in logs] == [
        ("keeper_forgotten", "gone", 3_600)
    ]
