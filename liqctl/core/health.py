"""Equity, maintenance margin and the verdict of one position."""

from dataclasses import dataclass
from enum import StrEnum

from liqctl.core.fixed import BPS, as_i64, as_u64, mul_div_ceil, mul_div_floor
from liqctl.core.position import Side

SIZE_SCALE = 10**9

# Why a verdict is unknown for good: the program's arithmetic is not known to the last unit.
ESTIMATE_ONLY = "estimate_only"


class Kind(StrEnum):
    """How much of a position a liquidation closes."""

    FULL = "full"
    PARTIAL = "partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment:
    """The verdict on one position at one slot, with every figure that led to it.

    `liquidatable` is True, False or None; None comes with `unknown_reason`. Money in 1e-6 quote.
    `health` is a float for ranking and display only. `blockers` are reasons not to send although
    the program would accept. Figures of the liquidation itself are zero when there is none.
    """

    position: str
    symbol: str
    slot: int
    liquidatable: bool | None
    unknown_reason: str | None = None
    exact: bool = True
    price_e6: int = 0
    price_age_s: int = 0
    confidence_bps: int = 0
    notional: int = 0
    equity: int = 0
    maintenance_margin: int = 0
    health: float = 0.0
    kind: Kind | None = None
    close_size: int = 0
    fee: int = 0
    reward: int = 0
    owner_payout: int = 0
    bad_debt_covered: int = 0
    bad_debt_uncovered: int = 0
    fund_delta: int = 0
    blockers: tuple[str, ...] = ()

    @property
    def bad_debt(self) -> int:
        """What the position owes beyond its collateral, covered and uncovered."""
        return self.bad_debt_covered + self.bad_debt_uncovered


def notional(size_e9: int, price_e6: int) -> int:
    """Return size * price in 1e-6 quote, rounded down (the exposure is understated by < 1).

    Raises:
        Overflow: it does not fit an unsigned 64-bit field.

    >>> notional(2_000_000_000, 150_000_000)
    300000000
    """
    return as_u64(mul_div_floor(size_e9, price_e6, SIZE_SCALE))


def unrealized_pnl(side: Side, size_e9: int, entry_price_e6: int, price_e6: int) -> int:
    """Return the signed profit in 1e-6 quote: the difference of the two floored notionals.

    Raises:
        Overflow: a notional does not fit u64, or the difference does not fit i64.
    """
    now, then = notional(size_e9, price_e6), notional(size_e9, entry_price_e6)
    return as_i64(now - then if side is Side.LONG else then - now)


def equity(collateral: int, pnl: int) -> int:
    """Return collateral + profit, signed.

    Raises:
        Overflow: the collateral or the sum does not fit i64.
    """
    return as_i64(as_i64(collateral) + pnl)


def maintenance_margin(notional_now: int, maintenance_bps: int) -> int:
    """Return the amount that equity must not fall below, rounded up (against the trader).

    Raises:
        Overflow: it does not fit an unsigned 64-bit field (only above 10,000 bps).
    """
    return as_u64(mul_div_ceil(notional_now, maintenance_bps, BPS))


def health(equity_now: int, margin: int) -> float:
    """Return equity / maintenance margin for display and ranking; 1.0 is the line.

    Without any margin the sign of the equity decides.
    """
    if margin == 0:
        return float("-inf") if equity_now < 0 else float("inf")
    return equity_now / margin
