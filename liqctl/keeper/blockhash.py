"""A recent blockhash that is always at hand, refreshed off the path of a decision."""

import structlog

from liqctl.chain.answers import Blockhash
from liqctl.chain.client import Chain
from liqctl.errors import RpcError, RpcMalformed
from liqctl.ports import Clock

AGE_NS_MAX = 8_000_000_000
RENEW_S = 1.0
REFRESH_S = 0.1
REFRESHES_MAX = 20

log = structlog.get_logger(__name__)


class RecentBlockhash:
    """Keeps the newest blockhash at `confirmed` and fetches another when it grows old."""

    def __init__(self, chain: Chain, clock: Clock) -> None:
        """Hold none until the first use."""
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
        self._held = await self._chain.latest_blockhash()
        self._fetched_ns = started_ns
        return self._held
