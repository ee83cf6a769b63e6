"""The application: routes over readers of one store, put together here."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from liqctl.ports import Clock, SystemClock
from liqctl.server import (
    errors,
    metrics,
    routes_control,
    routes_docs,
    routes_health,
    routes_page,
    routes_record,
    routes_report,
    routes_state,
    security,
    websocket,
)
from liqctl.server.cache import AnswerCache
from liqctl.server.hub import Hub
from liqctl.server.openapi import describe
from liqctl.server.options import ServeOptions
from liqctl.server.reader import Reader, Source
from liqctl.server.tail import Tail
from liqctl.server.token import TokenFile
from liqctl.store.changes import open_changes
from liqctl.store.open import BUSY_TIMEOUT_MS, open_store
from liqctl.store.place import place_of

log = structlog.get_logger(__name__)

# A write-ahead log locks out readers for moments only; whoever asks should soon be told otherwise.
LOCK_WAIT_MS = 500
LANES = ("reader", "pulse", "stream", "writer")
ROUTERS = (
    routes_health.router,
    routes_record.router,
    routes_state.router,
    routes_report.router,
    metrics.router,
    routes_control.router,
    routes_docs.router,
    routes_page.router,
)


def create_app(
    options: ServeOptions, *, clock: Clock | None = None, tokens: TokenFile | None = None
) -> FastAPI:
    """Return the ASGI application; it opens the store as soon as something is read.

    A database that cannot be opened keeps nothing from starting: its routes answer 503 until it
    can. Without `tokens` nothing can be changed, and nothing read from other machines.

    `app.state` holds `options`, `clock` and four lanes to the store: `reader` for pages, `pulse`
    for what must not wait behind them, `stream` for events alone, `writer` for the kill switch; and
    `news`, an event that is set when a supervising keeper has recorded something, beside the `hub`
    of WebSocket clients.
    """
    clock = clock or SystemClock()
    app = FastAPI(
        title="liqctl",
        openapi_url=None,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.options = options
    app.state.clock = clock
    app.state.news = asyncio.Event()
    app.state.hub = Hub()
    for lane in LANES:
        read_only = lane != "writer"
        setattr(app.state, lane, _lane(options.database_url, clock, lane, read_only=read_only))
    errors.install(app)
    for router in ROUTERS:
        app.include_router(router)
    app.router.routes.extend(websocket.routes())
    app.mount("/static", routes_page.FILES)
    app.openapi = partial(_document, app)  # type: ignore[method-assign]
    app.add_middleware(AnswerCache, version=app.state.pulse.version)
    app.add_middleware(HeadAsGet)
    security.install(app, security.Policy.of(options, tokens))
    return app


class HeadAsGet:
    """ASGI middleware: whoever asks for the head gets that of the answer to GET.

    The server that runs the application sends no body then.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Ask `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on."""
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    state = app.state
    changes = open_changes(state.options.database_url, state.clock)
    tail = Tail(state.stream, changes, state.news, state.hub, state.clock)
    tailing = asyncio.create_task(tail.run(), name="tail")
    tailing.add_done_callback(_end_with)
    try:
        yield
    finally:
        tailing.cancel()
        await asyncio.wait([tailing])
        await changes.close()
        for lane in LANES:
            await getattr(state, lane).close()


def _end_with(tailing: "asyncio.Task[None]") -> None:
    """End the server when its stream has failed: silent to its clients, it would look alive."""
    error = None if tailing.cancelled() else tailing.exception()
    if error is not None:
        log.critical("stream_failed", exc_info=error)
        signal.raise_signal(signal.SIGTERM)


def _lane(url: str, clock: Clock, name: str, *, read_only: bool) -> Reader:
    wait_ms = LOCK_WAIT_MS if read_only else BUSY_TIMEOUT_MS
    opened = partial(open_store, url, create=False, read_only=read_only, busy_timeout_ms=wait_ms)
    return Reader(Source(open=opened, place=partial(place_of, url)), clock, name)


def _document(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        app.openapi_schema = describe(app)
    return app.openapi_schema
