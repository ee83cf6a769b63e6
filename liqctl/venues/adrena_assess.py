"""From a view to an assessment: the Adrena estimate with every figure that led to it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from liqctl.core.account import Decoded, Gone, Seen, Undecodable, VenueState
from liqctl.core.fixed import I64_MAX, U64_MAX
from liqctl.core.health import Assessment, Kind, health
from liqctl.core.position import Market, Position
from liqctl.core.price import (
    PriceReading,
    PriceRefusal,
    PriceSource,
    confidence_bps,
    from_future,
)
from liqctl.errors import InvariantError
from liqctl.venues.adrena_layout import (
    CustodyRecord,
    OracleRecord,
    PoolRecord,
    PositionRecord,
    Slot,
)
from liqctl.venues.adrena_verdict import (
    E6_PER_PRICE,
    PRICE_DIGITS,
    Standing,
    liquidation_price,
    standing,
)
from liqctl.venues.perpetuals_math import Refused

# What the program allows unless a pool says otherwise.
STALENESS_S = 7


@dataclass(frozen=True, slots=True, kw_only=True)
class _Known:
    """What one estimate rests on beside the position."""

    market: Market
    custody: CustodyRecord
    collateral: CustodyRecord
    trade: Slot
    backing: Slot

    @property
    def prices(self) -> tuple[int, int]:
        """The mid trade price and the low price of the collateral, in 1e-10."""
        return self.trade.price, max(0, self.backing.price - self.backing.confidence)


class Judge:
    """Estimates for positions of one program."""

    def __init__(self, oracle: str, program_id: str) -> None:
        """Take the addresses of the program's oracle account and of the program."""
        self._oracle = oracle
        self._program_id = program_id

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the price that positions are valued at, or the word why there is none.

        While its pool is not known the market's own age limit counts.
        """
        custody = custody_of(market)
        known = value_at(view, custody.pool) is not None
        try:
            age_s_max = _staleness(custody, view) if known else market.max_price_age_s
            return self._slot(custody.trade_feed, age_s_max, view, now_s).price // E6_PER_PRICE
        except Refused as refused:
            return refused.word

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the estimate; total, never an error."""
        record = record_of(position)
        try:
            known = self._known(record, view, now_s)
            at = standing(record, known.custody, known.collateral, known.prices, now_s)
        except Refused as refused:
            return self._assessment(position, view, None, refused.word)
        trade = known.trade
        figures: dict[str, Any] = {
            "price_e6": trade.price // E6_PER_PRICE,
            "price_age_s": now_s - min(trade.timestamp, known.backing.timestamp),
            "confidence_bps": confidence_bps(self._reading(trade)),
            "equity": at.equity,
            "maintenance_margin": at.maintenance_margin,
            "health": health(at.equity, at.maintenance_margin),
            "blockers": self._blockers(known, now_s),
        }
        if at.liquidatable:
            figures |= {
                "kind": Kind.FULL,
                "close_size": position.size,
                "fee": record.liquidation_fee_usd,
                "owner_payout": max(0, at.equity),
                "bad_debt_uncovered": min(max(0, -at.equity), I64_MAX),
            }
        return self._assessment(position, view, at.liquidatable, None, **figures)

    def _assessment(
        self,
        position: Position,
        view: Mapping[str, Seen],
        liquidatable: bool | None,
        reason: str | None,
        **figures: Any,  # noqa: ANN401 - fields of an assessment
    ) -> Assessment:
        market, record = market_at(view, position.market), record_of(position)
        used = (position.address, record.custody, record.collateral_custody, self._oracle)
        return Assessment(
            position=position.address,
            symbol=position.market if market is None else market.symbol,
            slot=max((view[one].slot for one in used if one in view), default=0),
            liquidatable=liquidatable,
            unknown_reason=reason,
            exact=False,
            notional=position.size,
            **figures,
        )

    def _blockers(self, known: _Known, now_s: int) -> tuple[str, ...]:
        slots = (known.trade, known.backing)
        future = any(from_future(self._reading(one), now_s) for one in slots)
        return (PriceRefusal.FROM_FUTURE.value,) if future else ()

    def steps(
        self, position: Position, view: Mapping[str, Seen], now_s: int
    ) -> tuple[tuple[str, int], ...]:
        """Return the figures in their order, as far as they can be had."""
        record = record_of(position)
        try:
            known = self._known(record, view, now_s)
            at = standing(record, known.custody, known.collateral, known.prices, now_s)
            shown = liquidation_price(record, known.custody, known.collateral, now_s)
        except Refused:
            return ()
        return _steps(record, known, at, shown)

    def _known(self, record: PositionRecord, view: Mapping[str, Seen], now_s: int) -> _Known:
        """Return what the estimate rests on.

        Raises:
            Refused: the first reason why there is none.
        """
        if now_s <= 0:
            raise Refused(None, "clock_unusable")
        market = _market(view, record.custody, "market")
        custody = custody_of(market)
        collateral = custody_of(_market(view, record.collateral_custody, "collateral"))
        if not record.pool == custody.pool == collateral.pool:
            raise Refused(None, "other_pool")
        age_s_max = _staleness(custody, view)
        return _Known(
            market=market,
            custody=custody,
            collateral=collateral,
            trade=self._slot(custody.trade_feed, age_s_max, view, now_s),
            backing=self._slot(collateral.feed, age_s_max, view, now_s),
        )

    def _slot(self, feed: int, age_s_max: int, view: Mapping[str, Seen], now_s: int) -> Slot:
        """Return the price of a feed.

        Raises:
            Refused: there is none that can be used.
        """
        slot = self._published(feed, view)
        if slot is None:
            unreadable = isinstance(value_at(view, self._oracle), Undecodable)
            raise Refused(None, PriceRefusal.WRONG_TYPE if unreadable else PriceRefusal.MISSING)
        if slot.price == 0:
            raise Refused(None, PriceRefusal.NOT_POSITIVE)
        if slot.exponent != -PRICE_DIGITS:
            raise Refused(None, PriceRefusal.BAD_EXPONENT)
        if now_s - slot.timestamp > age_s_max:
            raise Refused(None, PriceRefusal.STALE)
        return slot

    def _published(self, feed: int, view: Mapping[str, Seen]) -> Slot | None:
        state = value_at(view, self._oracle)
        record = state.record if isinstance(state, VenueState) else None
        return record.slot(feed) if isinstance(record, OracleRecord) else None

    def _reading(self, slot: Slot) -> PriceReading:
        return PriceReading(
            address=self._oracle,
            owner=self._program_id,
            feed_id=str(slot.feed),
            mantissa=slot.price,
            exponent=slot.exponent,
            confidence=slot.confidence,
            publish_time=slot.timestamp,
            fully_verified=True,
            posted_slot=0,
            source=PriceSource.CUSTOM,
        )

    def reading_of(self, market: Market, view: Mapping[str, Seen]) -> PriceReading | None:
        """Return the published trade price of a market, usable or not."""
        slot = self._published(custody_of(market).trade_feed, view)
        return None if slot is None else self._reading(slot)

    def with_reading(
        self, market: Market, view: Mapping[str, Seen], reading: PriceReading
    ) -> Mapping[str, Seen]:
        """Return the view with another trade price of a market; one below zero is none."""
        seen = view[self._oracle]
        state, feed = seen.value, custody_of(market).trade_feed
        if not isinstance(state, VenueState) or not isinstance(state.record, OracleRecord):
            return view
        slots = tuple(
            replace(
                one,
                price=min(max(0, reading.mantissa), U64_MAX),
                exponent=reading.exponent,
                confidence=reading.confidence,
                timestamp=reading.publish_time,
            )
            if one.feed == feed
            else one
            for one in state.record.slots
        )
        record = replace(state.record, slots=slots)
        return {**view, self._oracle: replace(seen, value=replace(state, record=record))}


