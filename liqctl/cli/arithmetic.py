"""The whole arithmetic of one verdict, line by line, for a person who has to decide."""

from liqctl.cli.reasons import explained
from liqctl.cli.render import decimal, health, lamports, quote
from liqctl.config import Settings
from liqctl.core.guards import SIGNATURE_FEE_LAMPORTS
from liqctl.core.health import Assessment
from liqctl.core.position import Position

SIZE_DIGITS = 9
PRICE_DIGITS = 6
# Where sizes are in USD; a user's own program is told by its mapping, which records do not keep.
_USD_SIZED = frozenset({"perpetuals", "adrena", "jupiter"})


def size_digits(venue: str) -> int:
    """Return how many decimals the sizes of a venue have, by its name in records.

    >>> size_digits("reference"), size_digits("perpetuals")
    (9, 6)
    """
    return 6 if venue in _USD_SIZED else SIZE_DIGITS


def arithmetic(
    position: Position,
    verdict: Assessment,
    settings: Settings,
    max_size: int | None = None,
    digits: int = SIZE_DIGITS,
) -> list[str]:
    """Return the lines that lead from position and price to what a liquidation does and costs.

    `max_size` is the limit of the person who asks; sizes have so many decimal digits.
    """
    size = decimal(position.size, digits)
    lines = [
        f"position            {position.address}",
        f"owner               {position.owner}",
        f"market              {verdict.symbol}, {position.side.value} {size}, "
        f"leverage {position.leverage}x",
        f"entry price         {decimal(position.entry_price_e6, PRICE_DIGITS)}",
        f"collateral          {quote(position.collateral)}",
    ]
    if verdict.liquidatable is None:
        return [*lines, f"verdict             unknown: {explained(verdict.unknown_reason or '')}"]
    pnl = verdict.equity - position.collateral
    lines += [
        f"mark price          {decimal(verdict.price_e6, PRICE_DIGITS)} "
        f"({_age(verdict.price_age_s)}, confidence {verdict.confidence_bps} bps)",
        f"notional            {quote(verdict.notional)}",
        f"unrealized PnL      {quote(pnl)}",
        f"equity              {quote(verdict.equity)}",
        f"maintenance margin  {quote(verdict.maintenance_margin)}",
        f"health              {health(verdict.health)} at slot {verdict.slot:,}",
    ]
    if not verdict.liquidatable:
        return [*lines, "verdict             healthy"]
    lines += _liquidation(position, verdict, digits)
    if max_size is not None and max_size < verdict.close_size:
        limit = decimal(max_size, digits)
        lines.append(f"your limit          closes {limit} only; fee and reward shrink with it")
    return [*lines, *_cost(settings)]


def _age(age_s: int) -> str:
    return f"{age_s} s old" if age_s >= 0 else f"{-age_s} s ahead of the cluster's clock"


def _liquidation(position: Position, verdict: Assessment, digits: int) -> list[str]:
    blocked = [f"blocked             {explained(blocker)}" for blocker in verdict.blockers]
    if verdict.kind is None:
        return ["verdict             liquidatable", *blocked]
    closed = decimal(verdict.close_size, digits)
    share = verdict.close_size * 100 // position.size if position.size else 100
    lines = [
        f"verdict             liquidatable: {verdict.kind}, closes {closed} ({share} %)",
        f"liquidation fee     {quote(verdict.fee)}",
        f"your reward         {quote(verdict.reward)}",
        f"insurance fund      {quote(verdict.fund_delta)}",
        f"owner receives      {quote(verdict.owner_payout)}",
    ]
    if verdict.bad_debt:
        uncovered = quote(verdict.bad_debt_uncovered)
        lines.append(f"bad debt            {quote(verdict.bad_debt)}, uncovered {uncovered}")
    return [*lines, *blocked]


def _cost(settings: Settings) -> list[str]:
    fee = SIGNATURE_FEE_LAMPORTS + settings.priority_fee_lamports
    return [f"cost at most        {lamports(fee)} plus rent of token accounts that are missing"]
