"""The live view of a keeper on a terminal."""

import asyncio
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from liqctl.cli.options import Session
from liqctl.cli.render import decimal, health, quote
from liqctl.core.health import Assessment
from liqctl.core.record import Liquidation

if TYPE_CHECKING:
    from liqctl.keeper.context import Context
    from liqctl.keeper.service import Keeper
    from liqctl.keeper.status import Status

REFRESH_S = 0.25
ROWS = 6


async def show_live(session: Session, keeper: "Keeper", context: "Context") -> None:
    """Draw the keeper four times a second until cancelled."""
    with Live(console=session.screen.out, auto_refresh=False, transient=False) as live:
        while True:
            recent = await context.store.run(context.store.store.recent_liquidations, limit=ROWS)
            live.update(view(keeper, recent), refresh=True)
            await asyncio.sleep(REFRESH_S)


def view(keeper: "Keeper", recent: list[Liquidation]) -> RenderableType:
    """Return one picture of the keeper."""
    status = keeper.status()
    return Group(
        _headline(status),
        _prices(status),
        _closest(keeper.engine.closest(ROWS)),
        _queue(keeper),
        _recent(recent),
    )


def _headline(status: "Status") -> Text:
    coverage = status.coverage
    fund = quote(status.fund_balance) if status.fund_balance is not None else "unknown"
    complete = coverage.evaluated == coverage.positions
    text = Text()
    text.append("liqctl watch", style="bold")
    text.append(f"  slot {status.slot:,}  up {status.uptime_ms // 1_000} s  positions ")
    text.append(
        f"{coverage.evaluated:,}/{coverage.positions:,}", style="green" if complete else "bold red"
    )
    text.append(f"  waiting {status.waiting}  in flight {status.in_flight}")
    text.append(f"  quarantined {status.quarantined}")
    if status.held is not None:
        text.append(f"  HELD: {status.held}", style="bold red")
    text.append("\n")
    text.append(f"full {status.full}  partial {status.partial}  failed {status.failed}")
    text.append(f"  lost races {status.lost_races}  insurance fund {fund}")
    return text


def _prices(status: "Status") -> Table:
    table = _table("market", "mark price")
    for market in sorted(status.markets, key=lambda m: m.symbol):
        price = market.refusal if market.price_e6 is None else decimal(market.price_e6, 6)
        table.add_row(market.symbol, price or "")
    return table


def _closest(verdicts: list[Assessment]) -> Table:
    table = _table("closest position", "market", "health", "equity", "margin")
    for verdict in verdicts:
        style = "bold red" if verdict.liquidatable else ""
        table.add_row(
            verdict.position,
            verdict.symbol,
            health(verdict.health),
            quote(verdict.equity),
            quote(verdict.maintenance_margin),
            style=style,
        )
    return table


def _queue(keeper: "Keeper") -> Table:
    table = _table("queue", "state", "health", "tries", "reason")
    for entry in keeper.engine.queue.entries()[:ROWS]:
        table.add_row(
            entry.position, entry.state.value, health(entry.health), str(entry.tries), entry.reason
        )
    return table


def _recent(rows: list[Liquidation]) -> Table:
    table = _table("recent liquidation", "market", "kind", "price", "reward", "bad debt")
    for row in rows:
        table.add_row(
            row.position_pubkey,
            row.symbol,
            "full" if row.is_full_liquidation else "partial",
            decimal(row.liquidation_price, 6),
            quote(row.liquidator_reward),
            quote(row.bad_debt),
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column(columns[0], min_width=44, no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, justify="left" if column in {"market", "state"} else "right")
    return table
