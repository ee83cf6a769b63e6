"""Where a position of the Jupiter perpetuals program stands, by the public examples.

The program itself is closed: how it rounds interest and which prices it accepts is not known, so
nothing here is a verdict. Scales: USD and prices 1e-6, leverage and fees in bps, rates 1e-9.
"""

from dataclasses import dataclass

from liqctl.core.fixed import BPS, Overflow, as_u64, mul_div_ceil, mul_div_floor
from liqctl.core.position import Side

RATE = 10**9
_LINEAR = 10**5  # an hourly rate in tenths of a basis point
_HOUR_S, _HOURS_A_YEAR = 3_600, 24 * 365


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRecord:
    """A position as it stands in the account; money in 1e-6 USD."""

    pool: str
    collateral_custody: str
    open_time: int
    price: int
    size_usd: int
    collateral_usd: int
    cumulative_interest_snapshot: int
    locked_amount: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CustodyRecord:
    """One token of the pool: fees, limits and what borrowing from it costs."""

    pool: str
    mint: str
    decimals: int
    price_age_s_max: int
    impact_scalar: int
    leverage_max_bps: int
    allow_liquidate: bool
    close_fee_bps: int
    owned: int
    locked: int
    debt: int
    debt_interest: int
    cumulative_interest: int
    interest_update: int
    linear_rate: int
    rate_min_bps: int
    rate_max_bps: int
    rate_target_bps: int
    utilization_target: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Every figure of the estimate in its order; money in 1e-6 USD."""

    close_fee_bps: int
    impact_bps: int
    close_fee: int
    hourly_rate: int
    borrow_fee: int
    profit: int
    equity: int
    maintenance_margin: int
    liquidation_price: int


def estimate(
    side: Side,
    position: PositionRecord,
    custody: CustodyRecord,
    collateral: CustodyRecord,
    price_e6: int,
    now_s: int,
) -> Estimate:
    """Return where the position stands at a price.

    Raises:
        Overflow: a figure leaves 64 bits, or an account holds a zero that nothing can be divided by.
    """
    size, entry = position.size_usd, position.price
    if not entry or not custody.leverage_max_bps or not custody.impact_scalar:
        raise Overflow("an entry price, a leverage limit or an impact scalar of 0")
    impact_bps = mul_div_ceil(size, BPS, custody.impact_scalar)
    close_fee = as_u64(mul_div_floor(size, custody.close_fee_bps + impact_bps, BPS))
    rate = hourly_rate(collateral)
    borrow_fee = as_u64(_interest(collateral, rate, position, now_s))
    moved = price_e6 - entry if side is Side.LONG else entry - price_e6
    change = as_u64(mul_div_floor(size, abs(moved), entry))
    profit = change if moved >= 0 else -change
    margin = as_u64(mul_div_ceil(size, BPS, custody.leverage_max_bps))
    loss_max = size * BPS // custody.leverage_max_bps + close_fee + borrow_fee
    distance = abs(loss_max - position.collateral_usd) * entry // max(size, 1)
    upwards = (loss_max >= position.collateral_usd) is (side is Side.LONG)
    return Estimate(
        close_fee_bps=custody.close_fee_bps,
        impact_bps=impact_bps,
        close_fee=close_fee,
        hourly_rate=rate,
        borrow_fee=borrow_fee,
        profit=profit,
        equity=position.collateral_usd + profit - close_fee - borrow_fee,
        maintenance_margin=margin,
        liquidation_price=as_u64(entry + distance if upwards else max(0, entry - distance)),
    )


def hourly_rate(custody: CustodyRecord) -> int:
    """Return what borrowing from a custody costs an hour in 1e-9, by its linear or its jump curve.

    Raises:
        Overflow: the curve has no width.
    """
    debt = mul_div_ceil(max(custody.debt - custody.debt_interest, 0), 1, RATE)
    owned, locked = custody.owned + debt, custody.locked + debt
    if not owned or not locked:
        return 0
    if custody.linear_rate:
        return mul_div_ceil(locked, custody.linear_rate * RATE // _LINEAR, owned)
    used, target = locked * RATE // owned, custody.utilization_target
    if used <= target:
        rise = custody.rate_target_bps - custody.rate_min_bps
        yearly_bps = mul_div_ceil(max(rise, 0), used, target) + custody.rate_min_bps
    elif target >= RATE:
        raise Overflow("a utilization target that cannot be passed")
    else:
        rise = max(custody.rate_max_bps - custody.rate_target_bps, 0)
        yearly_bps = mul_div_ceil(rise, used - target, RATE - target) + custody.rate_target_bps
    return yearly_bps * RATE // BPS // _HOURS_A_YEAR


def _interest(custody: CustodyRecord, rate: int, position: PositionRecord, now_s: int) -> int:
    """Return what the position owes for borrowing, rounded up: the estimate errs on this side."""
    elapsed_s = max(now_s - custody.interest_update, 0)
    cumulative = custody.cumulative_interest + mul_div_ceil(elapsed_s, rate, _HOUR_S)
    owed = max(cumulative - position.cumulative_interest_snapshot, 0)
    return mul_div_ceil(owed, position.size_usd, RATE)
