"""Where a position of the Adrena program stands, as far as its arithmetic is known.

Which of up to three price providers the program listens to is not public, so this is an estimate:
the program's own view decides. USD is in 1e-6, prices in 1e-10, leverage in bps, rates in 1e-9.
"""

from dataclasses import dataclass
from typing import NamedTuple

from liqctl.core.fixed import BPS, U64_MAX
from liqctl.venues.adrena_layout import LONG, CustodyRecord, Funding, PositionRecord
from liqctl.venues.perpetuals_math import (
    RATE,
    Price,
    ceil_div,
    overflow,
    seconds_since,
    u64,
    u128,
    usd_of,
)

PRICE_DIGITS = 10
_HOUR_S = 3_600
# To 1e-6 from 1e-10.
E6_PER_PRICE = 10**4


class Settled(NamedTuple):
    """Funding of a position once settled, in 1e-6 USD: in all paid and received."""

    paid: int
    received: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Every figure of the estimate in its order; money in 1e-6 USD."""

    funding: Settled
    interest: int
    fee: int
    charges: int
    profit: int
    loss: int
    margin: int
    leverage_bps: int
    liquidatable: bool
    equity: int
    maintenance_margin: int


def standing(
    position: PositionRecord,
    custody: CustodyRecord,
    collateral: CustodyRecord,
    prices: tuple[int, int],
    now_s: int,
) -> Standing:
    """Return where the position stands at the mid trade price and the low collateral price.

    Raises:
        Refused: the program would fail with an overflow.
    """
    funding = settled_funding(position, custody, now_s)
    interest = u64(interest_usd(position, collateral, now_s) + position.unrealized_interest_usd)
    fee = max(position.exit_fee_usd, position.liquidation_fee_usd)
    cost = max(0, funding.paid - funding.received)
    benefit = max(0, funding.received - funding.paid)
    charges = u64(fee + interest + cost + position.paid_interest_usd)
    profit, loss = _gain(position, collateral, prices, (charges, benefit), now_s)
    margin = u64(position.collateral_usd + profit) if profit else position.collateral_usd - loss
    margin = max(0, margin)
    leverage = U64_MAX
    if margin and position.price:
        leverage = u64(position.size_usd * BPS // margin)
    limit = custody.leverage_max_bps
    least = ceil_div(position.size_usd * BPS, limit) if limit else U64_MAX
    return Standing(
        funding=funding,
        interest=interest,
        fee=fee,
        charges=charges,
        profit=profit,
        loss=loss,
        margin=margin,
        leverage_bps=leverage,
        liquidatable=leverage > limit,
        equity=position.collateral_usd + profit - loss,
        maintenance_margin=min(least, U64_MAX),
    )


def settled_funding(position: PositionRecord, custody: CustodyRecord, now_s: int) -> Settled:
    """Return what the position has paid and received in funding, what is due now included.

    Raises:
        Refused: a number leaves its width.
    """
    now = funding_now(custody, now_s)
    before = position.funding_snapshot
    towards_shorts = max(0, now.long_to_short - before.long_to_short)
    towards_longs = max(0, now.short_to_long - before.short_to_long)
    due = towards_shorts - towards_longs
    amount = u64(ceil_div(abs(due) * position.size_usd, RATE))
    pays = (due >= 0) is (position.side == LONG) or amount == 0
    if pays:
        return Settled(u64(position.funding_paid_usd + amount), position.funding_received_usd)
    return Settled(position.funding_paid_usd, u64(position.funding_received_usd + amount))


def funding_now(custody: CustodyRecord, now_s: int) -> Funding:
    """Return the sums of a custody's funding at `now_s`.

    Raises:
        Refused: one of them leaves 128 bits.
    """
    rate, then = custody.funding_rate, custody.funding_update
    if then == 0 or now_s <= then or rate == 0:
        return custody.funding
    grown = ceil_div(seconds_since(now_s, then) * abs(rate), _HOUR_S)
    held = custody.funding
    if rate > 0:
        return Funding(u128(held.long_to_short + grown), held.short_to_long)
    return Funding(held.long_to_short, u128(held.short_to_long + grown))


def interest_usd(position: PositionRecord, collateral: CustodyRecord, now_s: int) -> int:
    """Return what the borrowed size owes since its snapshot, rounded down.

    Raises:
        Refused: a number leaves its width.
    """
    if position.borrow_size_usd == 0:
        return 0
    cumulative = collateral.cumulative_interest
    if now_s > collateral.interest_update:
        elapsed = seconds_since(now_s, collateral.interest_update)
        cumulative = u128(cumulative + ceil_div(elapsed * collateral.interest_rate, _HOUR_S))
    owed = max(0, cumulative - position.cumulative_interest_snapshot)
    return u64(u128(owed * position.borrow_size_usd) // RATE)


def _gain(
    position: PositionRecord,
    collateral: CustodyRecord,
    prices: tuple[int, int],
    settled: tuple[int, int],
    now_s: int,
) -> tuple[int, int]:
    """Return profit and loss, one of them 0, after charges and with the benefit of funding."""
    price, collateral_price = prices
    charges, benefit = settled
    size, entry = position.size_usd, position.price
    if entry == 0:
        return 0, 0
    moved = price - entry if position.side == LONG else entry - price
    if moved > 0:
        won = u64(u64(size * moved // entry) + benefit)
        if won < charges:
            return 0, charges - won
        cap = 0
        if now_s > position.open_time:
            worth = Price(collateral_price, -PRICE_DIGITS)
            cap = usd_of(worth, position.locked_amount, collateral.decimals)
        return min(won - charges, cap), 0
    lost = u64(u64(ceil_div(size * -moved, entry)) + charges)
    return max(0, benefit - lost), max(0, lost - benefit)


def liquidation_price(
    position: PositionRecord, custody: CustodyRecord, collateral: CustodyRecord, now_s: int
) -> int:
    """Return the price in 1e-10 that the program shows; it leaves out funding and paid interest.

    Raises:
        Refused: a number leaves its width, or the custody has no leverage limit.
    """
    size, entry = position.size_usd, position.price
    if size == 0 or entry == 0:
        return 0
    if custody.leverage_max_bps == 0:
        raise overflow()
    owed = interest_usd(position, collateral, now_s) + position.unrealized_interest_usd
    line = u64(size * BPS // custody.leverage_max_bps + position.liquidation_fee_usd + owed)
    distance = abs(line - position.collateral_usd) * BPS * entry // (size * BPS)
    if (line >= position.collateral_usd) is (position.side == LONG):
        return u64(entry + distance)
    return max(0, entry - distance)
