"""What was done: liquidations, failures and the signed transactions, the newest first."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from liqctl.core.record import AttemptRow, FailureRow, Liquidation, LiquidationQuery
from liqctl.ports import Store
from liqctl.server.answers import Listing, Reading, documented
from liqctl.server.filters import AttemptFilter, FailureFilter, LiquidationFilter
from liqctl.server.paging import Whole
from liqctl.server.views import (
    AttemptView,
    FailureView,
    LiquidationView,
    attempt_view,
    failure_view,
    liquidation_view,
)

router = APIRouter(tags=["record"])

# Signed at, and the signature: several may be of one millisecond.
_AttemptKey = tuple[int, str]


class LiquidationPage(msgspec.Struct, kw_only=True):
    """Liquidations, the newest first."""

    items: list[LiquidationView]
    next_cursor: str | None
    next: str | None


class FailurePage(msgspec.Struct, kw_only=True):
    """Failures, the newest first."""

    items: list[FailureView]
    next_cursor: str | None
    next: str | None


class AttemptPage(msgspec.Struct, kw_only=True):
    """Attempts, the last signed first."""

    items: list[AttemptView]
    next_cursor: str | None
    next: str | None


LIQUIDATIONS: Listing[Liquidation, int] = Listing(
    kind=LiquidationView,
    view=liquidation_view,
    key=lambda shown: shown[-1].id or 0,
    key_type=Whole,
)
FAILURES: Listing[FailureRow, int] = Listing(
    kind=FailureView, view=failure_view, key=lambda shown: shown[-1].id or 0, key_type=Whole
)
ATTEMPTS: Listing[AttemptRow, _AttemptKey] = Listing(
    kind=AttemptView,
    view=attempt_view,
    key=lambda shown: (shown[-1].signed_ms, shown[-1].signature),
    key_type=tuple[Whole, str],
)


@router.get(
    "/liquidations/recent",
    summary="Liquidations",
    responses=documented(LiquidationPage, 400, 422, 503, as_csv=True),
)
async def recent_liquidations(
    request: Request, query: Annotated[LiquidationFilter, Query()], reader: Reading
) -> Response:
    """Return finalized liquidations, the newest first; as CSV with `Accept: text/csv`."""
    wanted = LiquidationQuery(
        symbol=query.symbol,
        position=query.position,
        owner=query.owner,
        venue=query.venue,
        full=None if query.kind is None else query.kind == "full",
        since_s=query.since,
        until_s=query.until,
        before_id=LIQUIDATIONS.after(request, query),
        limit=query.limit + 1,
    )
    rows = await reader.run(lambda store: store.liquidations(wanted))
    return LIQUIDATIONS.answer(request, query, rows)


@router.get(
    "/failures",
    summary="Failures",
    responses=documented(FailurePage, 400, 422, 503, as_csv=True),
)
async def failures(
    request: Request, query: Annotated[FailureFilter, Query()], reader: Reading
) -> Response:
    """Return liquidations that did not happen, the newest first; as CSV with `Accept: text/csv`."""
    before_id = FAILURES.after(request, query)

    def read(store: Store) -> list[FailureRow]:
        return store.recent_failures(
            position=query.position,
            symbol=query.symbol,
            failure_class=query.failure_class,
            since_ms=query.since_ms,
            until_ms=query.until_ms,
            before_id=before_id,
            limit=query.limit + 1,
        )

    return FAILURES.answer(request, query, await reader.run(read))


@router.get(
    "/attempts",
    summary="Attempts",
    responses=documented(AttemptPage, 400, 422, 503, as_csv=True),
)
async def attempts(
    request: Request, query: Annotated[AttemptFilter, Query()], reader: Reading
) -> Response:
    """Return signed transactions, the last signed first; as CSV with `Accept: text/csv`."""
    before_ms, before_signature = ATTEMPTS.after(request, query) or (None, "")

    def read(store: Store) -> list[AttemptRow]:
        return store.attempts(
            position=query.position,
            symbol=query.symbol,
            venue=query.venue,
            state=query.state,
            since_ms=query.since_ms,
            before_ms=before_ms,
            before_signature=before_signature,
            limit=query.limit + 1,
        )

    return ATTEMPTS.answer(request, query, await reader.run(read))
