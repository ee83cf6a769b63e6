"""The OpenAPI document: FastAPI's routes with the schemas of the structs that are really encoded."""

from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from liqctl import __version__
from liqctl.server.answers import REFERENCE
from liqctl.server.errors import ErrorAnswer
from liqctl.server.routes_control import Switched
from liqctl.server.routes_health import Alive, Health
from liqctl.server.routes_record import AttemptPage, FailurePage, LiquidationPage
from liqctl.server.routes_report import AlertPage, Events, Stats
from liqctl.server.routes_state import (
    InsuranceBalance,
    InsuranceHistory,
    PositionDetail,
    PositionPage,
    Prices,
    QueuePage,
)

# What the routes answer with; what these hold comes along.
STRUCTS = (
    Alive,
    Health,
    LiquidationPage,
    FailurePage,
    AttemptPage,
    PositionPage,
    PositionDetail,
    Prices,
    QueuePage,
    InsuranceBalance,
    InsuranceHistory,
    Stats,
    Events,
    AlertPage,
    Switched,
    ErrorAnswer,
)

DESCRIPTION = """\
What a running keeper sees and does, read from its database.

Money and prices are integers in 1e-6 of the quote currency, sizes in the venue's size unit, fees
in lamports. Integers beyond 2^53 are strings. Times that end in `_ms` are unix milliseconds of
the keeper's host. Every error is `{"error": {"code": ..., "message": ...}}`. Lists are paged:
`next` is the address of the next page. Nothing may be cached by clients.

Where other machines can reach the server every route needs `Authorization: Bearer TOKEN`, except
`/healthz`, `/readyz` and the grade in `/health`. What changes something needs it everywhere."""


def describe(app: FastAPI) -> dict[str, Any]:
    """Return the OpenAPI document of the application's routes."""
    document = get_openapi(
        title=app.title, version=__version__, description=DESCRIPTION, routes=app.routes
    )
    _, schemas = msgspec.json.schema_components(STRUCTS, ref_template=REFERENCE)
    document["components"] = {
        "schemas": dict(sorted(schemas.items())),
        "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
    }
    return document
