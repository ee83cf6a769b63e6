"""The price of a place in a block: from recent prices, raised per attempt, never above a ceiling."""

from collections.abc import Sequence
from dataclasses import dataclass

from liqctl.core.fixed import mul_div_ceil, mul_div_floor
from liqctl.core.guards import LAMPORTS_PER_SOL, PERMILLE, SIGNATURE_FEE_LAMPORTS

MICRO_LAMPORTS_PER_LAMPORT = 1_000_000
# Raising nothing by half is still nothing: a dynamic price starts here (0.01 lamports per unit).
PRICE_MIN = 10_000
ATTEMPTS_RAISED_MAX = 64
# Below this a limit saves nothing, and what a node told cannot be true.
UNIT_LIMIT_MIN = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Bid:
    """A price in micro-lamports per compute unit; `capped` when more would have been offered."""

    price_micro_lamports: int
    capped: bool


def percentile(prices: Sequence[int], percent: int) -> int:
    """Return the smallest price that at least `percent` of the prices do not exceed; needs one.

    >>> percentile([0, 0, 0, 8], 75), percentile([0, 0, 0, 8], 76)
    (0, 8)
    """
    ordered = sorted(prices)
    return ordered[max(-(-percent * len(ordered) // 100), 1) - 1]


def raised(price: int, attempt: int) -> int:
    """Return the price of attempt number `attempt`, from 1: half more each time, rounded down.

    >>> [raised(1_000, attempt) for attempt in (1, 2, 3)]
    [1000, 1500, 2250]
    """
    more = min(max(attempt - 1, 0), ATTEMPTS_RAISED_MAX)
    threefold: int = 3**more
    return price * threefold >> more


def highest_price(lamports: int, compute_unit_limit: int) -> int:
    """Return the highest price whose fee at this limit does not exceed so many lamports.

    >>> highest_price(200_000, 200_000)
    1000000
    """
    return mul_div_floor(max(lamports, 0), MICRO_LAMPORTS_PER_LAMPORT, compute_unit_limit)


def bid(base: int, attempt: int, ceiling_lamports: int, compute_unit_limit: int) -> Bid:
    """Return what to offer: the base, raised for later attempts, never above the ceiling."""
    wanted = raised(base, attempt)
    highest = highest_price(ceiling_lamports, compute_unit_limit)
    return Bid(price_micro_lamports=min(wanted, highest), capped=wanted > highest)


def unit_limit(consumed: int | None, margin_percent: int, ceiling: int) -> int:
    """Return the compute-unit limit for what a simulation consumed, with a margin, rounded up.

    The ceiling while nothing has been simulated.

    >>> unit_limit(100_001, 20, 200_000), unit_limit(None, 20, 200_000)
    (120002, 200000)
    """
    if consumed is None:
        return ceiling
    with_margin = mul_div_ceil(consumed, 100 + margin_percent, 100)
    return min(max(with_margin, UNIT_LIMIT_MIN), ceiling)


def worth_lamports(reward_e6: int, sol_price_e6: int, profit_floor_permille: int) -> int:
    """Return the highest priority fee that a reward in 1e-6 quote is worth, rounded down.

    The fee, with the fee of the signature, stays within the reward; where the profit floor asks
    for more than the cost, within that.

    >>> worth_lamports(1_500_000, 150_000_000, 1_000)
    9995000
    """
    share = max(profit_floor_permille, PERMILLE)
    lamports = reward_e6 * LAMPORTS_PER_SOL * PERMILLE // (sol_price_e6 * share)
    return max(lamports - SIGNATURE_FEE_LAMPORTS, 0)
