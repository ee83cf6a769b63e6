"""The verdict of a mapped program: its own scales and roundings, in integers."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from liqctl.core.account import Seen
from liqctl.core.fixed import BPS, Overflow, as_i64, as_u64, mul_div_ceil, mul_div_floor
from liqctl.core.health import ESTIMATE_ONLY, Assessment, Kind
from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Market, Position, Side
from liqctl.core.price import PriceReading, PriceRefusal, PriceRules, refusal
from liqctl.core.sizing import CannotSize, Holding, Margin, Terms, plan_closing
from liqctl.core.trigger import crossing_price_e6
from liqctl.errors import LayoutError
from liqctl.venues import reference_verdict as common
from liqctl.venues.mapping import VenueMap
from liqctl.venues.mapping_places import Field, Lookup
from liqctl.venues.mapping_rules import Maintenance, Scales, Tiers
from liqctl.venues.reference_verdict import Figures

E6 = 6
SLACK = 4


def scaled(value: int, decimals: int, wanted: int) -> int:
    """Return a number of so many decimals with others, rounded down.

    >>> scaled(1_500, 3, 6), scaled(-1_999, 6, 3)
    (1500000, -2)
    """
    shift = wanted - decimals
    return value * 10**shift if shift >= 0 else int(value // 10**-shift)


class Judge:
    """Verdicts of one mapping."""

    def __init__(self, mapped: VenueMap, lookup: "Lookups") -> None:
        """Take the rules, and what reads fields of the accounts in a view."""
        self._mapped = mapped
        self._lookup = lookup
        self._scales = mapped.scales

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the verdict at the cluster time; total, never an error."""
        market = common.market_of(position, view)
        figures = Figures(position, market, view)
        figures.fields["exact"] = self._mapped.exact
        if market is None:
            return figures.unknown(common.unreadable_market(position, view))
        reading = common.value_at(view, market.price_account)
        if isinstance(reading, PriceReading):
            figures.published(reading, now_s)
        lookup = self._lookup(view, position=position, market=market)
        price = self._price(market, view, now_s, lookup)
        if isinstance(price, str):
            return figures.unknown(price)
        figures.fields["price_e6"] = scaled(price, self._scales.price, E6)
        if market.paused:
            figures.blockers.append("market_paused")
        try:
            return self._decided(figures, position, lookup, price)
        except Overflow:
            return figures.unknown("overflow")
        except LayoutError:
            return figures.unknown("account_missing")

    def _decided(
        self, figures: Figures, position: Position, lookup: Lookup, price: int
    ) -> Assessment:
        """Return the verdict at a price.

        Raises:
            Overflow: a figure leaves the program's 64 bits.
            LayoutError: the account that holds the ratio is not known.
        """
        rule = self._mapped.maintenance
        if rule is None:
            return figures.unknown(ESTIMATE_ONLY)
        ratio = self._ratio(position, lookup)
        if ratio is None:
            return figures.unknown("leverage_too_high")
        at = margin(self._scales, holding(position, self._mapped), rule, ratio, price)
        figures.stand(self._shown(at))
        if not self._mapped.exact:
            return figures.unknown(ESTIMATE_ONLY)
        if not falls(at, rule):
            return figures.decided(liquidatable=False)
        if self._mapped.why_not is not None:
            figures.blockers.append("watch_only")
        self._close(figures, position, lookup, (at, ratio, price))
        return figures.decided(liquidatable=True)

    def price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the accepted price in the program's scale, or the word of the reason against it."""
        return self._price(market, view, now_s, self._lookup(view, market=market))

    def _price(
        self, market: Market, view: Mapping[str, Seen], now_s: int, lookup: Lookup
    ) -> int | str:
        reading = common.value_at(view, market.price_account)
        if not isinstance(reading, PriceReading):
            return common.unreadable_price(reading)
        try:
            rules = self._rules(lookup, reading)
        except LayoutError:
            return "account_missing"
        refused = refusal(reading, rules, now_s)
        if refused is not None:
            return refused
        if reading.source is not self._mapped.price.source:
            return PriceRefusal.WRONG_TYPE
        price = scaled(reading.mantissa, -reading.exponent, self._scales.price)
        if price == 0:
            return "price_too_small"
        return price if price < 2**64 else "price_too_large"

    def _rules(self, lookup: Lookup, reading: PriceReading) -> PriceRules:
        rules = self._mapped.price
        owner = reading.owner if rules.owner is None else lookup.address(rules.owner)
        feed = rules.feed_id if rules.feed_id is not None else reading.feed_id
        return PriceRules(
            owner=owner,
            feed_id=bytes(lookup.value(feed)).hex() if isinstance(feed, Field) else feed,
            age_s_max=number(rules.age_s_max, lookup),
            confidence_bps_max=number(rules.confidence_bps_max, lookup),
        )

    def _ratio(self, position: Position, lookup: Lookup) -> int | None:
        """Return the maintenance ratio of a position, or None where no tier allows its leverage.

        Raises:
            LayoutError: the account that holds it is not known, or there is no rule.
        """
        rule = self._mapped.maintenance
        if rule is None:
            raise LayoutError("there is no maintenance rule")
        if not isinstance(rule.ratio, Tiers):
            return number(rule.ratio, lookup)
        held = lookup.fields(rule.ratio.role)
        if held is None:
            raise LayoutError(f"{rule.ratio.role} is not known yet")
        for limit, ratio in zip(rule.ratio.limits, rule.ratio.ratios, strict=True):
            if held[limit] and position.leverage <= held[limit]:
                return int(held[ratio])
        return None

    def bound_price_e6(self, position: Position, view: Mapping[str, Seen]) -> int | None:
        """Return a price in 1e-6 beyond which the position cannot fall, or None for none."""
        rule = self._mapped.maintenance
        try:
            ratio = self._ratio(position, self._lookup(view, position=position))
        except LayoutError:
            return None
        if ratio is None or rule is None:
            return None
        held = holding(position, self._mapped)
        if self._scales == Scales(size=9, price=6, quote=6, in_base=True) and rule.is_usual:
            return crossing_price_e6(held, ratio)
        return bound_e6(self._scales, held, rule, ratio)

    def _shown(self, at: Margin) -> Margin:
        """Return figures in 1e-6 quote; health is that of the program's own scale up to rounding."""
        quote = self._scales.quote
        return Margin(
            notional=scaled(at.notional, quote, E6),
            pnl=scaled(at.pnl, quote, E6),
            equity=scaled(at.equity, quote, E6),
            maintenance_margin=scaled(at.maintenance_margin, quote, E6),
        )

    def _close(
        self,
        figures: Figures,
        position: Position,
        lookup: Lookup,
        found: tuple[Margin, int, int],
    ) -> None:
        """Add what a liquidation does at a margin, a ratio and a price."""
        at, ratio, price = found
        rules = self._mapped.closing
        try:
            fund = None if rules.fund_balance is None else number(rules.fund_balance, lookup)
        except LayoutError:
            figures.blockers.append("fund_missing")
            return
        try:
            terms = Terms(
                maintenance_bps=ratio,
                liquidation_fee_bps=number(rules.fee_bps, lookup),
                liquidator_share_bps=number(rules.share_bps, lookup),
                target_health_bps=number(rules.target_health_bps, lookup),
                min_reward=number(rules.min_reward, lookup),
                min_position_notional=number(rules.min_position_notional, lookup),
                profit_pool=number(rules.profit_pool, lookup),
                fund_balance=fund or 0,
            )
            if rules.restores:
                figures.close(plan_closing(holding(position, self._mapped), terms, price))
            else:
                figures.fields |= self._all_of_it(position, at, terms)
        except LayoutError:
            figures.blockers.append("account_missing")
        except CannotSize as error:
            figures.blockers.append(common.BLOCKERS.get(str(error), str(error)))
        except Overflow:
            figures.blockers.append("overflow")

    def _all_of_it(self, position: Position, at: Margin, terms: Terms) -> dict[str, Any]:
        """Return the figures of closing everything: the fee is what equity allows."""
        fee = mul_div_ceil(at.notional, terms.liquidation_fee_bps, BPS)
        fee = min(fee, max(at.equity, 0))
        reward = max(mul_div_floor(fee, terms.liquidator_share_bps, BPS), terms.min_reward)
        debt = max(-at.equity, 0)
        covered = min(debt, terms.fund_balance)
        money = {
            "fee": fee,
            "reward": reward,
            "owner_payout": max(at.equity, 0) - fee,
            "bad_debt_covered": covered,
            "bad_debt_uncovered": debt - covered,
            "fund_delta": -covered,
        }
        shown = {name: scaled(value, self._scales.quote, E6) for name, value in money.items()}
        return {"kind": Kind.FULL, "close_size": position.size, **shown}


