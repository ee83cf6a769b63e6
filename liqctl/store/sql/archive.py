"""What people and programs read: positions, prices, past liquidations, attempts and failures."""

from collections.abc import Sequence
from operator import attrgetter
from types import SimpleNamespace

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
from liqctl.store import archive_columns, columns
from liqctl.store.sql.session import SqlSession

# What a commit may take of the time of the one writer.
FORGET_BATCH = 500


class SqlArchive(SqlSession):
    """The reading side of the Store.

    Where an index serves a filter, the filter has a statement of its own: one that is optional
    keeps an engine from using it.
    """

    def put_positions(self, rows: Sequence[PositionRow], removed: Sequence[str]) -> None:
        """Write position rows by address and delete others, in one commit."""
        with self._writing() as db:
            self._sql.remove_positions(db, [{"position": position} for position in sorted(removed)])
            ordered = sorted(rows, key=attrgetter("position"))
            self._sql.put_positions(db, [archive_columns.position_columns(row) for row in ordered])

    def positions(self, query: PositionQuery) -> list[PositionRow]:
        """Return rows, least health first, unknown ones last, the address breaks ties."""
        health, address = query.after or archive_columns.BEFORE_ALL_POSITIONS
        page = {
            "health_rank": archive_columns.health_rank(health),
            "position": address,
            "limit": max(0, query.limit),
        }
        symbol, venue = query.symbol, query.venue
        with self._reading() as db:
            if query.owner is not None:
                found = self._sql.positions_of_owner(
                    db, owner=query.owner, symbol=symbol, venue=venue, **page
                )
            elif symbol is not None:
                found = self._sql.positions_of_symbol(db, symbol=symbol, venue=venue, **page)
            elif venue is not None:
                found = self._sql.positions_of_venue(db, venue=venue, **page)
            else:
                found = self._sql.all_positions(db, **page)
            return [archive_columns.position_of(row) for row in found]

    def position(self, address: str) -> PositionRow | None:
        """Return one row."""
        with self._reading() as db:
            row = self._sql.position(db, position=address)
        return None if row is None else archive_columns.position_of(row)

    def forget_positions(self, venue: str, before_ms: int) -> int:
        """Delete rows of a venue not written since, 500 at most; return how many."""
        with self._writing() as db:
            return int(
                self._sql.forget_positions(db, venue=venue, before_ms=before_ms, batch=FORGET_BATCH)
            )

    def put_prices(self, rows: Sequence[PriceRow]) -> None:
        """Write the latest price of each (venue, market), in one commit."""
        with self._writing() as db:
            ordered = sorted(rows, key=attrgetter("venue", "market"))
            self._sql.put_prices(db, [archive_columns.price_columns(row) for row in ordered])

    def prices(self) -> list[PriceRow]:
        """Return the latest prices by venue and symbol."""
        with self._reading() as db:
            return [archive_columns.price_of(row) for row in self._sql.prices(db)]

    def liquidations(self, query: LiquidationQuery) -> list[Liquidation]:
        """Return liquidations, the newest first."""
        select = self._sql.all_liquidations
        if query.position is not None:
            select = self._sql.liquidations_of_position
        elif query.owner is not None:
            select = self._sql.liquidations_of_owner
        with self._reading() as db:
            found = select(db, query=query, limit=max(0, query.limit))
            return [columns.liquidation_of(row) for row in found]

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
        only = SimpleNamespace(
            position=position,
            symbol=symbol,
            failure_class=failure_class,
            since_ms=since_ms,
            until_ms=until_ms,
            before_id=before_id,
        )
        select = self._sql.all_failures
        if position is not None:
            select = self._sql.failures_of_position
        elif failure_class is not None:
            select = self._sql.failures_of_class
        with self._reading() as db:
            found = select(db, only=only, limit=max(0, limit))
            return [columns.failure_of(row) for row in found]

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
        only = SimpleNamespace(
            position=position,
            symbol=symbol,
            venue=venue,
            state=state,
            since_ms=since_ms,
            before_ms=columns.SQL_INTEGER_MAX if before_ms is None else before_ms,
            before_signature=before_signature,
        )
        select = self._sql.all_attempts
        if position is not None:
            select = self._sql.attempts_of_position
        elif state is not None:
            select = self._sql.attempts_in_state
        with self._reading() as db:
            found = select(db, only=only, limit=max(0, limit))
            return [archive_columns.attempt_row_of(row) for row in found]

    def attempt_counts(self) -> dict[str, int]:
        """Return how many attempts are in each state."""
        with self._reading() as db:
            return {row["name"]: row["rows"] for row in self._sql.attempt_counts(db)}

    def failure_classes(self) -> dict[str, int]:
        """Return how many failures there are of each class."""
        with self._reading() as db:
            return {row["name"]: row["rows"] for row in self._sql.failure_classes(db)}

    def latencies_us(self, limit: int) -> list[int]:
        """Return the decision latencies of the latest liquidations that have one, newest first."""
        with self._reading() as db:
            found = self._sql.latencies_us(db, limit=max(0, limit))
            return [row["decision_latency_us"] for row in found]

    def daily(self, since_s: int) -> list[DaySum]:
        """Return sums by day, venue and symbol since then, the oldest day first."""
        with self._snapshot() as db:
            sums = [*self._sql.day_sums(db, since_s=since_s)]
            oversized = [*self._sql.oversized_amounts(db, since_s=since_s)]
        return [archive_columns.day_sum_of(row, oversized) for row in sums]

    def totals(self) -> Totals:
        """Return counts and sums over everything recorded, all from one moment."""
        with self._snapshot() as db:
            sums = self._sql.liquidation_sums(db)
            oversized = [*self._sql.oversized_amounts(db, since_s=-columns.SQL_INTEGER_MAX)]
            failures = self._sql.failure_counts(db)
            fees = self._sql.fees_lamports(db)
        return Totals(
            full=sums["full_count"],
            partial=sums["liquidations"] - sums["full_count"],
            failed=failures["all_count"] - failures["lost_race_count"],
            lost_races=failures["lost_race_count"],
            fees_lamports=int(fees["lamports"]),
            **archive_columns.summed(archive_columns.TOTAL_AMOUNTS, sums, oversized),
        )