def _staleness(custody: CustodyRecord, view: Mapping[str, Seen]) -> int:
    """Return how old prices may be in a custody's pool, in seconds.

    Raises:
        Refused: the pool is not known.
    """
    pool = value_at(view, custody.pool)
    if isinstance(pool, VenueState) and isinstance(pool.record, PoolRecord):
        return pool.record.staleness_s
    raise Refused(None, "pool_missing" if isinstance(pool, Gone | None) else "pool_unreadable")


def _steps(
    record: PositionRecord, known: _Known, at: Standing, shown: int
) -> tuple[tuple[str, int], ...]:
    trade, backing = known.prices
    leverage = (("leverage_bps", at.leverage_bps),) if at.leverage_bps < U64_MAX else ()
    return (
        ("max_leverage_bps", known.custody.leverage_max_bps),
        ("trade_price_e10", trade),
        ("collateral_low_price_e10", backing),
        ("funding_paid_e6", at.funding.paid),
        ("funding_received_e6", at.funding.received),
        ("interest_e6", at.interest),
        ("paid_interest_e6", record.paid_interest_usd),
        ("fee_e6", at.fee),
        ("charges_e6", at.charges),
        ("profit_e6", at.profit),
        ("loss_e6", at.loss),
        ("margin_e6", at.margin),
        *leverage,
        ("program_liquidation_price_e10", shown),
    )


def record_of(position: Position) -> PositionRecord:
    """Return the program's own record of a position that this venue decoded."""
    if not isinstance(position.record, PositionRecord):
        raise InvariantError(f"{position.address} was decoded by another venue")
    return position.record


def custody_of(market: Market) -> CustodyRecord:
    """Return the program's own record of a market that this venue decoded."""
    if not isinstance(market.record, CustodyRecord):
        raise InvariantError(f"{market.address} was decoded by another venue")
    return market.record


def value_at(view: Mapping[str, Seen], address: str) -> Decoded | None:
    """Return what is known to be at an address, or None."""
    seen = view.get(address)
    return None if seen is None else seen.value


def market_at(view: Mapping[str, Seen], address: str) -> Market | None:
    """Return the custody at an address, or None while it is not known."""
    value = value_at(view, address)
    return value if isinstance(value, Market) else None


def _market(view: Mapping[str, Seen], address: str, what: str) -> Market:
    market = market_at(view, address)
    if market is not None:
        return market
    missing = isinstance(value_at(view, address), Gone | None)
    raise Refused(None, f"{what}_missing" if missing else f"{what}_unreadable")
