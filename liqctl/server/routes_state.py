"""What is: positions, prices, the queue and the insurance fund, as the keeper last wrote them."""

import math
from collections import Counter
from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from liqctl.core.record import (
    Exclusion,
    LiquidationQuery,
    PositionQuery,
    PositionRow,
    PriceRow,
    QueueRow,
    QueueState,
)
from liqctl.ports import Store
from liqctl.server.answers import Listing, Reading, Timed, documented, json_answer
from liqctl.server.errors import ApiError
from liqctl.server.filters import (
    Address,
    InsuranceFilter,
    PositionFilter,
    QueueFilter,
    Unfiltered,
)
from liqctl.server.views import (
    ExclusionView,
    FailureView,
    InsuranceView,
    LiquidationView,
    PositionView,
    PriceView,
    QueueView,
    amount,
    exclusion_view,
    failure_view,
    insurance_view,
    liquidation_view,
    position_view,
    price_view,
    queue_view,
)

router = APIRouter(tags=["state"])

PAST_SHOWN = 20
SAMPLES_LOOKED_AT = 500

# Health, None for unknown, and the address.
_Key = tuple[float | None, str]


class PositionPage(msgspec.Struct, kw_only=True):
    """Positions, the least healthy first and the unknown ones last."""

    items: list[PositionView]
    next_cursor: str | None
    next: str | None


class PositionDetail(msgspec.Struct, kw_only=True):
    """One position with what waits for it and what was done to it, the latest first.

    `position` is null for one that is only in the record, such as a closed one.
    """

    position: PositionView | None
    queue: QueueView | None
    exclusion: ExclusionView | None
    liquidations: list[LiquidationView]
    failures: list[FailureView]


class QueuePage(msgspec.Struct, kw_only=True):
    """Candidates, the least healthy first; the counts and exclusions are those of all filters."""

    items: list[QueueView]
    next_cursor: str | None
    next: str | None
    waiting: int
    in_flight: int
    quarantined: int
    exclusions: list[ExclusionView]


class Prices(msgspec.Struct, kw_only=True):
    """The latest price of every market."""

    items: list[PriceView]


class InsuranceBalance(msgspec.Struct, kw_only=True):
    """The insurance fund's latest balance in 1e-6 quote, null before it was read once.

    Where several venues have funds, `balance` is their sum and `funds` are they.
    """

    balance: int | str | None
    funds: list[InsuranceView]


class InsuranceHistory(msgspec.Struct, kw_only=True):
    """Balances, the oldest first."""

    items: list[InsuranceView]


POSITIONS: Listing[PositionRow, _Key] = Listing(
    kind=PositionView,
    view=position_view,
    key=lambda shown: (_known(shown[-1].health), shown[-1].position),
    key_type=_Key,
)
QUEUE: Listing[QueueRow, _Key] = Listing(
    kind=QueueView,
    view=queue_view,
    key=lambda shown: (_known(shown[-1].health), shown[-1].position),
    key_type=_Key,
)


@router.get(
    "/positions",
    summary="Positions by health",
    responses=documented(PositionPage, 400, 422, 503, as_csv=True),
)
async def positions(
    request: Request, query: Annotated[PositionFilter, Query()], reader: Reading
) -> Response:
    """Return positions, the least healthy first; as CSV with `Accept: text/csv`."""
    after = POSITIONS.after(request, query)
    wanted = PositionQuery(
        symbol=query.market,
        owner=query.owner,
        venue=query.venue,
        after=None if after is None else (_number(after[0]), after[1]),
        limit=query.limit + 1,
    )
    rows = await reader.run(lambda store: store.positions(wanted))
    return POSITIONS.answer(request, query, rows)


@router.get(
    "/positions/{pubkey}",
    summary="One position",
    responses=documented(PositionDetail, 404, 422, 503),
)
async def position(
    pubkey: Annotated[Address, Path(description="The position's address.")], reader: Reading
) -> Response:
    """Return a position with its place in the queue and its record."""
    found = await reader.run(lambda store: _detail(store, pubkey))
    if found is None:
        raise ApiError(404, "position_unknown", f"Nothing is known of a position {pubkey}.")
    return json_answer(found)


