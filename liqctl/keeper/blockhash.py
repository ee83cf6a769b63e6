"""A recent blockhash that is always at hand, refreshed off the path of a decision."""

from collections.abc import Callable

import structlog

from liqctl.chain.answers import Blockhash
from liqctl.chain.client import Chain
from liqctl.errors import RpcError, RpcMalformed
from liqctl.ports import Clock

AGE_NS_MAX = 8_000_000_000
RENEW_S = 1.0
REFRESH_S = 0.1
REFRESHES_MAX = 20
BEHIND_SLOTS_MAX = 150

log = structlog.get_logger(__name__)


class RecentBlockhash:
    """Keeps the newest blockhash at `confirmed` and fetches another when it grows old."""

    def __init__(self, chain: Chain, clock: Clock, known_slot: Callable[[], int]) -> None:
        """Hold none until the first use; a bank far behind the known slot is not asked.

        What is proven later about an attempt reaches back to the slot of its blockhash: a node
        that tells one from long ago would make it unprovable for ever.
        """
        self._known_slot = known_slot
        self._chain = chain
        self._clock = clock
        self._held: Blockhash | None = None
        self._fetched_ns = 0

    async def get(self, *, other_than: str | None = None) -> Blockhash:
        """Return a blockhash fetched at most eight seconds ago, and not the given one.

        Raises:
            RpcError: none is held that is young enough and the node does not give one.
        """
        held = self._held
        if held is None or self._clock.monotonic_ns() - self._fetched_ns > AGE_NS_MAX:
            held = await self.refresh()
        for _ in range(REFRESHES_MAX):
            if held.hash != other_than:
                return held
            await self._clock.sleep(REFRESH_S)
            held = await self.refresh()
        raise RpcMalformed("the node keeps giving the same blockhash; its chain may stand still")

    async def run(self) -> None:
        """Fetch a newer one every second, so that no decision waits; ends by cancellation."""
        while True:
            await self._clock.sleep(RENEW_S)
            try:
                await self.refresh()
            except RpcError as error:
                log.debug("blockhash_not_renewed", error=str(error))

    async def refresh(self) -> Blockhash:
        """Fetch the newest blockhash and return it."""
        started_ns = self._clock.monotonic_ns()
        floor = self._known_slot() - BEHIND_SLOTS_MAX
        self._held = await self._chain.latest_blockhash(
            min_context_slot=floor if floor > 0 else None
        )
        self._fetched_ns = started_ns
        return self._held
