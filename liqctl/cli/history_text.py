"""Rows of the history as a table, as JSON lines and as CSV."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields

from liqctl.cli.arithmetic import PRICE_DIGITS, size_digits
from liqctl.cli.market_name import market_names
from liqctl.cli.options import Session
from liqctl.cli.redact import escape
from liqctl.cli.render import decimal, health, lamports, quote
from liqctl.cli.times import utc
from liqctl.core.record import AttemptRow, FailureRow, Liquidation, Totals

Record = Liquidation | FailureRow | AttemptRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Rows of one kind, the cells of their table, and how many there are of each sort."""

    word: str
    kind: type[Record]
    rows: Sequence[Record]
    heads: Sequence[str]
    right: Sequence[str]
    cells: Sequence[Sequence[object]]
    sorts: Mapping[str, Mapping[str, int]]


def write(session: Session, listing: Listing, totals: Totals, *, as_csv: bool) -> None:
    """Print the rows in the form that was asked for; the totals come last, CSV has none."""
    if as_csv:
        columns = [field.name for field in fields(listing.kind)]
        writer = csv.writer(session.screen.out.file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(
            [_csv_cell(getattr(row, each)) for each in columns] for row in listing.rows
        )
    elif session.as_json:
        for row in listing.rows:
            session.screen.json({"type": listing.word, **asdict(row)})
        last = {"type": "totals", "shown": len(listing.rows), **listing.sorts, **asdict(totals)}
        session.screen.json(last)
    else:
        if listing.cells:
            session.screen.table(listing.heads, listing.cells, right=listing.right)
        session.screen.print(f"{_shown(listing)}; {_totals(totals)}")


def liquidation_listing(rows: Sequence[Liquidation]) -> Listing:
    """Return liquidations with their money in decimals."""
    numbers = ("size", "price", "reward", "bad debt", "health before")
    return Listing(
        word="liquidation",
        kind=Liquidation,
        rows=rows,
        heads=("time", "position", "market", "kind", *numbers),
        right=numbers,
        cells=[
            (
                utc(row.timestamp),
                row.position_pubkey,
                market,
                "full" if row.is_full_liquidation else "partial",
                decimal(row.liquidated_size, size_digits(row.venue)),
                decimal(row.liquidation_price, PRICE_DIGITS),
                quote(row.liquidator_reward),
                quote(row.bad_debt),
                health(row.health_factor_before),
            )
            for row, market in zip(rows, market_names(rows), strict=True)
        ],
        sorts={},
    )


def failure_listing(rows: Sequence[FailureRow], classes: Mapping[str, int]) -> Listing:
    """Return failures and how many of them are of each class."""
    return Listing(
        word="failure",
        kind=FailureRow,
        rows=rows,
        heads=("time", "position", "market", "class", "detail"),
        right=(),
        cells=[
            (
                utc(row.at_ms // 1_000),
                row.position_pubkey,
                row.symbol,
                row.failure_class,
                row.detail,
            )
            for row in rows
        ],
        sorts={"classes": classes},
    )


def attempt_listing(rows: Sequence[AttemptRow], states: Mapping[str, int]) -> Listing:
    """Return attempts and how many of them are in each state; an unknown fee is a dash."""
    numbers = ("sends", "fee", "slot")
    return Listing(
        word="attempt",
        kind=AttemptRow,
        rows=rows,
        heads=("signed", "position", "market", "state", *numbers, "signature"),
        right=numbers,
        cells=[
            (
                utc(row.signed_ms // 1_000),
                row.position,
                row.symbol,
                row.state,
                row.sends,
                _or_dash(row.fee_lamports),
                _or_dash(row.final_slot),
                row.signature,
            )
            for row in rows
        ],
        sorts={"states": states},
    )


def _or_dash(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def _csv_cell(value: object) -> object:
    """Return a value for CSV: true or false, nothing for None or NaN, text without controls."""
    match value:
        case bool():
            return str(value).lower()
        case float() if math.isnan(value):
            return ""
        case str():
            return escape(value)
        case _:
            return value


def _shown(listing: Listing) -> str:
    counts = [(count, name) for sort in listing.sorts.values() for name, count in sort.items()]
    counted = ", ".join(f"{count} {name}" for count, name in counts)
    return f"{len(listing.rows)} shown" + (f": {counted}" if counted else "")


def _totals(totals: Totals) -> str:
    return (
        f"in total {totals.full:,} full, {totals.partial:,} partial, {totals.failed:,} failed, "
        f"{totals.lost_races:,} lost to others, rewards {quote(totals.rewards)}, "
        f"bad debt {quote(totals.bad_debt)}, fees {lamports(totals.fees_lamports)}"
    )
