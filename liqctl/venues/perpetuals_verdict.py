"""The verdict of the perpetuals program: prices, profit and loss, leverage, in its own rounding.

Everything here either returns what the program computes or raises `Refused` with the code that it
would fail with. Scales: USD and prices 1e-6, leverage and fees in bps, rates 1e-9 an hour.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from liqctl.core.fixed import BPS, U64_MAX
from liqctl.core.price import PriceReading
from liqctl.venues.perpetuals_layout import (
    LONG,
    CustodyRecord,
    Lending,
    OracleRules,
    PositionRecord,
)
from liqctl.venues.perpetuals_math import (
    ONE_DOLLAR,
    RATE,
    Price,
    Refused,
    bps_up,
    capped_at_dollar,
    ceil_div,
    overflow,
    price_e6,
    seconds_since,
    tokens_of,
    u64,
    u128,
    usd_of,
)

STALE_PRICE, INVALID_PRICE = 6007, 6008
_HOUR_S = 3_600

T = TypeVar("T")


class Prices(NamedTuple):
    """The four prices of one verdict; the moving averages are the spot where none is wanted."""

    spot: Price
    ema: Price
    collateral_spot: Price
    collateral_ema: Price


class Gain(NamedTuple):
    """What a close would settle: one of profit and loss is zero; the fee is in tokens."""

    profit: int
    loss: int
    fee_tokens: int


def accepted_price(reading: PriceReading, rules: OracleRules, now_s: int, *, ema: bool) -> Price:
    """Return a published price that passes the program's own checks, in their order.

    Age and confidence pass at equality, and so does a publish time in the future. Refused as
    stale before anything is said about the value.
    """
    if seconds_since(now_s, reading.publish_time) > rules.age_s_max:
        raise Refused(STALE_PRICE, "price_stale")
    mantissa = reading.ema_mantissa if ema else reading.mantissa
    confidence = reading.ema_confidence if ema else reading.confidence
    if mantissa <= 0:
        raise Refused(INVALID_PRICE, "price_not_positive")
    if confidence * BPS // mantissa > rules.error_bps_max:
        raise Refused(INVALID_PRICE, "price_too_wide")
    return Price(mantissa, reading.exponent)


def cumulative_interest(lending: Lending, now_s: int) -> int:
    """Return the cumulative interest of a custody at `now_s` in 1e-9; Refused beyond u128."""
    if now_s <= lending.last_update:
        return lending.cumulative_interest
    elapsed = seconds_since(now_s, lending.last_update)
    return u128(lending.cumulative_interest + ceil_div(elapsed * lending.current_rate, _HOUR_S))


def exit_price_e6(custody: CustodyRecord, prices: Prices, *, long: bool) -> int:
    """Return the price at which a position of that side closes, spread included.

    A long closes at the lower of spot and average less the short spread, a short at the higher one
    plus the long spread; each is rounded against the position.
    """
    if long:
        mantissa, exponent = min(prices.spot, prices.ema)
        spread = u64(mantissa * custody.spread_short_bps // BPS)
        return price_e6(Price(max(0, mantissa - spread), exponent))
    mantissa, exponent = max(prices.spot, prices.ema)
    return price_e6(Price(u64(mantissa + bps_up(custody.spread_long_bps, mantissa)), exponent))


def interest_usd(lending: Lending, borrowed: int, snapshot: int, now_s: int) -> int:
    """Return what a borrowed size owes since its snapshot, rounded down; Refused beyond u64."""
    if borrowed == 0:
        return 0
    return _interest(cumulative_interest(lending, now_s), borrowed, snapshot)


def _interest(cumulative: int, borrowed: int, snapshot: int) -> int:
    if cumulative <= snapshot:
        return 0
    return u64(u128((cumulative - snapshot) * borrowed) // RATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What all positions of one custody, collateral custody and moment have in common.

    A value that could not be computed is None: the program fails for positions that need it, and
    only for those. `interest` is None as well, with `accrues` False, where nothing is owed.
    """

    now_s: int
    exit_long: int | None
    exit_short: int | None
    ema: Price
    decimals: int
    close_fee_bps: int
    liquidation_fee_bps: int
    leverage_max_bps: int
    accrues: bool
    interest: int | None
    cap_price: Price | None
    payout_price: Price
    collateral_decimals: int


def terms_of(
    custody: CustodyRecord, collateral: CustodyRecord, prices: Prices, now_s: int
) -> Terms:
    """Return the terms for positions in `custody` that are secured in `collateral`."""
    accrues = not collateral.is_virtual
    return Terms(
        now_s=now_s,
        exit_long=_or_none(lambda: exit_price_e6(custody, prices, long=True)),
        exit_short=_or_none(lambda: exit_price_e6(custody, prices, long=False)),
        ema=prices.ema,
        decimals=custody.decimals,
        close_fee_bps=custody.close_fee_bps,
        liquidation_fee_bps=custody.liquidation_fee_bps,
        leverage_max_bps=custody.leverage_max_bps,
        accrues=accrues,
        interest=_or_none(lambda: cumulative_interest(collateral.lending, now_s)),
        cap_price=_or_none(lambda: _cap_price(collateral, prices)),
        payout_price=max(prices.collateral_spot, prices.collateral_ema),
        collateral_decimals=collateral.decimals,
    )


