"""The kill switch: the only routes that change anything. They ask for a token wherever they are."""

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from liqctl.server.answers import Timed, documented, json_answer
from liqctl.server.reader import Reader
from liqctl.store.switch import write_switch

router = APIRouter(tags=["control"])

TOKEN: dict[str, object] = {"security": [{"token": []}]}


class Switched(msgspec.Struct, kw_only=True):
    """What the switch says now; keepers obey within a second or two."""

    kill_switch: str
    at_ms: int


@router.post(
    "/control/stop",
    summary="Stop signing",
    responses=documented(Switched, 401, 403, 503),
    openapi_extra=TOKEN,
)
async def stop(request: Request, clock: Timed) -> Response:
    """Keep every keeper on this database from signing; what is in flight is settled."""
    return await _switch(request, clock.unix_ms(), stop=True)


@router.post(
    "/control/resume",
    summary="Resume signing",
    responses=documented(Switched, 401, 403, 503),
    openapi_extra=TOKEN,
)
async def resume(request: Request, clock: Timed) -> Response:
    """Let the keepers sign again, also after a signal; a stop file still holds its keeper."""
    return await _switch(request, clock.unix_ms(), stop=False)


async def _switch(request: Request, now_ms: int, *, stop: bool) -> Response:
    pulse: Reader = request.app.state.pulse
    writer: Reader = request.app.state.writer
    # A reader refuses a database of an older version, which a writer would change under its keeper.
    await pulse.run(lambda store: store.version())
    await writer.run(lambda store: write_switch(store, now_ms, stop=stop))
    return json_answer(Switched(kill_switch="stop" if stop else "run", at_ms=now_ms))
