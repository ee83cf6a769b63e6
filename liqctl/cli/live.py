"""The live view of a keeper on a terminal."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from liqctl.cli.options import Session
from liqctl.cli.readers import unwaiting
from liqctl.cli.render import decimal, health, quote
from liqctl.cli.times import span
from liqctl.core.health import Assessment
from liqctl.core.queue import Entry
from liqctl.core.record import Liquidation
from liqctl.errors import StoreError

if TYPE_CHECKING:
    from liqctl.core.status import Status
    from liqctl.keeper.context import Context
    from liqctl.keeper.service import Keeper

REFRESH_S = 0.25
ROWS_MAX = 10
WIDTH_OF_ADDRESSES = 100
ADDRESS_LENGTH = 44
SILENT_MS = 10_000
_LEFT = frozenset({"market", "state", "kind", "reason"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How much the terminal can hold: rows of the three lists, and whether whole addresses fit."""

    rows: int
    whole_addresses: bool

    @classmethod
    def of(cls, width: int, height: int, markets: int, keepers: int = 1) -> "Room":
        """Return what headlines, prices and headings leave to the lists."""
        left = height - (3 * keepers + 1) - (markets + 2) - 3 * 2 - 1
        return cls(rows=max(left, 3), whole_addresses=width >= WIDTH_OF_ADDRESSES)

    @property
    def third(self) -> int:
        """Rows of the queue, which comes last so that nothing jumps when it grows, and of the recent."""
        return min(self.rows // 3, ROWS_MAX)

    def closest(self, recent: int) -> int:
        """Return how many rows are left to the closest positions beside so many recent ones."""
        return self.rows - self.third - min(recent, self.third)

    def address(self, address: str) -> str:
        """Return an address, shortened where it would push figures off the screen."""
        return address if self.whole_addresses else f"{address[:6]}…{address[-6:]}"


async def show_live(session: Session, keepers: Sequence["Keeper"], context: "Context") -> None:
    """Draw the keepers four times a second until cancelled, and once more at the end."""
    console, on_screen = session.screen.out, session.screen.err.is_terminal
    if on_screen and session.origins["log_level"] == "default":
        logging.getLogger().setLevel(logging.WARNING)  # the view shows what the lines would tell

    recent: list[Liquidation] = []

    async def draw() -> None:
        nonlocal recent
        with suppress(StoreError):  # the keeper reports it, and the headline counts it
            store = context.store
            recent = await store.run(store.store.recent_liquidations, limit=ROWS_MAX)
        markets = sum(len(keeper.engine.markets()) for keeper in keepers)
        room = Room.of(console.width, console.height, markets, len(keepers))
        live.update(view(keepers, recent, room, dry_run=session.dry_run), refresh=True)

    # Log lines that go to a file must not end up on the screen instead.
    with (
        unwaiting(console),
        Live(console=console, auto_refresh=False, redirect_stderr=on_screen) as live,
    ):
        try:
            while True:
                await draw()
                await asyncio.sleep(REFRESH_S)
        finally:
            await draw()


def view(
    keepers: Sequence["Keeper"],
    recent: Sequence[Liquidation],
    room: Room,
    *,
    dry_run: bool = False,
) -> RenderableType:
    """Return one picture of the keepers: a headline each, prices and lists of all together."""
    named = {keeper.venue.id if len(keepers) > 1 else "": keeper for keeper in keepers}
    statuses = {venue: keeper.status() for venue, keeper in named.items()}
    limit = room.closest(len(recent))
    verdicts = [one for keeper in keepers for one in keeper.engine.closest(limit)]
    entries = [one for keeper in keepers for one in keeper.engine.queue.entries()]
    return Group(
        *(_headline(venue, status, dry_run=dry_run) for venue, status in statuses.items()),
        "",
        _prices(statuses),
        "",
        _closest(sorted(verdicts, key=lambda a: (a.health, a.position))[:limit], room),
        "",
        _recent(recent[: room.third], room),
        "",
        _queue(_most_urgent(entries, len(keepers))[: room.third], room),
    )


def _most_urgent(entries: list[Entry], queues: int) -> list[Entry]:
    """Return entries in the order of one queue, which each of several has for itself."""
    return entries if queues == 1 else sorted(entries, key=lambda e: (e.health, e.position))


def _headline(venue: str, status: "Status", *, dry_run: bool) -> Text:
    coverage = status.coverage
    complete = coverage.evaluated == coverage.positions
    text = Text()
    text.append(f"liqctl watch {venue}".rstrip(), style="bold")
    text.append(f"  slot {status.slot:,}  up {span(status.uptime_ms)}  ")
    if status.snapshot_age_ms is None:
        text.append("reading all positions")
    else:
        counted = f"positions {coverage.evaluated:,}/{coverage.positions:,}"
        text.append(counted, style="green" if complete else "bold red")
    for alarm in _alarms(status, dry_run=dry_run):
        text.append(f"  {alarm}", style="bold red")
    text.append(
        f"\nwaiting {status.waiting}  in flight {status.in_flight}"
        f"  quarantined {status.quarantined}  insurance fund {_money(status.fund_balance)}"
        f"\nliquidated: full {status.full}  partial {status.partial}  failed {status.failed}"
        f"  lost races {status.lost_races}"
    )
    return text


def _alarms(status: "Status", *, dry_run: bool) -> list[str]:
    """Return what a person should see first."""
    alarms = ["DRY RUN"] if dry_run else []
    if status.held is not None:
        alarms.append(f"HELD: {status.held}")
    if status.check_age_ms is not None and status.check_age_ms > SILENT_MS:
        alarms.append(f"NODE SILENT for {span(status.check_age_ms)}")
    if status.store_errors:
        alarms.append(f"DATABASE ERRORS {status.store_errors}")
    return alarms


def _prices(statuses: Mapping[str, "Status"]) -> Table:
    table = _table("market", "mark price")
    for venue, status in statuses.items():
        for market in sorted(status.markets, key=lambda m: m.symbol):
            name = f"{venue} {market.symbol}".lstrip()
            if market.price_e6 is None:
                table.add_row(name, Text(market.refusal or "unknown", style="bold red"))
            else:
                table.add_row(name, _price(market.price_e6))
    return table


def _closest(verdicts: Sequence[Assessment], room: Room) -> Table:
    table = _table("closest position", "market", "health", "equity", "margin", room=room)
    for verdict in verdicts:
        table.add_row(
            room.address(verdict.position),
            verdict.symbol,
            health(verdict.health),
            _money(verdict.equity),
            _money(verdict.maintenance_margin),
            style="bold red" if verdict.liquidatable else "",
        )
    return table


def _queue(entries: Sequence[Entry], room: Room) -> Table:
    table = _table("queue", "state", "health", "tries", "reason", room=room)
    for entry in entries:
        state = entry.state.value.replace("_", " ")
        table.add_row(
            room.address(entry.position),
            state,
            health(entry.health),
            str(entry.tries),
            entry.reason,
        )
    return table


def _recent(rows: Sequence[Liquidation], room: Room) -> Table:
    columns = ("market", "kind", "price", "reward", "bad debt")
    table = _table("recent liquidation", *columns, room=room)
    for row in rows:
        table.add_row(
            room.address(row.position_pubkey),
            row.symbol,
            "full" if row.is_full_liquidation else "partial",
            _price(row.liquidation_price),
            _money(row.liquidator_reward),
            _money(row.bad_debt),
        )
    return table


def _price(price_e6: int) -> str:
    """Return a price with all its places, so that those of a column stand below each other."""
    return quote(price_e6).ljust(len(decimal(price_e6 // 10**6, 0)) + 7, "0")


def _money(amount: int | None) -> str:
    """Return quote units with two places, rounded down: a view is read at a glance."""
    return "unknown" if amount is None else quote(amount // 10_000, 2)


def _table(*columns: str, room: Room | None = None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    wide = room is not None and room.whole_addresses
    table.add_column(columns[0], min_width=ADDRESS_LENGTH if wide else 18, no_wrap=True)
    for column in columns[1:]:
        table.add_column(column, justify="left" if column in _LEFT else "right", no_wrap=True)
    return table
