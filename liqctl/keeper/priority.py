"""What others paid lately for the same accounts, fetched off the path of a decision."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from liqctl.chain.answers import PriorityFee
from liqctl.core.bid import percentile
from liqctl.errors import RpcError, RpcMalformed
from liqctl.keeper.context import Context

AGE_NS_MAX = 10_000_000_000
UNASKED_NS_MAX = 600_000_000_000
REFRESH_S = 2.0
BLOCKS_MAX = 150
ENTRIES_MAX = 1_000
MARKETS_MAX = 64
ACCOUNTS_MAX = 128
# A thousand lamports per compute unit: no block has ever asked for that.
PLAUSIBLE_MAX = 10**9

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class _Market:
    accounts: tuple[str, ...]
    asked_ns: int
    fetched_ns: int | None = None
    price: int = 0


class PriorityPrices:
    """Keeps one price per market: a percentile over the latest blocks, at most ten seconds old.

    Blocks that asked for nothing count: leaving them out would let three busy blocks of 150 set
    the price. An answer that fails or cannot be true leaves the market without a price of its
    own once the last one is too old; `counts` says how often.
    """

    def __init__(self, context: Context, percent: int) -> None:
        """Start without prices; `percent` of the latest blocks must have been cheaper or equal."""
        self._chain = context.chain
        self._clock = context.clock
        self._percent = percent
        self._markets: dict[str, _Market] = {}
        self.counts: Counter[str] = Counter()

    def price(self, market: str, accounts: Sequence[str]) -> int | None:
        """Return the price in micro-lamports per compute unit, or None when none is known.

        `accounts` are those that a plan in this market writes; they are asked for from now on.
        """
        now_ns = self._clock.monotonic_ns()
        wanted = tuple(accounts[:ACCOUNTS_MAX])
        held = self._markets.pop(market, None) or _Market(accounts=wanted, asked_ns=now_ns)
        held.accounts, held.asked_ns = wanted, now_ns
        self._markets[market] = held
        while len(self._markets) > MARKETS_MAX:
            del self._markets[next(iter(self._markets))]
        if held.fetched_ns is None or now_ns - held.fetched_ns > AGE_NS_MAX:
            self.counts["fee_estimate_missing"] += 1
            return None
        return held.price

    async def run(self) -> None:
        """Refresh again and again; ends only by cancellation."""
        while True:
            await self._clock.sleep(REFRESH_S)
            await self.refresh()

    async def refresh(self) -> None:
        """Fetch the price of every market asked for in the last ten minutes."""
        now_ns = self._clock.monotonic_ns()
        for name, market in list(self._markets.items()):
            if now_ns - market.asked_ns > UNASKED_NS_MAX:
                self._markets.pop(name, None)
                continue
            started_ns = self._clock.monotonic_ns()
            try:
                fees = await self._chain.recent_priority_fees(market.accounts)
                market.price = estimate(fees, self._percent)
            except RpcError as error:
                self.counts["fee_estimate_failed"] += 1
                log.debug("fee_estimate_failed", market=name, error=str(error))
            else:
                market.fetched_ns = started_ns


def estimate(fees: Sequence[PriorityFee], percent: int) -> int:
    """Return the percentile over the latest 150 blocks in an answer.

    Raises:
        RpcMalformed: there are no blocks, too many, one twice, or a price that cannot be true.
    """
    slots = {fee.slot for fee in fees}
    if not fees or len(fees) > ENTRIES_MAX or len(slots) != len(fees):
        raise RpcMalformed(f"the node told the fees of {len(fees)} blocks, {len(slots)} different")
    latest = sorted(fees, key=lambda fee: fee.slot)[-BLOCKS_MAX:]
    price = percentile([fee.price_micro_lamports for fee in latest], percent)
    if price > PLAUSIBLE_MAX:
        raise RpcMalformed(f"the node told a priority price of {price} micro-lamports per unit")
    return price
