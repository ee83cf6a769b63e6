"""How a verdict of the perpetuals program comes about, figure by figure, for a person."""

from collections.abc import Mapping

from liqctl.core.account import Seen
from liqctl.core.fixed import U64_MAX
from liqctl.core.position import Position
from liqctl.venues.perpetuals_assess import (
    collateral_of,
    custody_of,
    market_at,
    record_of,
    value_at,
)
from liqctl.venues.perpetuals_layout import LONG
from liqctl.venues.perpetuals_math import Refused, price_e6
from liqctl.venues.perpetuals_oracle import prices_of, source_in_view
from liqctl.venues.perpetuals_verdict import (
    charges_usd,
    gain_of,
    leverage_bps,
    liquidation_price_e6,
    margin_usd,
    terms_of,
)

Steps = tuple[tuple[str, int], ...]


def steps(position: Position, view: Mapping[str, Seen], program_id: str, now_s: int) -> Steps:
    """Return the figures in the program's order; what it fails before is all there is.

    Money and prices are in 1e-6 USD, amounts in base units of the token.
    """
    market = market_at(view, position.market)
    other = market_at(view, collateral_of(position))
    if market is None or other is None:
        return ()
    custody, collateral = custody_of(market), custody_of(other)
    record, found = record_of(position), [("max_leverage_bps", custody.leverage_max_bps)]
    sources = [
        source_in_view(one.oracle, value_at(view, one.oracle.account), program_id)
        for one in (custody, collateral)
    ]
    try:
        prices = prices_of(custody, collateral, sources[0], sources[1], now_s)
        terms = terms_of(custody, collateral, prices, now_s)
        found += [
            ("spot_price_e6", price_e6(prices.spot)),
            ("average_price_e6", price_e6(prices.ema)),
            ("collateral_spot_price_e6", price_e6(prices.collateral_spot)),
            ("collateral_average_price_e6", price_e6(prices.collateral_ema)),
        ]
        exits = terms.exit_long if record.side == LONG else terms.exit_short
        if exits is not None:
            found.append(("exit_price_e6", exits))
        charges, fee_tokens = charges_usd(record, terms, terms.close_fee_bps)
        found += [
            ("close_fee_bps", terms.close_fee_bps),
            ("close_fee_tokens", fee_tokens),
            ("unrealized_profit_carried_e6", record.unrealized_profit_usd),
            ("unrealized_loss_carried_e6", record.unrealized_loss_usd),
            ("charges_e6", charges),
        ]
        gain = gain_of(record, terms, settling=False)
        margin = margin_usd(record, gain)
        found += [("profit_e6", gain.profit), ("loss_e6", gain.loss), ("margin_e6", margin)]
        leverage = leverage_bps(record, margin)
        if leverage < U64_MAX:
            found.append(("leverage_bps", leverage))
        found.append(("program_liquidation_price_e6", liquidation_price_e6(record, terms)))
    except Refused:
        pass  # the verdict itself says why there is nothing further
    return tuple(found)
