"""Is the program alive, can it answer, are the keepers well."""

from typing import Any

import msgspec
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from liqctl.chain.clusters import CLUSTERS
from liqctl.core.health_grade import Grade, GradeState, Reason, grade
from liqctl.core.status import STATE_PREFIX, read_status
from liqctl.errors import StoreError
from liqctl.ports import Store
from liqctl.server.answers import Timed, documented, json_answer
from liqctl.server.errors import store_problem
from liqctl.server.reader import Reader
from liqctl.server.security import STRANGER
from liqctl.server.views import decoded, plain

router = APIRouter(tags=["health"])

WORST_LAST = tuple(GradeState)


class Alive(msgspec.Struct, kw_only=True):
    """The program runs."""

    status: str


class ReasonView(msgspec.Struct, kw_only=True):
    """One thing that is not as it should be.

    `code` is for programs, `message` for people; `keeper` is the venue, and `subject` the market,
    stream or address it is about. `since_ms` is null where it is not known.
    """

    grade: str
    code: str
    message: str
    keeper: str
    subject: str
    since_ms: int | None


class Health(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How well positions are watched over: healthy, degraded or unhealthy, and every reason.

    `keepers` holds what each keeper last wrote of itself, by venue. `cluster` names the cluster
    that the database belongs to and is left out for one that is not public. All but `status` is
    left out where other machines can reach the server and no token came along.
    """

    status: str
    reasons: list[ReasonView] | None = None
    keepers: dict[str, Any] | None = None
    cluster: str | None = None


@router.get("/healthz", summary="Is the server alive", responses=documented(Alive))
async def healthz() -> Response:
    """Return 200 as long as the server answers at all."""
    return json_answer(Alive(status="ok"))


@router.get("/readyz", summary="Can the server answer", responses=documented(Alive, 503))
async def readyz(request: Request) -> Response:
    """Return 200 when the database can be read."""
    pulse: Reader = request.app.state.pulse
    await pulse.run(lambda store: store.last_seq())
    return json_answer(Alive(status="ready"))


@router.get(
    "/health",
    summary="Are the keepers well",
    responses=documented(Health) | {503: documented(Health)[200] | {"description": "Not healthy"}},
)
async def health(request: Request, clock: Timed) -> Response:
    """Return the worst grade of the keepers on this database; 503 unless it is healthy."""
    pulse: Reader = request.app.state.pulse
    now_ms = clock.unix_ms()
    try:
        found = await pulse.run(lambda store: _health(store, now_ms))
    except StoreError as error:
        found = _unreadable(error)
    status = 200 if found.status == GradeState.HEALTHY else 503
    if request.scope.get(STRANGER):
        found = Health(status=found.status)
    return json_answer(found, status)


def _health(store: Store, now_ms: int) -> Health:
    """Return the grades of all keepers as one, the worst reasons first."""
    states = store.states(STATE_PREFIX)
    grades = {
        name.removeprefix(STATE_PREFIX): _grade(text, now_ms, at) for name, text, at in states
    }
    found = grades or {"": grade(None, now_ms, None)}
    reasons = [(name, reason) for name, each in found.items() for reason in each.reasons]
    reasons.sort(key=lambda named: WORST_LAST.index(named[1].state), reverse=True)
    return Health(
        status=max((each.state for each in found.values()), key=WORST_LAST.index),
        reasons=[_view(name, reason) for name, reason in reasons],
        keepers={name.removeprefix(STATE_PREFIX): plain(decoded(text)) for name, text, _ in states},
        cluster=_cluster(store),
    )


def _cluster(store: Store) -> str | None:
    """Return the public cluster whose genesis hash the first keeper on the database wrote down."""
    found = store.state("genesis")
    genesis = None if found is None else decoded(found[0])
    return CLUSTERS.get(genesis) if isinstance(genesis, str) else None


def _grade(text: str, now_ms: int, written_ms: int) -> Grade:
    try:
        return grade(read_status(text), now_ms, written_ms)
    except StoreError as error:
        reason = Reason(code="keeper_unreadable", state=GradeState.UNHEALTHY, text=str(error))
        return Grade(state=reason.state, reasons=(reason,))


def _unreadable(error: StoreError) -> Health:
    problem = store_problem(error)
    reason = Reason(code=problem.code, state=GradeState.UNHEALTHY, text=problem.message)
    return Health(status=GradeState.UNHEALTHY, reasons=[_view("", reason)], keepers={})


def _view(keeper: str, reason: Reason) -> ReasonView:
    return ReasonView(
        grade=reason.state,
        code=reason.code,
        message=reason.text,
        keeper=keeper,
        subject=reason.subject,
        since_ms=reason.since_ms,
    )
