"""A recent blockhash that is always at hand, refreshed off the path of a decision."""

from collections.abc import Callable

import structlog

from liqctl.chain.answers import Blockhash, Commitment
from liqctl.chain.client import Chain
from liqctl.errors import RpcError, RpcMalformed
from liqctl.ports import Clock

AGE_NS_MAX = 8_000_000_000
RENEW_S = 1.0
REFRESH_S = 0.1
REFRESHES_MAX = 20
BEHIND_SLOTS_MAX = 150
# The window is 150 blocks today. This leaves room for a longer one, and for a height from a node
# that is behind; a lie within it costs minutes.
VALIDITY_BLOCKS_MAX = 1_000

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
        """Fetch the newest blockhash and return it.

        Its last valid height is measured from the chain's own: slots are no measure, they run
        ahead of heights by every one that was skipped since genesis.

        Raises:
            RpcMalformed: it is over already, or valid for so long that its expiry proof would wait.
            RpcError: the node does not give one.
        """
        started_ns = self._clock.monotonic_ns()
        floor = self._known_slot() - BEHIND_SLOTS_MAX
        slot_min = floor if floor > 0 else None
        epoch = await self._chain.epoch_info(Commitment.CONFIRMED, min_context_slot=slot_min)
        found = await self._chain.latest_blockhash(min_context_slot=slot_min)
        if not 0 < found.last_valid_block_height - epoch.block_height <= VALIDITY_BLOCKS_MAX:
            raise RpcMalformed(
                f"the node sent a blockhash that is valid up to height "
                f"{found.last_valid_block_height} at height {epoch.block_height}"
            )
        self._held, self._fetched_ns = found, started_ns
        return found