class Lookups:
    """What places are resolved with, for one view."""

    def __init__(self, mapped: VenueMap, program: str) -> None:
        """Take the mapping and the program's address."""
        self._mapped = mapped
        self._program = program

    def __call__(
        self,
        view: Mapping[str, Seen],
        *,
        position: Position | None = None,
        market: Market | None = None,
        signer: str | None = None,
    ) -> Lookup:
        """Return a lookup for a position, or for a market alone."""
        if market is None and position is not None:
            market = common.market_of(position, view)
        held = position.market if position is not None else None
        known = {
            "signer": signer,
            "position": None if position is None else position.address,
            "market": held if market is None else market.address,
            "price": None if market is None else market.price_account,
        }

        def fields(role: str) -> Mapping[str, Any] | None:
            if role in {"position", "market"}:
                return _record(position if role == "position" else market)
            address = addresses(role)
            return None if address is None else _record(common.value_at(view, address))

        def addresses(role: str) -> str | None:
            if role in known:
                return known[role]
            try:
                return found.address(self._mapped.places[role])
            except LayoutError:
                return None

        found = Lookup(self._program, fields, addresses)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class FundState(InsuranceState):
    """The insurance fund of a mapped program, with every field of its account."""

    record: Mapping[str, Any]


def _record(value: object) -> Mapping[str, Any] | None:
    """Return the fields of a decoded account of the program."""
    record = getattr(value, "record", None)
    return record if isinstance(record, dict) else None


