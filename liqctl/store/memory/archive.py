"""The reading side of the Store in memory: every filter is a walk over all rows."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from liqctl.core.record import (
    AttemptRow,
    DaySum,
    FailureRow,
    Liquidation,
    LiquidationQuery,
    PositionQuery,
    PositionRow,
    PriceRow,
    Totals,
)
from liqctl.store.archive_columns import BEFORE_ALL_POSITIONS, day_of, health_rank
from liqctl.store.columns import read_health, stored_health
from liqctl.store.memory.tables import KeptAttempt, MemoryTables


class MemoryArchive(MemoryTables):
    """What people and programs read."""

    def put_positions(self, rows: Sequence[PositionRow], removed: Sequence[str]) -> None:
        """Write position rows by address and delete others, at once."""
        for position in removed:
            self._positions.pop(position, None)
        for row in rows:
            health = read_health(stored_health(row.health))
            self._positions[row.position] = replace(row, health=health)

    def positions(self, query: PositionQuery) -> list[PositionRow]:
        """Return rows, least health first, unknown ones last, the address breaks ties."""
        health, address = query.after or BEFORE_ALL_POSITIONS
        after = (health_rank(health), address)
        found = [
            row
            for row in self._positions.values()
            if _place(row) > after
            and query.symbol in {None, row.symbol}
            and query.owner in {None, row.owner}
            and query.venue in {None, row.venue}
        ]
        return sorted(found, key=_place)[: max(0, query.limit)]

    def position(self, address: str) -> PositionRow | None:
        """Return one row."""
        return self._positions.get(address)

    def forget_positions(self, venue: str, before_ms: int) -> int:
        """Delete rows of a venue written before that; return how many."""
        old = [r for r in self._positions.values() if r.venue == venue and r.at_ms < before_ms]
        for row in old:
            del self._positions[row.position]
        return len(old)

    def put_prices(self, rows: Sequence[PriceRow]) -> None:
        """Write the latest price of each (venue, market)."""
        self._prices.update({(row.venue, row.market): row for row in rows})

    def prices(self) -> list[PriceRow]:
        """Return the latest prices by venue and symbol."""
        return sorted(self._prices.values(), key=lambda row: (row.venue, row.symbol, row.market))

    def liquidations(self, query: LiquidationQuery) -> list[Liquidation]:
        """Return liquidations, the newest first."""
        newest = [row for row in reversed(self._liquidations.values()) if _asked(row, query)]
        return newest[: max(0, query.limit)]

    def recent_liquidations(
        self,
        *,
        symbol: str | None = None,
        position: str | None = None,
        venue: str | None = None,
        limit: int = 50,
    ) -> list[Liquidation]:
        """Return the newest liquidations first."""
        return self.liquidations(
            LiquidationQuery(symbol=symbol, position=position, venue=venue, limit=limit)
        )

    def recent_failures(  # noqa: PLR0913 - optional filters
        self,
        *,
        position: str | None = None,
        symbol: str | None = None,
        failure_class: str | None = None,
        since_ms: int | None = None,
        until_ms: int | None = None,
        before_id: int | None = None,
        limit: int = 50,
    ) -> list[FailureRow]:
        """Return the newest failures first."""
        newest = [
            row
            for row in reversed(self._failures)
            if position in {None, row.position_pubkey}
            and symbol in {None, row.symbol}
            and failure_class in {None, row.failure_class}
            and (since_ms is None or row.at_ms >= since_ms)
            and (until_ms is None or row.at_ms < until_ms)
            and (before_id is None or (row.id or 0) < before_id)
        ]
        return newest[: max(0, limit)]

    def attempts(  # noqa: PLR0913 - optional filters
        self,
        *,
        position: str | None = None,
        symbol: str | None = None,
        venue: str | None = None,
        state: str | None = None,
        since_ms: int | None = None,
        before_ms: int | None = None,
        before_signature: str = "",
        limit: int = 50,
    ) -> list[AttemptRow]:
        """Return attempts, the latest signed first; the signature breaks ties."""
        found = [
            row
            for row in map(_attempt_row, self._attempts.values())
            if position in {None, row.position}
            and symbol in {None, row.symbol}
            and venue in {None, row.venue}
            and state in {None, row.state}
            and (since_ms is None or row.signed_ms >= since_ms)
            and (before_ms is None or _signing(row) < (before_ms, before_signature))
        ]
        return sorted(found, key=_signing, reverse=True)[: max(0, limit)]

    def attempt_counts(self) -> dict[str, int]:
        """Return how many attempts are in each state."""
        return dict(Counter(kept.row.state.value for kept in self._attempts.values()))

    def failure_classes(self) -> dict[str, int]:
        """Return how many failures there are of each class."""
        return dict(Counter(row.failure_class for row in self._failures))

    def latencies_us(self, limit: int) -> list[int]:
        """Return the decision latencies of the latest liquidations that have one, newest first."""
        known = [row.decision_latency_us for row in reversed(self._liquidations.values())]
        return [each for each in known if each is not None][: max(0, limit)]

    def daily(self, since_s: int) -> list[DaySum]:
        """Return sums by day, venue and symbol since then, the oldest day first."""
        groups: defaultdict[tuple[str, str, str], list[Liquidation]] = defaultdict(list)
        for row in self._liquidations.values():
            if row.timestamp >= since_s:
                groups[day_of(row.timestamp), row.venue, row.symbol].append(row)
        return [_day_sum(*group, groups[group]) for group in sorted(groups)]

    def totals(self) -> Totals:
        """Return counts and sums over everything recorded."""
        rows = self._liquidations.values()
        lost_races = sum(row.failure_class == "lost_race" for row in self._failures)
        endings = [kept.ending for kept in self._attempts.values() if kept.ending is not None]
        return Totals(
            full=sum(row.is_full_liquidation for row in rows),
            partial=sum(not row.is_full_liquidation for row in rows),
            failed=len(self._failures) - lost_races,
            lost_races=lost_races,
            rewards=sum(row.liquidator_reward for row in rows),
            bad_debt=sum(row.bad_debt for row in rows),
            bad_debt_uncovered=sum(row.bad_debt_uncovered for row in rows),
            fees_lamports=sum(ending.fee_lamports or 0 for ending in endings),
        )


def _place(row: PositionRow) -> tuple[float, str]:
    return health_rank(row.health), row.position


def _asked(row: Liquidation, query: LiquidationQuery) -> bool:
    return (
        query.symbol in {None, row.symbol}
        and query.position in {None, row.position_pubkey}
        and query.owner in {None, row.owner_pubkey}
        and query.venue in {None, row.venue}
        and query.full in {None, row.is_full_liquidation}
        and (query.since_s is None or row.timestamp >= query.since_s)
        and (query.until_s is None or row.timestamp < query.until_s)
        and (query.before_id is None or (row.id or 0) < query.before_id)
    )


def _signing(row: AttemptRow) -> tuple[int, str]:
    return row.signed_ms, row.signature


def _attempt_row(kept: KeptAttempt) -> AttemptRow:
    row, request, ending = kept.row, kept.intent.request, kept.ending
    return AttemptRow(
        signature=row.signature,
        intent_id=row.intent_id,
        n=row.n,
        venue=request.venue,
        position=request.position,
        symbol=row.symbol,
        state=row.state.value,
        signed_ms=row.signed_ms,
        first_sent_ms=kept.first_sent_ms,
        ended_ms=kept.ended_ms,
        sends=row.sends,
        max_cost_lamports=row.max_cost_lamports,
        fee_lamports=None if ending is None else ending.fee_lamports,
        seen_slot=row.seen_slot,
        final_slot=None if ending is None else ending.final_slot,
        error_json=None if ending is None else ending.error_json,
    )


def _day_sum(day: str, venue: str, symbol: str, rows: Sequence[Liquidation]) -> DaySum:
    return DaySum(
        day=day,
        venue=venue,
        symbol=symbol,
        full=sum(row.is_full_liquidation for row in rows),
        partial=sum(not row.is_full_liquidation for row in rows),
        size=sum(row.liquidated_size for row in rows),
        rewards=sum(row.liquidator_reward for row in rows),
        bad_debt=sum(row.bad_debt for row in rows),
        bad_debt_uncovered=sum(row.bad_debt_uncovered for row in rows),
        fees_lamports=sum(row.fee_lamports or 0 for row in rows),
    )
