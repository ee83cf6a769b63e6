"""The reference program's verdict on a position, from decoded accounts alone."""

from collections.abc import Mapping
from typing import Any

from liqctl.core.account import Decoded, Gone, Refusal, Seen, Undecodable
from liqctl.core.fixed import U64_MAX, Overflow
from liqctl.core.health import Assessment, health
from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Market, Position
from liqctl.core.price import (
    PriceReading,
    PriceRefusal,
    confidence_bps,
    from_future,
    price_e6,
    refusal,
)
from liqctl.core.sizing import CannotSize, Closing, Holding, Margin, Terms, margin, plan_closing
from liqctl.core.trigger import crossing_price_e6
from liqctl.venues.reference_layout import MarketRecord

_UNREADABLE_PRICE = {
    Refusal.WRONG_OWNER: PriceRefusal.WRONG_OWNER,
    # The one absurd value of a price account is a verification level that does not exist.
    Refusal.ABSURD_VALUE: PriceRefusal.NOT_FULLY_VERIFIED,
}
BLOCKERS = {"ProfitPoolEmpty": "profit_pool_empty"}


def assess(position: Position, view: Mapping[str, Seen], fund: str, now_s: int) -> Assessment:
    """Return the verdict at the cluster time `now_s`, with the fund's address given."""
    market = market_of(position, view)
    figures = Figures(position, market, view)
    if market is None or not isinstance(market.record, MarketRecord):
        return figures.unknown(unreadable_market(position, view))
    reading = value_at(view, market.price_account)
    if isinstance(reading, PriceReading):
        figures.published(reading, now_s)
    price = mark_price(market, view, now_s)
    if isinstance(price, str):
        return figures.unknown(price)
    figures.fields["price_e6"] = price
    if market.paused:
        figures.blockers.append("market_paused")
    ratio = market.record.maintenance_bps(position.leverage)
    if ratio is None:
        return figures.unknown("leverage_too_high")
    try:
        at = margin(holding_of(position), ratio, price)
    except Overflow:
        return figures.unknown("overflow")
    figures.stand(at)
    if not at.liquidatable:
        return figures.decided(liquidatable=False)
    _close(figures, position, _terms(market.record, ratio, value_at(view, fund)), price)
    return figures.decided(liquidatable=True)


def steps(
    position: Position, view: Mapping[str, Seen], fund: str, now_s: int
) -> tuple[tuple[str, int], ...]:
    """Return the figures of the arithmetic in its order, as far as they can be had."""
    verdict = assess(position, view, fund, now_s)
    market = market_of(position, view)
    if market is None or not isinstance(market.record, MarketRecord):
        return ()
    terms, state = market.record, value_at(view, fund)
    ratio = terms.maintenance_bps(position.leverage)
    known = () if ratio is None else (("maintenance_ratio_bps", ratio),)
    stands = (
        ("mark_price_e6", verdict.price_e6),
        ("notional_e6", verdict.notional),
        ("unrealized_pnl_e6", verdict.equity - position.collateral),
        ("equity_e6", verdict.equity),
        ("maintenance_margin_e6", verdict.maintenance_margin),
    )
    return (
        ("leverage", position.leverage),
        *known,
        *(stands if verdict.liquidatable is not None else ()),
        ("liquidation_fee_bps", terms.liquidation_fee_bps),
        ("liquidator_share_bps", terms.liquidator_share_bps),
        ("target_health_bps", terms.target_health_bps),
        ("min_reward_e6", terms.min_reward),
        ("min_position_notional_e6", terms.min_position_notional),
        ("profit_pool_e6", terms.profit_pool),
        *((("fund_balance_e6", state.balance),) if isinstance(state, InsuranceState) else ()),
    )