def _or_none(compute: Callable[[], T]) -> T | None:
    try:
        return compute()
    except Refused:
        return None


def _known(value: T | None) -> T:
    if value is None:
        raise overflow()
    return value


def lowest_price(collateral: CustodyRecord, prices: Prices) -> Price:
    """Return the lower of spot and average, for a stablecoin at most a dollar."""
    lowest = min(prices.collateral_spot, prices.collateral_ema)
    return capped_at_dollar(lowest) if collateral.is_stable else lowest


def _cap_price(collateral: CustodyRecord, prices: Prices) -> Price:
    return ONE_DOLLAR if collateral.is_virtual else lowest_price(collateral, prices)


def charges_usd(position: PositionRecord, terms: Terms, fee_bps: int) -> tuple[int, int]:
    """Return what a close is charged in 1e-6 USD, and the fee in tokens that is part of it.

    The fee, borrowing interest and the loss carried over, each addition within u64.
    """
    tokens = tokens_of(terms.ema, position.size_usd, terms.decimals)
    fee_tokens = bps_up(fee_bps, tokens)
    owed = 0
    if position.borrow_size_usd and terms.accrues:
        snapshot = position.cumulative_interest_snapshot
        owed = _interest(_known(terms.interest), position.borrow_size_usd, snapshot)
    fee_usd = usd_of(terms.ema, fee_tokens, terms.decimals)
    return u64(fee_usd + owed + position.unrealized_loss_usd), fee_tokens


def gain_of(position: PositionRecord, terms: Terms, *, settling: bool) -> Gain:
    """Return profit and loss of a close now; settling takes the liquidation fee.

    A profit is capped at the worth of the locked amount, and at nothing before the clock has
    moved past the opening.
    """
    size, entry = position.size_usd, position.price
    if size == 0 or entry == 0:
        return Gain(0, 0, 0)
    long = position.side == LONG
    at = _known(terms.exit_long if long else terms.exit_short)
    fee_bps = terms.liquidation_fee_bps if settling else terms.close_fee_bps
    charges, fee_tokens = charges_usd(position, terms, fee_bps)
    moved = at - entry if long else entry - at
    if moved > 0:
        credit = u64(u64(size * moved // entry) + position.unrealized_profit_usd)
        debit = charges
    else:
        credit = position.unrealized_profit_usd
        debit = u64(u64(ceil_div(size * -moved, entry)) + charges)
    # Where both are equal a gain still asks for its cap, which can fail, and a loss does not.
    if credit < debit or (moved <= 0 and credit == debit):
        return Gain(0, debit - credit, fee_tokens)
    return Gain(min(credit - debit, _profit_cap(position, terms)), 0, fee_tokens)


def _profit_cap(position: PositionRecord, terms: Terms) -> int:
    price = _known(terms.cap_price)
    if terms.now_s <= position.open_time:
        return 0
    return usd_of(price, position.locked_amount, terms.collateral_decimals)


def margin_usd(position: PositionRecord, gain: Gain) -> int:
    """Return what is left of the collateral with profit or loss, not below zero."""
    if gain.profit > 0:
        return u64(position.collateral_usd + gain.profit)
    return max(0, position.collateral_usd - gain.loss)


def leverage_bps(position: PositionRecord, margin: int) -> int:
    """Return size over margin in bps, rounded down; the largest u64 without any margin."""
    return u64(position.size_usd * BPS // margin) if margin else U64_MAX


def is_liquidatable(position: PositionRecord, terms: Terms) -> bool:
    """Return the program's verdict: whether the leverage is above the custody's maximum."""
    margin = margin_usd(position, gain_of(position, terms, settling=False))
    return leverage_bps(position, margin) > terms.leverage_max_bps


def liquidation_price_e6(position: PositionRecord, terms: Terms) -> int:
    """Return the liquidation price as the program reports it, in 1e-6 USD; 0 when there is none.

    It leaves out spread, profit cap and the choice between spot and average, so it is not the
    exact trigger.
    """
    size, entry = position.size_usd, position.price
    if size == 0 or entry == 0:
        return 0
    charges, _ = charges_usd(position, terms, terms.close_fee_bps)
    if terms.leverage_max_bps == 0:
        raise overflow()
    loss_max = u64(u64(size * BPS // terms.leverage_max_bps) + charges)
    margin = u64(position.collateral_usd + position.unrealized_profit_usd)
    distance = u64(abs(loss_max - margin) * entry // size)
    if (loss_max >= margin) == (position.side == LONG):
        return u64(entry + distance)
    return max(0, entry - distance)
