"""What `liquidate` of the perpetuals program does after the verdict: payout, pool, bookkeeping."""

from dataclasses import dataclass

from liqctl.core.fixed import BPS
from liqctl.venues.perpetuals_layout import (
    LONG,
    SHORT,
    Assets,
    CustodyRecord,
    Lending,
    PositionRecord,
    Stats,
)
from liqctl.venues.perpetuals_math import (
    RATE,
    Refused,
    bps_up,
    overflow,
    tokens_of,
    u64,
    u128,
    usd_of,
)
from liqctl.venues.perpetuals_verdict import (
    Gain,
    Prices,
    Terms,
    cumulative_interest,
    gain_of,
    interest_usd,
    margin_usd,
)

INVALID_COLLATERAL, HEALTHY, POOL_CANNOT_PAY, PAUSED = 6012, 6013, 6020, 6024


@dataclass(frozen=True, slots=True, kw_only=True)
class Payout:
    """What a liquidation pays, in base units of the collateral token, and the gain behind it."""

    gain: Gain
    reward: int
    owner: int


def payout_of(position: PositionRecord, terms: Terms) -> Payout:
    """Return reward and owner's share of what is left, whether or not the pool can pay it.

    What is left is limited by collateral and locked amount after the fee. Refused where the
    program's arithmetic overflows; a liquidation fee above 100 % is such a case.
    """
    gain = gain_of(position, terms, settling=True)
    margin = margin_usd(position, gain)
    available = tokens_of(terms.payout_price, margin, terms.collateral_decimals)
    unlocked = max(0, position.locked_amount - gain.fee_tokens)
    paid = min(u64(unlocked + position.collateral_amount), available)
    reward = bps_up(terms.liquidation_fee_bps, paid)
    return Payout(gain=gain, reward=reward, owner=u64(paid - reward))


def check_payable(
    payout: Payout,
    position: PositionRecord,
    custody: CustodyRecord,
    collateral: CustodyRecord,
    prices: Prices,
    now_s: int,
) -> None:
    """Return when the program can pay and book a payout, down to its last entry.

    The pool's token account is not looked at: it can hold less than the custody says.

    Raises:
        Refused: with the code that the program fails with, the first one in its own order.
    """
    fee_tokens = _fee_in_collateral(position, custody, collateral, prices, payout.gain.fee_tokens)
    if collateral.is_virtual:
        raise Refused(INVALID_COLLATERAL, "collateral_virtual")
    assets = _assets_after(position, custody, collateral.assets, payout, fee_tokens)
    in_own_token = position.side == LONG and not custody.is_virtual
    u64((collateral if in_own_token else custody).liquidated_usd + position.size_usd)
    if in_own_token:
        _take_out(position, collateral, None, now_s)
    else:
        _take_out(position, custody, collateral, now_s)
    _update_rate(collateral.lending, assets, now_s)


def _fee_in_collateral(
    position: PositionRecord,
    custody: CustodyRecord,
    collateral: CustodyRecord,
    prices: Prices,
    fee_tokens: int,
) -> int:
    fee_usd = usd_of(prices.ema, fee_tokens, custody.decimals)
    if position.side == SHORT or custody.is_virtual:
        return tokens_of(prices.collateral_ema, fee_usd, collateral.decimals)
    return fee_tokens


def _assets_after(
    position: PositionRecord, custody: CustodyRecord, assets: Assets, payout: Payout, fee: int
) -> Assets:
    """Return what the custody holds afterwards; the protocol's fee is taken only if it is there."""
    paid = payout.reward + payout.owner
    locked = max(0, assets.locked - position.locked_amount)
    if _free(assets.owned, assets.collateral, locked) < paid:
        raise Refused(POOL_CANNOT_PAY, "pool_cannot_pay")
    owned = u64(assets.owned + position.collateral_amount - paid)
    collateral = u64(assets.collateral - position.collateral_amount)
    protocol_fee = bps_up(custody.protocol_share_bps, fee)
    protocol_fees = assets.protocol_fees
    if _free(owned, collateral, locked) >= protocol_fee:
        protocol_fees = u64(protocol_fees + protocol_fee)
        owned = u64(owned - protocol_fee)
    return Assets(collateral=collateral, protocol_fees=protocol_fees, owned=owned, locked=locked)


def _free(owned: int, collateral: int, locked: int) -> int:
    return u64(u64(owned + collateral) - locked)


def _take_out(
    position: PositionRecord, custody: CustodyRecord, lender: CustodyRecord | None, now_s: int
) -> None:
    """Refuse where the program cannot take the position out of the sums of its side.

    Borrowing is counted with the custody itself, or with `lender` where another one lends. The
    last position of a side resets its sums, whatever they were, and ends the counting.
    """
    stats = _side(position, custody)
    accrued = _collective_interest(stats, custody, now_s)
    cumulative_interest(custody.lending, now_s)
    borrowed = 0 if custody.is_virtual else position.borrow_size_usd
    interest_usd(custody.lending, borrowed, position.cumulative_interest_snapshot, now_s)
    if stats.open_positions == 1:
        return
    if lender is None:
        u64(stats.cumulative_interest_usd + accrued)
        u64(stats.borrow_size_usd - position.borrow_size_usd)
    u64(stats.open_positions - 1)
    u64(stats.size_usd - position.size_usd)
    u64(stats.locked_amount - position.locked_amount)
    if position.price == 0:
        raise overflow()
    quantity = position.size_usd * BPS // position.price
    u128(stats.weighted_price - u128(position.price * quantity))
    u128(stats.total_quantity - quantity)
    if lender is not None:
        _repay(position, lender, now_s)


def _repay(position: PositionRecord, lender: CustodyRecord, now_s: int) -> None:
    stats = _side(position, lender)
    accrued = _collective_interest(stats, lender, now_s)
    if stats.open_positions == 1:
        return
    u64(stats.cumulative_interest_usd + accrued)
    u64(stats.open_positions - 1)
    u64(stats.borrow_size_usd - position.borrow_size_usd)


def _side(position: PositionRecord, custody: CustodyRecord) -> Stats:
    return custody.longs if position.side == LONG else custody.shorts


def _collective_interest(stats: Stats, custody: CustodyRecord, now_s: int) -> int:
    """Return what all positions of a side together owe, as if they were one."""
    if stats.open_positions == 0:
        return 0
    if stats.total_quantity:
        u64(stats.weighted_price // stats.total_quantity)
    borrowed = 0 if custody.is_virtual else stats.borrow_size_usd
    return interest_usd(custody.lending, borrowed, stats.cumulative_interest_snapshot, now_s)


def _update_rate(lending: Lending, assets: Assets, now_s: int) -> None:
    """Refuse where the program cannot compute the new borrow rate."""
    if assets.owned == 0:
        return
    cumulative_interest(lending, now_s)
    used = assets.locked * RATE // assets.owned
    optimal = lending.optimal_utilization
    if used < optimal or optimal >= RATE:
        rate = u128(used * lending.slope1) // optimal
    else:
        excess = u128((used - optimal) * lending.slope2)
        rate = u128(lending.slope1 + excess // (RATE - optimal))
    u64(u64(rate) + lending.base_rate)