def mark_price(market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
    """Return the accepted price in 1e-6 quote, or the word of the first reason against it."""
    reading = value_at(view, market.price_account)
    if not isinstance(market.record, MarketRecord):
        return "market_unreadable"
    if not isinstance(reading, PriceReading):
        return unreadable_price(reading)
    refused = refusal(reading, market.record.rules, now_s)
    return price_e6(reading.mantissa, reading.exponent) if refused is None else refused


def maintenance_bps(position: Position, view: Mapping[str, Seen]) -> int | None:
    """Return the maintenance ratio of the position, or None while its market is not known."""
    market = market_of(position, view)
    if market is None or not isinstance(market.record, MarketRecord):
        return None
    return market.record.maintenance_bps(position.leverage)


def liquidation_price(position: Position, ratio: int) -> int | None:
    """Return the crossing price where the program can compute with it, or None."""
    holding = holding_of(position)
    price = crossing_price_e6(holding, ratio)
    if price is None or not 0 < price <= U64_MAX:
        return None
    try:
        return price if margin(holding, ratio, price).liquidatable else None
    except Overflow:
        return None


def value_at(view: Mapping[str, Seen], address: str) -> Decoded | None:
    """Return what is known to be at an address, or None."""
    seen = view.get(address)
    return None if seen is None else seen.value


def market_of(position: Position, view: Mapping[str, Seen]) -> Market | None:
    """Return the market of a position, or None while it is not known."""
    market = value_at(view, position.market)
    return market if isinstance(market, Market) else None


class Figures:
    """What is known of an assessment so far."""

    def __init__(self, position: Position, market: Market | None, view: Mapping[str, Seen]) -> None:
        self.position = position.address
        self.symbol = position.market if market is None else market.symbol
        price_account = "" if market is None else market.price_account
        used = (position.address, position.market, price_account)
        self.slot = max((view[one].slot for one in used if one in view), default=0)
        self.blockers: list[str] = []
        self.fields: dict[str, Any] = {}

    def published(self, reading: PriceReading, now_s: int) -> None:
        """Note age and confidence of the published price, whether it is used or not."""
        self.fields["price_age_s"] = now_s - reading.publish_time
        self.fields["confidence_bps"] = confidence_bps(reading)
        if from_future(reading, now_s):
            self.blockers.append(PriceRefusal.FROM_FUTURE)

    def stand(self, at: Margin) -> None:
        """Note where the position stands; money in 1e-6 quote."""
        self.fields |= {
            "notional": at.notional,
            "equity": at.equity,
            "maintenance_margin": at.maintenance_margin,
            "health": health(at.equity, at.maintenance_margin),
        }

    def close(self, closing: Closing) -> None:
        """Note what a liquidation would do."""
        self.fields |= {
            "kind": closing.kind,
            "close_size": closing.size_e9,
            "fee": closing.fee,
            "reward": closing.reward,
            "owner_payout": closing.owner_payout,
            "bad_debt_covered": closing.bad_debt_covered,
            "bad_debt_uncovered": closing.bad_debt_uncovered,
            "fund_delta": closing.fund_delta,
        }

    def unknown(self, reason: str) -> Assessment:
        """Return the assessment without a verdict, for that reason."""
        return self._built(None, reason)

    def decided(self, *, liquidatable: bool) -> Assessment:
        """Return the assessment with its verdict."""
        return self._built(liquidatable, None)

    def _built(self, liquidatable: bool | None, reason: str | None) -> Assessment:
        return Assessment(
            position=self.position,
            symbol=self.symbol,
            slot=self.slot,
            liquidatable=liquidatable,
            unknown_reason=reason,
            blockers=tuple(self.blockers),
            **self.fields,
        )


def _close(figures: Figures, position: Position, terms: Terms | None, price: int) -> None:
    if terms is None:
        figures.blockers.append("fund_missing")
        return
    try:
        figures.close(plan_closing(holding_of(position), terms, price))
    except CannotSize as error:
        figures.blockers.append(BLOCKERS.get(str(error), str(error)))
    except Overflow:
        figures.blockers.append("overflow")


def unreadable_market(position: Position, view: Mapping[str, Seen]) -> str:
    """Return the word for a market that is not there, or is none."""
    missing = isinstance(value_at(view, position.market), Gone | None)
    return "market_missing" if missing else "market_unreadable"


def unreadable_price(value: Decoded | None) -> PriceRefusal:
    """Return the word for what stands in the place of a price."""
    if isinstance(value, Gone | None):
        return PriceRefusal.MISSING
    if isinstance(value, Undecodable):
        return _UNREADABLE_PRICE.get(value.reason, PriceRefusal.WRONG_TYPE)
    return PriceRefusal.WRONG_TYPE


def holding_of(position: Position) -> Holding:
    """Return the figures of a position that the arithmetic takes."""
    return Holding(
        side=position.side,
        size_e9=position.size,
        entry_price_e6=position.entry_price_e6,
        collateral=position.collateral,
    )


def _terms(record: MarketRecord, ratio: int, fund: Decoded | None) -> Terms | None:
    if not isinstance(fund, InsuranceState):
        return None
    return Terms(
        maintenance_bps=ratio,
        liquidation_fee_bps=record.liquidation_fee_bps,
        liquidator_share_bps=record.liquidator_share_bps,
        target_health_bps=record.target_health_bps,
        min_reward=record.min_reward,
        min_position_notional=record.min_position_notional,
        profit_pool=record.profit_pool,
        fund_balance=fund.balance,
    )
