"""What each process on a store sees wrong, so that no other one says that it is over."""

import json
from collections.abc import Iterable

import structlog

from liqctl.alerts.policy import Key
from liqctl.errors import StoreError
from liqctl.keeper.storage import StoreThread
from liqctl.ports import Store

log = structlog.get_logger(__name__)

PREFIX = "alerts:"
SILENT_MS = 60_000
AGAIN_MS = 20_000
FORGOTTEN_MS = 3_600_000


class Claims:
    """The claims of one process; they count for others until it has been silent for a minute.

    Several keepers on one database share an alert of one rule and subject. Each finds it by its own
    endpoints and wallet, so that one may be well while another is not.
    """

    def __init__(self, store: StoreThread, *, owner: str) -> None:
        """Claim nothing yet."""
        self._store = store
        self._owner = owner
        self._told: frozenset[Key] = frozenset()
        self._told_ms = 0

    async def put(self, keys: frozenset[Key], now_ms: int) -> None:
        """Write what this process sees, if it changed or others would soon take it for silent."""
        if keys == self._told and (not keys or now_ms - self._told_ms < AGAIN_MS):
            return
        text = json.dumps(sorted(keys))
        name = f"{PREFIX}{self._owner}"
        try:
            await self._store.run(self._store.store.put_state, name, text, now_ms)
        except StoreError as error:
            log.debug("alert_claims_not_written", error=str(error))
            return
        self._told, self._told_ms = keys, now_ms

    async def of_others(self, now_ms: int) -> frozenset[Key]:
        """Return what the other processes see.

        Raises:
            StoreError: the store cannot be read.
        """
        states = await self._store.run(self._store.store.states, PREFIX)
        return frozenset(_alive(states, f"{PREFIX}{self._owner}", now_ms))

    async def forget(self, now_ms: int) -> None:
        """Delete what processes left that have been silent for an hour.

        Raises:
            StoreError: nothing could be deleted.
        """
        await self._store.run(_forget, self._store.store, now_ms - FORGOTTEN_MS)


def _alive(states: Iterable[tuple[str, str, int]], ours: str, now_ms: int) -> Iterable[Key]:
    for name, text, at_ms in states:
        if name != ours and now_ms - at_ms < SILENT_MS:
            yield from ((rule, subject) for rule, subject in json.loads(text))


def _forget(store: Store, before_ms: int) -> None:
    for name, _, at_ms in store.states(PREFIX):
        if at_ms < before_ms:
            store.forget_state(name, before_ms)
