"""Positions and prices in the store, fresh enough to read and never in the way of a send."""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Protocol, runtime_checkable

from liqctl.core.account import Seen
from liqctl.core.engine import Engine
from liqctl.core.events import AccountsSeen
from liqctl.core.position import Position
from liqctl.core.record import PositionRow, PriceRow
from liqctl.core.status import DISTANCES_BPS, MarketStatus
from liqctl.errors import StoreError
from liqctl.keeper.context import Context
from liqctl.keeper.markets import market_statuses
from liqctl.ports import Clock

NS_PER_MS = 1_000_000
# Judged in one turn of the loop: a notice that comes meanwhile waits for no more than these.
TURN_ROWS = 8
NOTED_AT_ONCE_MAX = 500


@runtime_checkable
class TellsLiquidationPrice(Protocol):
    """A venue that knows the last price at which a position is liquidatable, not just a bound."""

    def liquidation_price_e6(self, position: Position, view: Mapping[str, Seen]) -> int | None:
        """Return it in 1e-6 quote, None when there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much is written how often.

    Each `plan_ms` the `near` positions closest to their line are due, those whose accounts
    changed, and as many others as bring all of them round in `round_ms`; the first round takes
    no longer than it must. A commit has at most
    `slice_rows` and comes no sooner than `tick_ms` after the one before. Slices shrink, down to
    `slice_rows_min`, until the store takes one within `slice_ms`; where that is too little the
    round takes longer. While a decision is on its way to its record, a slice waits for up to
    `patience_ms`.
    """

    tick_ms: int = 250
    plan_ms: int = 1_000
    round_ms: int = 10_000
    near: int = 100
    slice_rows: int = 250
    slice_rows_min: int = 50
    slice_ms: int = 8
    patience_ms: int = 2_000

    def after(self, rows: int, took_ns: int) -> int:
        """Return how many rows the next slice may have after one of so many took so long."""
        if took_ns > self.slice_ms * NS_PER_MS:
            return max(rows // 2, self.slice_rows_min)
        return min(rows + rows // 4 + 1, self.slice_rows)


class Mirror:
    """Writes what the engine holds as rows for other processes; nothing here decides anything.

    A row that is not written in a whole round belongs to an earlier run, or to a position that is
    no more: it is forgotten at the end of the round. Those known to be gone go at once.
    """

    def __init__(
        self, context: Context, engine: Engine, busy: Callable[[], bool], pace: Pace | None = None
    ) -> None:
        """Mirror `engine`; `busy` says whether a decision is on its way to the same store."""
        self._context = context
        self._engine = engine
        self._busy = busy
        self._pace = pace or Pace()
        venue = context.venue
        self._tells = venue if isinstance(venue, TellsLiquidationPrice) else None
        self._changed: dict[str, None] = {}
        self._due: dict[str, None] = {}
        self._round: list[str] = []
        self._placed = 0
        self._round_began_ms: int | None = None
        self._forget_before_ms: int | None = None
        self._slice_rows = self._pace.slice_rows
        self._planned_ns: int | None = None
        self._waiting_ns: int | None = None
        self.near = [0] * len(DISTANCES_BPS)
        self.rounds = 0
        self.counts: Counter[str] = Counter()

    def note(self, event: AccountsSeen) -> None:
        """Remember which positions changed; call it before the engine takes the event in.

        A snapshot changes everything at once: that is what the round is for.
        """
        few = len(event.seen) <= NOTED_AT_ONCE_MAX
        for seen in event.seen:
            if isinstance(seen.value, Position):
                if few:
                    self._changed[seen.address] = None
            elif self._engine.position(seen.address) is not None:
                self._changed[seen.address] = None

    async def run(self) -> None:
        """Write again and again; ends only by cancellation."""
        while True:
            idle = not self._due and self._forget_before_ms is None
            pause_ms = self._pace.plan_ms if idle else self._pace.tick_ms
            await self._context.clock.sleep(pause_ms / 1_000)
            await self.step()

    async def step(self) -> None:
        """Write at most one slice; what a failing store did not take is due again."""
        now_ns = self._context.clock.monotonic_ns()
        if self._planned_ns is None or now_ns - self._planned_ns >= self._pace.plan_ms * NS_PER_MS:
            self._planned_ns = now_ns
            self._plan()
            await self._write_prices()
        if not self._due and self._forget_before_ms is None:
            return
        if self._yields(now_ns):
            return
        batch = list(islice(self._due, self._slice_rows))
        try:
            await self._write(batch)
        except StoreError:
            self.counts["store_errors"] += 1

    async def end(self, timeout_s: float) -> None:
        """Write once more, for at most this long; call it when `run` was cancelled.

        What is read after the end is then what the keeper knew last, with no position in it that
        the keeper itself has closed.
        """
        self._plan()
        try:
            async with asyncio.timeout(timeout_s):
                await self._write_prices()
                await self._write(list(islice(self._due, self._slice_rows)))
        except (StoreError, TimeoutError):
            self.counts["store_errors"] += 1

    def _yields(self, now_ns: int) -> bool:
        """Whether a decision goes first; it does so for a while, not for ever."""
        if not self._busy():
            self._waiting_ns = None
            return False
        if self._waiting_ns is None:
            self._waiting_ns = now_ns
        return now_ns - self._waiting_ns < self._pace.patience_ms * NS_PER_MS

    def _plan(self) -> None:
        """Add what is due from now on, the most urgent first, and count how many are how near."""
        pace, engine = self._pace, self._engine
        self.near = engine.near(DISTANCES_BPS)
        if not self._due and self._placed >= len(self._round) and self._forget_before_ms is None:
            self._turn_round()
        queued = islice(engine.queue.positions(), pace.near)
        urgent = [*self._changed, *queued, *engine.nearest(pace.near)]
        self._changed.clear()
        self._due = dict.fromkeys([*urgent, *self._due])
        # Whatever is urgent, the round goes on.
        room = self._slice_rows * pace.plan_ms // pace.tick_ms - len(self._due)
        room = max(room, pace.slice_rows_min)
        # The first round fills an empty table: it goes as fast as it may.
        share = -(-len(self._round) * pace.plan_ms // pace.round_ms) if self.rounds else room
        following = self._round[self._placed : self._placed + min(share, room)]
        self._due.update(dict.fromkeys(following))
        self._placed += len(following)

    def _turn_round(self) -> None:
        """Begin another round; of the last one everything is written."""
        if self._round_began_ms is not None:
            self.rounds += 1
            self._forget_before_ms = self._round_began_ms
        self._round_began_ms = self._context.clock.unix_ms()
        self._round, self._placed = self._engine.addresses(), 0

    async def _write(self, batch: list[str]) -> None:
        store, clock = self._context.store.store, self._context.clock
        now_ms = clock.unix_ms()
        if self._round_began_ms is not None and now_ms < self._round_began_ms:
            self._round_began_ms = now_ms  # the clock was set back
        rows, removed = await self._judged(batch, now_ms)
        if rows or removed:
            took_ns = await self._context.store.run(
                _timed, clock, store.put_positions, rows, removed
            )
            if 2 * len(batch) > self._slice_rows:  # a few rows say nothing about many
                self._slice_rows = self._pace.after(self._slice_rows, took_ns)
        for address in batch:
            self._due.pop(address, None)
        if self._forget_before_ms is not None:
            before_ms, venue = self._forget_before_ms, self._context.venue.id
            if not await self._context.store.run(store.forget_positions, venue, before_ms):
                self._forget_before_ms = None

    async def _judged(self, batch: list[str], now_ms: int) -> tuple[list[PositionRow], list[str]]:
        """Return rows as they are now, and which of the addresses are no positions any more."""
        rows: list[PositionRow] = []
        removed: list[str] = []
        for number, address in enumerate(batch, start=1):
            position = self._engine.position(address)
            if position is None:
                removed.append(address)
            else:
                rows.append(self._row(position, now_ms))
            if number % TURN_ROWS == 0:
                await asyncio.sleep(0)
        return rows, removed

    def _row(self, position: Position, now_ms: int) -> PositionRow:
        view = self._engine.view
        verdict = self._engine.assess(position)
        known = verdict.liquidatable is not None
        tells = self._tells
        return PositionRow(
            position=position.address,
            owner=position.owner,
            venue=self._context.venue.id,
            market=position.market,
            symbol=verdict.symbol,
            side=position.side.value,
            size=position.size,
            collateral=position.collateral,
            entry_price=position.entry_price_e6,
            liquidatable=verdict.liquidatable,
            reason=verdict.unknown_reason or "",
            health=verdict.health if known else float("nan"),
            equity=verdict.equity if known else None,
            maintenance_margin=verdict.maintenance_margin if known else None,
            liquidation_price=None if tells is None else tells.liquidation_price_e6(position, view),
            mark_price=verdict.price_e6 or None,
            slot=verdict.slot,
            at_ms=now_ms,
        )

    async def _write_prices(self) -> None:
        now_ms = self._context.clock.unix_ms()
        venue = self._context.venue
        rows = [_price_row(venue.id, each, now_ms) for each in market_statuses(venue, self._engine)]
        if not rows:
            return
        try:
            await self._context.store.run(self._context.store.store.put_prices, rows)
        except StoreError:
            self.counts["store_errors"] += 1


def _timed(
    clock: Clock,
    put: Callable[[list[PositionRow], list[str]], None],
    rows: list[PositionRow],
    removed: list[str],
) -> int:
    """On the store's own thread: write rows and return how many nanoseconds that took."""
    began_ns = clock.monotonic_ns()
    put(rows, removed)
    return clock.monotonic_ns() - began_ns


def _price_row(venue: str, market: MarketStatus, now_ms: int) -> PriceRow:
    return PriceRow(
        venue=venue,
        market=market.market,
        symbol=market.symbol,
        price=market.price_e6,
        confidence=market.confidence_e6,
        publish_time=market.publish_time_s,
        source=market.source,
        refusal=market.refusal,
        max_age_s=market.max_price_age_s,
        slot=market.slot,
        at_ms=now_ms,
    )
