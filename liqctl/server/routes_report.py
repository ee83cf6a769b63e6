"""Sums, the ordered stream of events and the alerts."""

from collections import Counter, defaultdict
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from liqctl.core.alert import Alert
from liqctl.core.record import DaySum, EventRow, Totals
from liqctl.ports import Store
from liqctl.server.answers import Listing, Reading, Timed, documented, json_answer
from liqctl.server.filters import AlertFilter, EventFilter, StatsFilter
from liqctl.server.frames import frame
from liqctl.server.paging import Whole
from liqctl.server.views import AlertView, Amount, DayView, alert_view, amount, day_view

router = APIRouter(tags=["report"])

LATENCIES = 1_000
DAY_S = 86_400
BPS = 10_000
SUMMED = (
    *("full", "partial", "size", "rewards"),
    *("bad_debt", "bad_debt_uncovered", "fees_lamports"),
)


class TotalsView(msgspec.Struct, kw_only=True):
    """Counts and sums over everything recorded; money in 1e-6 quote."""

    full: int
    partial: int
    failed: int
    lost_races: int
    rewards: Amount
    bad_debt: Amount
    bad_debt_uncovered: Amount
    fees_lamports: Amount


class LatencyView(msgspec.Struct, kw_only=True):
    """Decision latency of the latest liquidations: price notice received to signed bytes sent."""

    count: int
    p50_us: Amount | None
    p99_us: Amount | None


class MarketSum(msgspec.Struct, kw_only=True):
    """What one market brought over the days asked for; money in 1e-6 quote.

    `size` is what was liquidated, in the venue's size unit.
    """

    venue: str
    symbol: str
    full: int
    partial: int
    size: Amount
    rewards: Amount
    bad_debt: Amount
    bad_debt_uncovered: Amount
    fees_lamports: Amount


class Stats(msgspec.Struct, kw_only=True):
    """How the keeper has done.

    `success_bps` is the share of attempts that liquidated among those that ended, in hundredths
    of a per cent, rounded down; null before the first.
    """

    totals: TotalsView
    attempts: dict[str, int]
    failures: dict[str, int]
    success_bps: int | None
    latency: LatencyView
    markets: list[MarketSum]
    days: list[DayView]


class Events(msgspec.Struct, kw_only=True):
    """Events in order. `next_since` is where to go on; `gap` says that some are gone for good.

    Each item has `type`, `seq`, `at_ms` and the fields of its type.
    """

    items: list[dict[str, Any]]
    next_since: int
    last_seq: int
    gap: bool


class AlertPage(msgspec.Struct, kw_only=True):
    """Alerts, the newest first."""

    items: list[AlertView]
    next_cursor: str | None
    next: str | None


ALERTS: Listing[Alert, int] = Listing(
    kind=AlertView, view=alert_view, key=lambda shown: shown[-1].id or 0, key_type=Whole
)


@router.get("/stats", summary="Sums and latencies", responses=documented(Stats, 422, 503))
async def stats(query: Annotated[StatsFilter, Query()], reader: Reading, clock: Timed) -> Response:
    """Return counts and sums over everything, and by day and market over the days asked for."""
    today = clock.unix_ms() // 1_000 // DAY_S
    since_s = max(today + 1 - query.days, 0) * DAY_S
    return json_answer(await reader.run(lambda store: _stats(store, since_s)))


@router.get("/events", summary="Events", responses=documented(Events, 422, 503))
async def events(query: Annotated[EventFilter, Query()], reader: Reading) -> Response:
    """Return what happened after `since`, the oldest first."""
    rows, last_seq, gap = await reader.run(lambda store: _events(store, query))
    items = [frame(row) for row in rows if query.type in {None, row.kind}]
    next_since = rows[-1].seq if rows else min(query.since, last_seq)
    return json_answer(Events(items=items, next_since=next_since, last_seq=last_seq, gap=gap))


@router.get("/alerts", summary="Alerts", responses=documented(AlertPage, 400, 422, 503))
async def alerts(
    request: Request, query: Annotated[AlertFilter, Query()], reader: Reading
) -> Response:
    """Return alerts, the newest first."""
    before_id = ALERTS.after(request, query)

    def read(store: Store) -> list[Alert]:
        if query.state is None:
            return store.alerts(before_id=before_id, limit=query.limit + 1)
        firing = sorted(store.firing(), key=lambda alert: alert.id or 0, reverse=True)
        return [each for each in firing if before_id is None or (each.id or 0) < before_id]

    return ALERTS.answer(request, query, await reader.run(read))


def percentile(ordered: list[int], per_cent: int) -> int | None:
    """Return the smallest value that so many per cent do not exceed.

    >>> percentile([10, 20, 30, 40], 50), percentile([10, 20, 30, 40], 99), percentile([], 50)
    (20, 40, None)
    """
    return ordered[-(-len(ordered) * per_cent // 100) - 1] if ordered else None


def _stats(store: Store, since_s: int) -> Stats:
    totals, days = store.totals(), store.daily(since_s)
    attempts = store.attempt_counts()
    latencies = sorted(store.latencies_us(LATENCIES))
    return Stats(
        totals=_totals(totals),
        attempts=attempts,
        failures=store.failure_classes(),
        success_bps=_success_bps(attempts),
        latency=LatencyView(
            count=len(latencies),
            p50_us=percentile(latencies, 50),
            p99_us=percentile(latencies, 99),
        ),
        markets=_markets(days),
        days=[day_view(day) for day in days],
    )


def _totals(totals: Totals) -> TotalsView:
    return TotalsView(
        full=totals.full,
        partial=totals.partial,
        failed=totals.failed,
        lost_races=totals.lost_races,
        rewards=amount(totals.rewards),
        bad_debt=amount(totals.bad_debt),
        bad_debt_uncovered=amount(totals.bad_debt_uncovered),
        fees_lamports=amount(totals.fees_lamports),
    )


def _success_bps(attempts: dict[str, int]) -> int | None:
    landed = attempts.get("FINALIZED_OK", 0)
    ended = landed + attempts.get("FINALIZED_ERR", 0) + attempts.get("EXPIRED", 0)
    return landed * BPS // ended if ended else None


def _markets(days: list[DaySum]) -> list[MarketSum]:
    """Return the days of each market added up, by venue and symbol."""
    sums: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for day in days:
        sums[day.venue, day.symbol].update({name: getattr(day, name) for name in SUMMED})
    return [
        MarketSum(
            venue=venue,
            symbol=symbol,
            full=total["full"],
            partial=total["partial"],
            size=amount(total["size"]),
            rewards=amount(total["rewards"]),
            bad_debt=amount(total["bad_debt"]),
            bad_debt_uncovered=amount(total["bad_debt_uncovered"]),
            fees_lamports=amount(total["fees_lamports"]),
        )
        for (venue, symbol), total in sorted(sums.items())
    ]


def _events(store: Store, query: EventFilter) -> tuple[list[EventRow], int, bool]:
    """Return events, the last seq ever given, and whether some after `since` are gone."""
    rows, last_seq = store.events_since(query.since, query.limit), store.last_seq()
    first = rows[0].seq if rows else last_seq + 1
    # Beyond the last one the client knows another database: this one was restored or made anew.
    return rows, last_seq, first > query.since + 1 or query.since > last_seq