@router.get("/prices", summary="Latest prices", responses=documented(Prices, 422, 503))
async def prices(_query: Annotated[Unfiltered, Query()], reader: Reading, clock: Timed) -> Response:
    """Return the latest price of every market, or the word why there is none."""
    rows: list[PriceRow] = await reader.run(lambda store: store.prices())
    now_ms = clock.unix_ms()
    return json_answer(Prices(items=[price_view(row, now_ms) for row in rows]))


@router.get(
    "/liquidations/pending",
    summary="The queue",
    responses=documented(QueuePage, 400, 422, 503, as_csv=True),
)
async def pending(
    request: Request, query: Annotated[QueueFilter, Query()], reader: Reading
) -> Response:
    """Return what waits, is in flight or is quarantined; as CSV with `Accept: text/csv`."""
    after = QUEUE.after(request, query)
    rows, counts, exclusions = await reader.run(lambda store: _queue(store, query, after))
    return QUEUE.answer(
        request,
        query,
        rows,
        waiting=counts[QueueState.WAITING],
        in_flight=counts[QueueState.IN_FLIGHT],
        quarantined=counts[QueueState.QUARANTINED],
        exclusions=[exclusion_view(each) for each in exclusions],
    )


@router.get(
    "/insurance/balance",
    summary="Balance of the insurance fund",
    responses=documented(InsuranceBalance, 422, 503),
)
async def insurance_balance(_query: Annotated[Unfiltered, Query()], reader: Reading) -> Response:
    """Return the latest balance of each insurance fund."""
    samples = await reader.run(lambda store: store.insurance_history(SAMPLES_LOOKED_AT))
    latest = {sample.address: sample for sample in samples}
    total = amount(sum(sample.balance for sample in latest.values())) if latest else None
    funds = [insurance_view(sample) for sample in latest.values()]
    return json_answer(InsuranceBalance(balance=total, funds=funds))


@router.get(
    "/insurance/history",
    summary="Past balances of the insurance fund",
    responses=documented(InsuranceHistory, 422, 503),
)
async def insurance_history(
    query: Annotated[InsuranceFilter, Query()], reader: Reading
) -> Response:
    """Return the latest balances, the oldest of them first."""
    samples = await reader.run(lambda store: store.insurance_history(query.limit))
    return json_answer(InsuranceHistory(items=[insurance_view(each) for each in samples]))


def _detail(store: Store, pubkey: str) -> PositionDetail | None:
    row = store.position(pubkey)
    candidate = next((each for each in store.queue() if each.position == pubkey), None)
    exclusion = next((each for each in store.exclusions() if each.position == pubkey), None)
    done = store.liquidations(LiquidationQuery(position=pubkey, limit=PAST_SHOWN))
    failed = store.recent_failures(position=pubkey, limit=PAST_SHOWN)
    if not (row or candidate or exclusion or done or failed):
        return None
    return PositionDetail(
        position=None if row is None else position_view(row),
        queue=None if candidate is None else queue_view(candidate),
        exclusion=None if exclusion is None else exclusion_view(exclusion),
        liquidations=[liquidation_view(each) for each in done],
        failures=[failure_view(each) for each in failed],
    )


def _queue(
    store: Store, query: QueueFilter, after: _Key | None
) -> tuple[list[QueueRow], Counter[QueueState], list[Exclusion]]:
    """Return a page and one row more, how many there are of each state, and what is excluded."""
    rows = store.queue()
    least = None if after is None else _place(_number(after[0]), after[1])
    chosen = sorted(
        (_place(row.health, row.position), number)
        for number, row in enumerate(rows)
        if query.symbol in {None, row.symbol}
        and query.venue in {None, row.venue}
        and query.state in {None, row.state}
    )
    page = [rows[number] for place, number in chosen if least is None or place > least]
    counts = Counter(row.state for row in rows)
    return page[: query.limit + 1], counts, store.exclusions()


def _place(health: float, position: str) -> tuple[bool, float, str]:
    """Return where a row stands in a list by health: unknown ones last, then by address."""
    unknown = math.isnan(health)
    return unknown, 0.0 if unknown else health, position


def _number(health: float | None) -> float:
    return math.nan if health is None else health


def _known(health: float) -> float | None:
    return None if math.isnan(health) else health