def number(source: int | Field, lookup: Lookup) -> int:
    """Return a number of the mapping, or of the field that holds it.

    Raises:
        LayoutError: its account is not known.
    """
    return int(lookup.value(source)) if isinstance(source, Field) else source


def holding(position: Position, mapped: VenueMap) -> Holding:
    """Return the figures of a position in the program's own scales."""
    record, fields = _record(position) or {}, mapped.position
    return Holding(
        side=position.side,
        size_e9=position.size,
        entry_price_e6=int(record[fields.entry_price.path]),
        collateral=int(record[fields.collateral.path]),
    )


def margin(scales: Scales, held: Holding, rule: Maintenance, ratio: int, price: int) -> Margin:
    """Return notional, profit, equity and maintenance margin in the program's scale of money.

    Raises:
        Overflow: a figure leaves 64 bits.
    """
    now, pnl = _notional_and_profit(scales, held, price)
    equity = as_i64(as_i64(held.collateral) + pnl)
    rounded = mul_div_floor if rule.rounds_down else mul_div_ceil
    least = as_u64(rounded(now, ratio, 10**rule.decimals))
    return Margin(notional=now, pnl=pnl, equity=equity, maintenance_margin=least)


def _notional_and_profit(scales: Scales, held: Holding, price: int) -> tuple[int, int]:
    """Return both; a size in money keeps its notional, its profit is in parts of the entry price."""
    if scales.in_base:
        unit = 10 ** (scales.size + scales.price)
        now = as_u64(held.size_e9 * price * 10**scales.quote // unit)
        then = as_u64(held.size_e9 * held.entry_price_e6 * 10**scales.quote // unit)
        return now, as_i64(now - then if held.side is Side.LONG else then - now)
    notional = as_u64(scaled(held.size_e9, scales.size, scales.quote))
    moved = price - held.entry_price_e6
    if held.entry_price_e6 == 0:
        raise Overflow("an entry price of 0")
    change = as_u64(mul_div_floor(notional, abs(moved), held.entry_price_e6))
    gains = (moved >= 0) == (held.side is Side.LONG)
    return notional, as_i64(change if gains else -change)


def falls(at: Margin, rule: Maintenance) -> bool:
    """Return whether the position may be liquidated."""
    return at.liquidatable or (rule.at_margin and at.equity == at.maintenance_margin)


def bound_e6(scales: Scales, held: Holding, rule: Maintenance, ratio: int) -> int | None:
    """Return a price in 1e-6 that the liquidation price cannot lie beyond.

    The inequality is solved without rounding and widened by more than all roundings together.
    """
    whole = 10**rule.decimals
    if ratio >= whole or held.size_e9 == 0 or held.entry_price_e6 == 0:
        return None
    long = held.side is Side.LONG
    if scales.in_base:
        unit = 10 ** (scales.size + scales.price)
        then = held.size_e9 * held.entry_price_e6 * 10**scales.quote // unit
        if long:
            notional = whole * (then - held.collateral + SLACK) // (whole - ratio) + SLACK
        else:
            notional = whole * (then + held.collateral - SLACK) // (whole + ratio) - SLACK
        price = notional * unit // (held.size_e9 * 10**scales.quote)
    else:
        notional = scaled(held.size_e9, scales.size, scales.quote)
        if notional == 0:
            return None
        room = held.collateral - notional * ratio // whole - SLACK
        step = room * held.entry_price_e6 // notional
        price = held.entry_price_e6 - step if long else held.entry_price_e6 + step
    price = price + SLACK if long else price - SLACK
    shown = scaled(price, scales.price, E6)
    return max(shown + 1 if long else shown, 0)
