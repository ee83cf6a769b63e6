"""From a view to an assessment: the perpetuals verdict with every figure that led to it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from solders.pubkey import Pubkey

from liqctl.core.account import Decoded, Gone, Seen, VenueState
from liqctl.core.fixed import BPS, I64_MAX, U64_MAX
from liqctl.core.health import Assessment, Kind, health
from liqctl.core.position import Market, Position
from liqctl.core.price import PriceReading, PriceRefusal, confidence_bps, from_future
from liqctl.errors import InvariantError
from liqctl.venues.perpetuals_layout import (
    CustodyRecord,
    PositionRecord,
    SettingsRecord,
    shared_key,
)
from liqctl.venues.perpetuals_math import Price, Refused, ceil_div, price_e6, usd_of
from liqctl.venues.perpetuals_oracle import (
    Source,
    prices_of,
    reported_prices_of,
    source_in_view,
)
from liqctl.venues.perpetuals_settle import check_payable, payout_of
from liqctl.venues.perpetuals_verdict import (
    Prices,
    Terms,
    accepted_price,
    gain_of,
    leverage_bps,
    liquidation_price_e6,
    lowest_price,
    margin_usd,
    terms_of,
)

_NONE: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Context:
    """What the positions of two custodies have in common while what it rests on stays."""

    now_s: int
    rests_on: tuple[tuple[str, Seen | None], ...]
    slot: int
    pool: bytes
    symbol: str
    custody: CustodyRecord
    collateral: CustodyRecord
    prices: Prices
    terms: Terms
    price_e6: int
    price_age_s: int
    confidence_bps: int
    blockers: tuple[str, ...]

    def holds(self, view: Mapping[str, Seen], now_s: int) -> bool:
        """Return whether the view shows the very same accounts at the same time."""
        return now_s == self.now_s and all(
            view.get(address) is seen for address, seen in self.rests_on
        )


class Judge:
    """Assesses positions of one program; remembers what they have in common.

    Only while the very same values are in the view at the same time, so nothing is remembered
    that would not be computed again.
    """

    def __init__(self, program_id: str, settings: str) -> None:
        """Take the program's address and that of its settings."""
        self._program_id = program_id
        self._settings = settings
        self._known: dict[tuple[str, bytes], _Context] = {}

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the price that positions are valued at, or the word why there is none."""
        custody = custody_of(market)
        try:
            source = self._source(custody, view)
            if isinstance(source, Refused):
                return source.word
            accepted_price(source, custody.oracle, now_s, ema=False)
            return price_e6(accepted_price(source, custody.oracle, now_s, ema=custody.use_ema))
        except Refused as refused:
            return refused.word

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the verdict; total, never an error."""
        record = record_of(position)
        try:
            context = self._context(position, record, view, now_s)
            terms = context.terms
            gain = gain_of(record, terms, settling=False)
            leverage = leverage_bps(record, margin_usd(record, gain))
        except Refused as refused:
            return self._unknown(position, view, refused.word)
        liquidatable = leverage > terms.leverage_max_bps
        closing, blockers = _closing(record, context) if liquidatable else (_NONE, ())
        equity = record.collateral_usd + gain.profit - gain.loss
        margin, line = _stand(record.size_usd, equity, terms.leverage_max_bps)
        seen = view.get(position.address)
        return Assessment(
            position=position.address,
            symbol=context.symbol,
            slot=context.slot if seen is None else max(context.slot, seen.slot),
            liquidatable=liquidatable,
            price_e6=context.price_e6,
            price_age_s=context.price_age_s,
            confidence_bps=context.confidence_bps,
            notional=record.size_usd,
            equity=equity,
            maintenance_margin=margin,
            health=line,
            blockers=context.blockers + blockers,
            **closing,
        )

    def liquidation_price(
        self, position: Position, view: Mapping[str, Seen], now_s: int
    ) -> int | None:
        """Return the price that the program reports, or None where it reports none."""
        market = market_at(view, position.market)
        other = market_at(view, collateral_of(position))
        if market is None or other is None:
            return None
        custody, collateral = custody_of(market), custody_of(other)
        source, another = self._source(custody, view), self._source(collateral, view)
        try:
            prices = reported_prices_of(custody, collateral, source, another, now_s)
            lowest_price(collateral, prices)
            terms = terms_of(custody, collateral, prices, now_s)
            return liquidation_price_e6(record_of(position), terms)
        except Refused:
            return None

    def _source(self, custody: CustodyRecord, view: Mapping[str, Seen]) -> Source:
        value = value_at(view, custody.oracle.account)
        return source_in_view(custody.oracle, value, self._program_id)

    def _context(
        self, position: Position, record: PositionRecord, view: Mapping[str, Seen], now_s: int
    ) -> _Context:
        """Return what the verdict rests on beside the position.

        Raises:
            Refused: the first reason why there is no verdict.
        """
        pair = (position.market, record.collateral_custody)
        known = self._known.get(pair)
        if known is None or not known.holds(view, now_s):
            known = self._known[pair] = self._built(position, view, now_s)
        if record.pool != known.pool:
            raise Refused(None, "other_pool")
        return known

    def _built(self, position: Position, view: Mapping[str, Seen], now_s: int) -> _Context:
        if now_s <= 0:
            raise Refused(None, "clock_unusable")
        market = _market(view, position.market, "market")
        other = _market(view, collateral_of(position), "collateral")
        custody, collateral = custody_of(market), custody_of(other)
        source, another = self._source(custody, view), self._source(collateral, view)
        prices = prices_of(custody, collateral, source, another, now_s)
        custodies, oracles = (market, other), (market.price_account, other.price_account)
        named = (*(one.address for one in custodies), *oracles, self._settings)
        rests_on = tuple(dict.fromkeys(named))
        readings = [one for one in (source, another) if isinstance(one, PriceReading)]
        return _Context(
            now_s=now_s,
            rests_on=tuple((one, view.get(one)) for one in rests_on),
            slot=max(view[one].slot for one in rests_on if one in view),
            pool=bytes(Pubkey.from_string(custody.pool)),
            symbol=market.symbol,
            custody=custody,
            collateral=collateral,
            prices=prices,
            terms=terms_of(custody, collateral, prices, now_s),
            price_e6=_shown(prices.ema),
            price_age_s=max(now_s - one.publish_time for one in readings),
            confidence_bps=max(confidence_bps(one) for one in readings),
            blockers=self._blockers(market, readings, view, now_s),
        )

    def _blockers(
        self,
        market: Market,
        readings: Sequence[PriceReading],
        view: Mapping[str, Seen],
        now_s: int,
    ) -> tuple[str, ...]:
        found = []
        if any(from_future(one, now_s) for one in readings):
            found.append(PriceRefusal.FROM_FUTURE.value)
        settings = value_at(view, self._settings)
        record = settings.record if isinstance(settings, VenueState) else None
        if not isinstance(record, SettingsRecord):
            found.append("settings_missing")
        if market.paused or (isinstance(record, SettingsRecord) and not record.allow_close):
            found.append("market_paused")
        return tuple(found)

    def _unknown(self, position: Position, view: Mapping[str, Seen], word: str) -> Assessment:
        market = market_at(view, position.market)
        used = (position.address, position.market, collateral_of(position))
        return Assessment(
            position=position.address,
            symbol=position.market if market is None else market.symbol,
            slot=max((view[one].slot for one in used if one in view), default=0),
            liquidatable=None,
            unknown_reason=word,
            notional=position.size,
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


def collateral_of(position: Position) -> str:
    """Return the address of the custody that holds a position's collateral."""
    return shared_key(record_of(position).collateral_custody)


def value_at(view: Mapping[str, Seen], address: str) -> Decoded | None:
    """Return what is known to be at an address, or None."""
    seen = view.get(address)
    return None if seen is None else seen.value


def market_at(view: Mapping[str, Seen], address: str) -> Market | None:
    """Return the custody at an address, or None while it is not known."""
    value = value_at(view, address)
    known = isinstance(value, Market) and isinstance(value.record, CustodyRecord)
    return value if isinstance(value, Market) and known else None


def _market(view: Mapping[str, Seen], address: str, what: str) -> Market:
    market = market_at(view, address)
    if market is not None:
        return market
    missing = isinstance(value_at(view, address), Gone | None)
    raise Refused(None, f"{what}_missing" if missing else f"{what}_unreadable")


def storable(value: int) -> int:
    """Return a figure, or the largest that a signed column holds; nothing real is as large."""
    return min(value, I64_MAX)


def _shown(price: Price) -> int:
    """Return a price in 1e-6, or 0 where it has none: only positions without size pass then."""
    try:
        return storable(price_e6(price))
    except Refused:
        return 0


def _stand(size_usd: int, equity: int, leverage_max_bps: int) -> tuple[int, float]:
    """Return maintenance margin, rounded up, and health; near 1.0 it is not the exact verdict."""
    required = size_usd * BPS
    if required == 0:
        return 0, health(equity, 0)
    margin = ceil_div(required, leverage_max_bps) if leverage_max_bps else U64_MAX
    return min(margin, U64_MAX), equity * leverage_max_bps / required


def _closing(record: PositionRecord, context: _Context) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what a liquidation would settle in 1e-6 USD, and why the program would not."""
    terms, collateral, prices = context.terms, context.collateral, context.prices
    figures: dict[str, Any] = {"kind": Kind.FULL, "close_size": storable(record.size_usd)}
    try:
        payout = payout_of(record, terms)
        worth = lowest_price(collateral, prices)
        figures |= {
            "fee": storable(usd_of(terms.ema, payout.gain.fee_tokens, terms.decimals)),
            "reward": storable(usd_of(worth, payout.reward, terms.collateral_decimals)),
            "owner_payout": storable(usd_of(worth, payout.owner, terms.collateral_decimals)),
            "bad_debt_uncovered": storable(max(0, payout.gain.loss - record.collateral_usd)),
        }
        check_payable(payout, record, context.custody, collateral, prices, terms.now_s)
    except Refused as refused:
        return figures, (refused.word,)
    return figures, ()
