"""The price at which the verdict on a linear isolated position flips."""

from liqctl.core.fixed import BPS
from liqctl.core.health import SIZE_SCALE
from liqctl.core.position import Side
from liqctl.core.sizing import Holding


def crossing_price_e6(holding: Holding, maintenance_bps: int) -> int | None:
    """Return the largest price (long) or smallest price (short) with a verdict of liquidatable.

    Exact: equity < ceil(N * ratio) is solved for the notional N, then for the price that first
    gives it. The result may lie outside 64 bits; 0 for a long that is healthy at every price,
    None when the margin ratio is 100 % or more and the verdict of a long does not flip.
    """
    if maintenance_bps >= BPS:
        return None
    entry = holding.size_e9 * holding.entry_price_e6 // SIZE_SCALE
    if holding.side is Side.LONG:
        # N * (1 - ratio) < entry - collateral: the last such N, the last price flooring to it.
        below = BPS * (entry - holding.collateral)
        last = -(-below // (BPS - maintenance_bps)) - 1
        return max(((last + 1) * SIZE_SCALE - 1) // holding.size_e9, 0)
    # N * (1 + ratio) > entry + collateral: the first such N, the first price reaching it.
    first = BPS * (entry + holding.collateral) // (BPS + maintenance_bps) + 1
    return -(-first * SIZE_SCALE // holding.size_e9)
