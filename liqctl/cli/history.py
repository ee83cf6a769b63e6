"""`liqctl history`: past liquidations and failures from the database."""

import csv
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Session, whole_number, with_session
from liqctl.core.record import FailureRow, Liquidation, Totals
from liqctl.errors import SettingsError

if TYPE_CHECKING:
    from liqctl.ports import Store

app = command_app()

ALL = 10**9
FAILURES_PAGE = 1_000
EXAMPLES = (
    "Examples: liqctl history --market SOL --limit 50; liqctl history --failures; "
    "liqctl history --position PUBKEY --json; liqctl history --limit 0 --csv > liquidations.csv"
)


@app.command(epilog=EXAMPLES)
@with_session()
def history(
    *,
    session: Session,
    failures: Annotated[
        bool, typer.Option("--failures", help="Failures and their classes instead.")
    ] = False,
    market: Annotated[
        str | None, typer.Option("--market", metavar="SYMBOL", help="Only this market.")
    ] = None,
    position: Annotated[
        str | None, typer.Option("--position", metavar="PUBKEY", help="Only this position.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", help="Show at most so many; 0 is all.")
    ] = 20,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV with the columns of the database.")
    ] = False,
) -> None:
    """Show past liquidations and failures.

    The newest come first. The totals are over everything recorded. With --json each row is an
    object on its line and the totals are the last one; money is in 1e-6 quote.
    """
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    whole_number("--limit", limit, 0, ALL)
    if as_csv and session.as_json:
        raise SettingsError("--csv and --json exclude each other")
    _check_position(position)
    url = session.settings.database_url
    with closing(open_store(url, create=False, read_only=True)) as store:
        totals = store.totals()
        if failures:
            failed = _failures(store, market, position, limit or ALL)
            _print_failures(session, failed, totals, as_csv=as_csv)
        else:
            done = store.recent_liquidations(symbol=market, position=position, limit=limit or ALL)
            _print_liquidations(session, done, totals, as_csv=as_csv)


def _check_position(position: str | None) -> None:
    from liqctl.chain.base58 import is_address  # noqa: PLC0415 - 90 ms, not for --help

    if position is not None and not is_address(position):
        raise SettingsError(f"{position!r} is no public key in base58")


def _failures(
    store: "Store", market: str | None, position: str | None, limit: int
) -> list[FailureRow]:
    """Return the newest failures; the store knows no markets here, so it is asked for more."""
    asked = limit if market is None else max(limit, FAILURES_PAGE)
    while True:
        rows = store.recent_failures(position=position, limit=asked)
        found = [row for row in rows if market in {None, row.symbol}]
        if len(found) >= limit or len(rows) < asked:
            return found[:limit]
        asked *= 4


def _print_liquidations(
    session: Session, rows: list[Liquidation], totals: Totals, *, as_csv: bool
) -> None:
    if as_csv:
        _print_csv(session, [field.name for field in fields(Liquidation)], rows)
    elif session.as_json:
        for row in rows:
            session.screen.json({"type": "liquidation", **asdict(row)})
        session.screen.json({"type": "totals", "shown": len(rows), **asdict(totals)})
    else:
        _liquidation_table(session, rows)
        session.screen.print(f"{len(rows)} shown; {_totals(totals)}")


def _print_failures(
    session: Session, rows: list[FailureRow], totals: Totals, *, as_csv: bool
) -> None:
    classes = dict(Counter(row.failure_class for row in rows).most_common())
    if as_csv:
        _print_csv(session, [field.name for field in fields(FailureRow)], rows)
    elif session.as_json:
        for row in rows:
            session.screen.json({"type": "failure", **asdict(row)})
        session.screen.json(
            {"type": "totals", "shown": len(rows), "classes": classes, **asdict(totals)}
        )
    else:
        _failure_table(session, rows)
        counted = ", ".join(f"{count} {name}" for name, count in classes.items())
        shown = f"{len(rows)} shown" + (f": {counted}" if counted else "")
        session.screen.print(f"{shown}; {_totals(totals)}")


def _print_csv(
    session: Session, columns: list[str], rows: Sequence[Liquidation | FailureRow]
) -> None:
    writer = csv.writer(session.screen.out.file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_csv_cell(getattr(row, column)) for column in columns] for row in rows)


def _csv_cell(value: object) -> object:
    """Return a value for CSV: true or false, nothing for None or NaN, text without controls."""
    from liqctl.cli.redact import escape  # noqa: PLC0415 - with the rows only

    match value:
        case bool():
            return str(value).lower()
        case float() if math.isnan(value):
            return ""
        case str():
            return escape(value)
        case _:
            return value


def _liquidation_table(session: Session, rows: list[Liquidation]) -> None:
    from liqctl.cli.arithmetic import (  # noqa: PLC0415 - 40 ms, not for --help
        PRICE_DIGITS,
        size_digits,
    )
    from liqctl.cli.render import decimal, health, quote  # noqa: PLC0415 - 40 ms, not for --help
    from liqctl.cli.times import utc  # noqa: PLC0415 - with the rows only

    if not rows:
        return
    cells = [
        (
            utc(row.timestamp),
            row.position_pubkey,
            row.symbol,
            "full" if row.is_full_liquidation else "partial",
            decimal(row.liquidated_size, size_digits(row.venue)),
            decimal(row.liquidation_price, PRICE_DIGITS),
            quote(row.liquidator_reward),
            quote(row.bad_debt),
            health(row.health_factor_before),
        )
        for row in rows
    ]
    numbers = ("size", "price", "reward", "bad debt", "health before")
    session.screen.table(("time", "position", "market", "kind", *numbers), cells, right=numbers)


def _failure_table(session: Session, rows: list[FailureRow]) -> None:
    from liqctl.cli.times import utc  # noqa: PLC0415 - with the rows only

    if not rows:
        return
    cells = [
        (
            utc(row.at_ms // 1_000),
            row.position_pubkey,
            row.symbol,
            row.failure_class,
            row.detail,
        )
        for row in rows
    ]
    session.screen.table(("time", "position", "market", "class", "detail"), cells)


def _totals(totals: Totals) -> str:
    from liqctl.cli.render import lamports, quote  # noqa: PLC0415 - 40 ms, not for --help

    return (
        f"in total {totals.full:,} full, {totals.partial:,} partial, {totals.failed:,} failed, "
        f"{totals.lost_races:,} lost to others, rewards {quote(totals.rewards)}, "
        f"bad debt {quote(totals.bad_debt)}, fees {lamports(totals.fees_lamports)}"
    )
