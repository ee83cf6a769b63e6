"""What is wrong with the prices that verdicts and transactions rest on. Pure."""

from collections.abc import Iterator

from liqctl.alerts.figures import ago
from liqctl.alerts.policy import Condition
from liqctl.alerts.rule import Look, Rule, Thresholds
from liqctl.core.status import MarketStatus


def price_missing(rule: Rule, look: Look, limits: Thresholds) -> Iterator[Condition]:
    """Yield every market without a usable price."""
    for market in look.status.markets:
        if market.price_e6 is None:
            yield rule.found(
                f"{look.status.venue}/{_named(market)}",
                f"{_named(market)}: no usable price",
                f"Found: {market.refusal}{_age(market)}. Expected: a price not older than "
                f"{market.max_price_age_s} s. Positions of the market cannot be judged or "
                "liquidated. Do: see whether the price account is being published; "
                "`liqctl doctor` shows every feed.",
                after_ms=limits.price_ms_max,
            )


def price_doubted(rule: Rule, look: Look, limits: Thresholds) -> Iterator[Condition]:
    """Yield every market whose price is known and yet doubted, so that sends are held back."""
    for market in look.status.markets:
        if market.price_e6 is not None and market.doubt is not None:
            yield rule.found(
                f"{look.status.venue}/{_named(market)}",
                f"{_named(market)}: the price is doubted, so sends are held back",
                f"Found: {market.doubt}{_age(market)}. Expected: sources that agree, as fresh and "
                "as sure as the settings ask. Positions of the market are judged, but liquidated "
                "only while sources disagree and at each of them. Do: compare the sources of the market on the dashboard or with "
                "`liqctl explain PUBKEY`; relax its limits only if they are wrong.",
                after_ms=limits.price_ms_max,
            )


def hermes_down(rule: Rule, look: Look, limits: Thresholds) -> Iterator[Condition]:
    """Yield that the price service, where one is used, sends nothing."""
    hermes = look.status.hermes
    if hermes is not None and hermes.down is not None:
        age_ms = hermes.prices_age_ms
        last = "none since the start" if age_ms is None else ago(age_ms)
        yield rule.found(
            look.status.venue,
            f"{look.status.venue}: no prices come from Hermes",
            f"Found: {hermes.down}; the last price: {last}. Expected: a stream of prices. Nothing "
            "is sent in markets that need this source. Do: see whether "
            f"{hermes.url} answers and takes the key; `liqctl doctor` tries it.",
            after_ms=limits.price_ms_max,
        )


def _named(market: MarketStatus) -> str:
    return market.symbol or market.market


def _age(market: MarketStatus) -> str:
    return "" if market.age_s is None else f", published {ago(market.age_s * 1_000)}"
