"""The insurance fund as lines for people and as an object for scripts."""

from collections.abc import Sequence

from liqctl.cli.fund import FundReport, MarketInterest
from liqctl.cli.render import decimal, quote
from liqctl.cli.times import span
from liqctl.core.record import InsuranceSample

LARGER_SIDE = "larger_side"


def report_lines(report: FundReport) -> list[str]:
    """Return what there is to say of the fund now, a figure a line, money in quote."""
    fund = report.fund
    lines = [
        f"insurance fund      {fund.address}",
        f"balance             {quote(fund.balance)}",
        f"bad debt covered    {quote(fund.bad_debt_covered)}",
        f"bad debt uncovered  {quote(fund.bad_debt_uncovered)}",
        f"liquidations        {fund.liquidation_count:,}",
        f"open interest       {_open_interest(report)}",
        f"coverage            {_coverage(report)}",
        f"value locked        {_value_locked(report)}",
        f"slot                {report.slot:,}",
    ]
    if report.is_low:
        lines.append("warning: the fund is below 5 % of the value locked")
    return lines


def history_lines(past: Sequence[InsuranceSample], *, width: int, unicode: bool) -> list[str]:
    """Return a plot of recorded balances, oldest first; nothing for fewer than two of them."""
    from liqctl.cli.plot import line_plot  # noqa: PLC0415 - 117 ms, only with a history

    if len(past) < 2:
        return []
    first, last = past[0], past[-1]
    lasted_ms = last.at_ms - first.at_ms
    change = last.balance - first.balance
    return [
        f"history             {len(past):,} samples in {span(lasted_ms)}, "
        f"{'+' if change >= 0 else ''}{quote(change)}",
        *line_plot(
            [(one.at_ms, one.balance) for one in past],
            width=width,
            unicode=unicode,
            label=quote,
            ends=(f"{span(lasted_ms)} before", "last"),
        ),
    ]


def as_json(report: FundReport, past: Sequence[InsuranceSample]) -> dict[str, object]:
    """Return the fund as scripts see it: money in 1e-6 quote, null where it is not known."""
    fund = report.fund
    return {
        "type": "insurance_fund",
        "balance": fund.balance,
        "address": fund.address,
        "bad_debt_covered": fund.bad_debt_covered,
        "bad_debt_uncovered": fund.bad_debt_uncovered,
        "liquidations": fund.liquidation_count,
        "open_interest": report.open_interest,
        "open_interest_basis": LARGER_SIDE,
        "coverage_bps": report.coverage_bps,
        "value_locked": report.tvl,
        "value_locked_bps": report.tvl_share_bps,
        "low": report.is_low,
        "slot": report.slot,
        "markets": [_market(one) for one in report.markets],
        "unreadable_markets": report.unreadable,
        "history": [
            {
                "at_ms": one.at_ms,
                "slot": one.slot,
                "balance": one.balance,
                "bad_debt_covered": one.bad_debt_covered,
                "bad_debt_uncovered": one.bad_debt_uncovered,
            }
            for one in past
        ],
    }


def _market(one: MarketInterest) -> dict[str, object]:
    return {
        "symbol": one.symbol,
        "long_size": one.long_size,
        "short_size": one.short_size,
        "price_e6": one.price_e6,
        "refusal": one.refusal,
        "open_interest": one.open_interest,
    }


def _open_interest(report: FundReport) -> str:
    if report.open_interest is not None:
        return f"{quote(report.open_interest)}, of each market the larger side at its mark price"
    missing = [f"{one.symbol} {one.refusal}" for one in report.markets if one.open_interest is None]
    if report.unreadable:
        missing.append(f"{report.unreadable} unreadable")
    return f"unknown: {', '.join(missing)}"


def _coverage(report: FundReport) -> str:
    if report.coverage_bps is not None:
        return f"{decimal(report.coverage_bps, 2)} % of the open interest"
    return "unknown" if report.open_interest is None else "nothing is open"


def _value_locked(report: FundReport) -> str:
    if report.tvl is None:
        return f"unknown: {report.fund.vault} is no token account of the fund's mint"
    share = report.tvl_share_bps
    told = "" if share is None else f", of which the fund is {decimal(share, 2)} %"
    return f"{quote(report.tvl)}{told}"
