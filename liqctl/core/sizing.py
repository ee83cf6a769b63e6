"""How much a liquidation closes and where every unit of money goes.

The arithmetic is that of the reference program (liqctl/localnet/program, `plan_liquidation`), in
the same order, so that each figure can be compared with the program's own.
"""

from dataclasses import dataclass

from liqctl.core.fixed import BPS, U64_MAX, as_i64, as_u64, mul_div_ceil, mul_div_floor
from liqctl.core.health import (
    SIZE_SCALE,
    Kind,
    equity,
    maintenance_margin,
    notional,
    unrealized_pnl,
)
from liqctl.core.position import Side

SIZING_STEPS_MAX = 64


class CannotSize(ArithmeticError):
    """The program refuses this liquidation; the text names its error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a market lays down for liquidations; ratios in bps, money in 1e-6 quote."""

    maintenance_bps: int
    liquidation_fee_bps: int
    liquidator_share_bps: int
    target_health_bps: int
    min_reward: int
    min_position_notional: int
    profit_pool: int
    fund_balance: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """The position's own figures."""

    side: Side
    size_e9: int
    entry_price_e6: int
    collateral: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """Where a holding stands at a price."""

    notional: int
    pnl: int
    equity: int
    maintenance_margin: int

    @property
    def liquidatable(self) -> bool:
        """Equity below the maintenance margin: strictly."""
        return self.equity < self.maintenance_margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """What one liquidation does, in 1e-6 quote and 1e-9 base."""

    kind: Kind
    size_e9: int
    remaining_e9: int
    remaining_collateral: int
    realized_pnl: int
    fee: int
    reward: int
    owner_payout: int
    bad_debt_covered: int
    bad_debt_uncovered: int
    fund_delta: int
    pool_delta: int


def margin(holding: Holding, maintenance_bps: int, price_e6: int) -> Margin:
    """Return notional, profit, equity and maintenance margin at the price.

    Raises:
        Overflow: a figure leaves the program's 64 bits; the program fails there too.
    """
    now = notional(holding.size_e9, price_e6)
    pnl = unrealized_pnl(holding.side, holding.size_e9, holding.entry_price_e6, price_e6)
    return Margin(
        notional=now,
        pnl=pnl,
        equity=equity(holding.collateral, pnl),
        maintenance_margin=maintenance_margin(now, maintenance_bps),
    )


def plan_closing(
    holding: Holding, terms: Terms, price_e6: int, *, max_size_e9: int = U64_MAX
) -> Closing:
    """Return what the program does to a liquidatable holding.

    Raises:
        CannotSize: the program's error by name (MaxSizeTooSmall, InvalidAmount, ProfitPoolEmpty).
        Overflow: a figure leaves 64 bits.
    """
    at = margin(holding, terms.maintenance_bps, price_e6)
    remaining = None
    if 10 * at.equity >= at.maintenance_margin:
        remaining = _remaining_size(holding, terms, at, price_e6)
    if remaining is not None:
        partial = _partial(holding, terms, at, price_e6, (remaining, max_size_e9))
        if partial is not None:
            return partial
    if max_size_e9 < holding.size_e9:
        raise CannotSize("MaxSizeTooSmall")
    return _full(holding, terms, at)


def _restored(at: Margin, terms: Terms, left: int, margin_left: int) -> bool:
    """Whether keeping `left` notional under `margin_left` reaches the target health."""
    fee = mul_div_ceil(at.notional - left, terms.liquidation_fee_bps, BPS)
    return (at.equity - fee) * BPS >= terms.target_health_bps * margin_left


def _remaining_size(holding: Holding, terms: Terms, at: Margin, price_e6: int) -> int | None:
    """Return the largest size that may stay open at the target health, or None for none.

    Within one unit of margin the largest notional is the best one, because the fee only shrinks;
    so the search runs over whole units of margin and then over what whole size units can reach.
    """
    if not _restored(at, terms, 0, 0):
        return None
    margin_left = _largest_margin(terms, at)
    for _ in range(SIZING_STEPS_MAX):
        left_max = mul_div_floor(margin_left, BPS, terms.maintenance_bps)
        size = ((left_max + 1) * SIZE_SCALE - 1) // price_e6
        size = min(size, holding.size_e9 - 1)
        left = notional(size, price_e6)
        needed = maintenance_margin(left, terms.maintenance_bps)
        if _restored(at, terms, left, needed):
            return size
        if needed == 0:
            return None
        margin_left = needed - 1
    return None


