"""`/metrics`: what keepers wrote of themselves and what is on record, for Prometheus.

Counters of the record go on over restarts of everything; those of a keeper begin anew with it,
as Prometheus expects. Money is in 1e-6 quote and fees in lamports, as everywhere in the API.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response

from liqctl.core.events import Cause
from liqctl.core.health_grade import GradeState, grade
from liqctl.core.record import DaySum, InsuranceSample, Totals
from liqctl.core.runway import runway_s
from liqctl.core.status import STATE_PREFIX, Status, read_status
from liqctl.errors import StoreError
from liqctl.ports import Store
from liqctl.server.answers import Timed
from liqctl.server.families import Families
from liqctl.server.hub import Hub
from liqctl.server.metrics_keeper import MS_PER_S, tell_keeper
from liqctl.server.reader import Reader

router = APIRouter(tags=["report"])

LOST_RACE = Cause.LOST_RACE.value
NO_FAILURES = {Cause.NONE, Cause.LOST_RACE, Cause.HEALTHY, Cause.GONE}
FAILURES = tuple(cause.value for cause in Cause if cause not in NO_FAILURES)
SAMPLES = 500
BEST_FIRST = tuple(GradeState)


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What the store holds, as far as metrics tell of it; `unreadable` counts broken states."""

    totals: Totals
    days: list[DaySum]
    failures: Mapping[str, int]
    attempts: Mapping[str, int]
    firing: Mapping[tuple[str, str], int]
    fund: list[InsuranceSample]
    keepers: list[tuple[Status, int]]
    unreadable: int


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "The text format"}},
)
async def metrics(request: Request, clock: Timed) -> Response:
    """Return every metric; `liqctl_up` is 0 when the database cannot be read."""
    pulse: Reader = request.app.state.pulse
    told = Families()
    try:
        found = await pulse.run(read)
    except StoreError:
        found = None
    told.gauge("liqctl_up", "Whether the database can be read.", int(found is not None))
    _tell_server(told, request.app.state.hub)
    if found is not None:
        _tell_record(told, found)
        _tell_keepers(told, found, clock.unix_ms())
    registry = CollectorRegistry()
    registry.register(told)
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), headers={"content-type": content_type})


def read(store: Store) -> Written:
    """Return what metrics are made of, read in one go.

    Raises:
        StoreError: the database cannot be read.
    """
    keepers, unreadable = [], 0
    for _, text, at_ms in store.states(STATE_PREFIX):
        try:
            keepers.append((read_status(text), at_ms))
        except StoreError:
            unreadable += 1
    return Written(
        totals=store.totals(),
        days=store.daily(0),
        failures=store.failure_classes(),
        attempts=store.attempt_counts(),
        firing=Counter((alert.rule, alert.severity.value) for alert in store.firing()),
        fund=store.insurance_history(SAMPLES),
        keepers=keepers,
        unreadable=unreadable,
    )


def _tell_server(to: Families, hub: Hub) -> None:
    to.gauge("liqctl_websocket_clients", "Clients that get events.", len(hub))
    text = "Events that were spread to them."
    to.counter("liqctl_websocket_events", text, hub.counts["events"])
    text = "Clients that were cut off because they were too slow."
    to.counter("liqctl_websocket_slow_clients", text, hub.counts["too_slow"])


def _tell_record(to: Families, found: Written) -> None:
    _tell_liquidations(to, found)
    text = "Liquidations that did not happen, by class; a lost race is none."
    for name, count in sorted((dict.fromkeys(FAILURES, 0) | dict(found.failures)).items()):
        if name != LOST_RACE:
            to.counter("failed_liquidations", text, count, class_=name)
    to.counter("liqctl_lost_races", "Somebody else was first.", found.totals.lost_races)
    to.counter("liqctl_fees_lamports", "Fees of final attempts.", found.totals.fees_lamports)
    for state, count in sorted(found.attempts.items()):
        to.gauge("liqctl_attempts", "Attempts on record by state.", count, state=state)
    text = "Alerts that hold now."
    to.gauge("liqctl_alerts_firing", text, None, rule="", severity="")
    for (rule, severity), count in sorted(found.firing.items()):
        to.gauge("liqctl_alerts_firing", text, count, rule=rule, severity=severity)
    _tell_runway(to, found.fund)


def _tell_liquidations(to: Families, found: Written) -> None:
    """Tell of every market that has any or is watched: Prometheus sees growth only from a zero on."""
    markets = (
        (status.venue, each.symbol) for status, _ in found.keepers for each in status.markets
    )
    sums = {market: Counter[str]() for market in markets}
    for day in found.days:
        sums.setdefault((day.venue, day.symbol), Counter()).update(
            full=day.full, partial=day.partial, rewards=day.rewards, bad_debt=day.bad_debt
        )
    text = "Finalized liquidations of ours."
    to.counter("liquidations", text, None, venue="", symbol="", kind="")
    for (venue, symbol), total in sorted(sums.items()):
        labels = {"venue": venue, "symbol": symbol}
        for kind in ("full", "partial"):
            to.counter("liquidations", text, total[kind], **labels, kind=kind)
        to.counter("liqctl_rewards", "Rewards, in 1e-6 quote.", total["rewards"], **labels)
        to.counter("liqctl_bad_debt", "Bad debt, in 1e-6 quote.", total["bad_debt"], **labels)


def _tell_runway(to: Families, samples: list[InsuranceSample]) -> None:
    by_fund: dict[str, list[InsuranceSample]] = {}
    for sample in samples:
        by_fund.setdefault(sample.venue, []).append(sample)
    for venue, of_fund in by_fund.items():
        text = "How long the fund lasts if it goes on paying bad debt as it did."
        to.gauge("liqctl_insurance_runway_seconds", text, runway_s(of_fund), venue=venue)


def _tell_keepers(to: Families, found: Written, now_ms: int) -> None:
    to.gauge("liqctl_keepers_unreadable", "States of another version.", found.unreadable)
    for status, at_ms in found.keepers:
        silent_ms = max(0, now_ms - at_ms)
        text = "Since when a keeper has not written its state."
        to.gauge("liqctl_state_age_seconds", text, silent_ms / MS_PER_S, venue=status.venue)
        rank = BEST_FIRST.index(grade(status, now_ms, at_ms).state)
        text = "0 healthy, 1 degraded, 2 unhealthy."
        to.gauge("liqctl_health", text, rank, venue=status.venue)
        tell_keeper(to, status.older(silent_ms))
