"""What keepers wrote of themselves that nobody runs any more."""

from collections.abc import Collection

import structlog

from liqctl.core.status import STATE_PREFIX, state_name
from liqctl.keeper.storage import StoreThread

log = structlog.get_logger(__name__)

DEPARTED_MS = 3_600_000


async def forget_departed(store: StoreThread, venues: Collection[str], now_ms: int) -> None:
    """Delete the status of every other venue that was last written more than an hour ago.

    Left there, it would be told for ever as that of a keeper that has fallen silent.

    Raises:
        StoreError: the store failed.
    """
    ours = {state_name(venue) for venue in venues}
    for name, _, at_ms in await store.run(store.store.states, STATE_PREFIX):
        if name in ours:
            continue
        if await store.run(store.store.forget_state, name, now_ms - DEPARTED_MS):
            silent_s = (now_ms - at_ms) // 1_000
            log.info("keeper_forgotten", venue=name.removeprefix(STATE_PREFIX), silent_s=silent_s)