def _largest_margin(terms: Terms, at: Margin) -> int:
    low, high = 0, at.maintenance_margin - 1
    while low < high:
        middle = low + (high - low + 1) // 2
        left = mul_div_floor(middle, BPS, terms.maintenance_bps)
        if _restored(at, terms, left, middle):
            low = middle
        else:
            high = middle - 1
    return low


def _partial(
    holding: Holding, terms: Terms, at: Margin, price_e6: int, sizes: tuple[int, int]
) -> Closing | None:
    remaining, max_size_e9 = sizes
    wanted = holding.size_e9 - remaining
    size = min(wanted, max_size_e9)
    if size == 0:
        raise CannotSize("InvalidAmount")
    remaining = holding.size_e9 - size
    left = notional(remaining, price_e6)
    if remaining == 0 or left < terms.min_position_notional:
        return None
    pnl_left = unrealized_pnl(holding.side, remaining, holding.entry_price_e6, price_e6)
    realized = as_i64(at.pnl - pnl_left)
    fee = mul_div_ceil(at.notional - left, terms.liquidation_fee_bps, BPS)
    collateral = as_i64(holding.collateral + realized) - fee
    if collateral < 0:
        return None
    fund, pool_delta = _settle(terms, realized, fee)
    reward = _liquidator_part(terms, fee)
    # A part of a part gets no top-up: many small calls would draw it from the fund many times.
    if size == wanted:
        reward, fund = _top_up(terms, fee, fund)
    return Closing(
        kind=Kind.PARTIAL,
        size_e9=size,
        remaining_e9=remaining,
        remaining_collateral=collateral,
        realized_pnl=realized,
        fee=fee,
        reward=reward,
        owner_payout=0,
        bad_debt_covered=0,
        bad_debt_uncovered=0,
        fund_delta=as_i64(fund - terms.fund_balance),
        pool_delta=_pool_change(terms, pool_delta),
    )


def _full(holding: Holding, terms: Terms, at: Margin) -> Closing:
    fee = mul_div_ceil(at.notional, terms.liquidation_fee_bps, BPS)
    fee = min(fee, max(at.equity, 0))
    bad_debt = max(-at.equity, 0)
    fund, pool_delta = _settle(terms, at.pnl, fee)
    reward, fund = _top_up(terms, fee, fund)
    covered = min(bad_debt, fund)
    return Closing(
        kind=Kind.FULL,
        size_e9=holding.size_e9,
        remaining_e9=0,
        remaining_collateral=0,
        realized_pnl=at.pnl,
        fee=fee,
        reward=reward,
        owner_payout=max(at.equity, 0) - fee,
        bad_debt_covered=covered,
        bad_debt_uncovered=bad_debt - covered,
        fund_delta=as_i64(fund - covered - terms.fund_balance),
        pool_delta=_pool_change(terms, pool_delta - (bad_debt - covered)),
    )


def _settle(terms: Terms, realized: int, fee: int) -> tuple[int, int]:
    """Return the fund after its part of the fee and any profit it pays, and the pool's change.

    A loss goes to the pool of the winners; a profit comes from it, then from the fund.
    """
    fund = as_u64(terms.fund_balance + fee - _liquidator_part(terms, fee))
    if realized <= 0:
        return fund, -realized
    from_pool = min(realized, terms.profit_pool)
    if realized - from_pool > fund:
        raise CannotSize("ProfitPoolEmpty")
    return fund - (realized - from_pool), -from_pool


def _pool_change(terms: Terms, change: int) -> int:
    as_u64(terms.profit_pool + change)
    return change


def _top_up(terms: Terms, fee: int, fund: int) -> tuple[int, int]:
    """Return the reward and the fund after raising the reward to the market's minimum."""
    reward = _liquidator_part(terms, fee)
    top_up = min(max(terms.min_reward - reward, 0), fund)
    return reward + top_up, fund - top_up


def _liquidator_part(terms: Terms, fee: int) -> int:
    """Return the liquidator's share of the fee, rounded down (for the fund)."""
    return mul_div_floor(fee, terms.liquidator_share_bps, BPS)
