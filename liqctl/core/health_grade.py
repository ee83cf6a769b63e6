"""How well a keeper does, from the status it wrote: one grade, and every reason for it."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from liqctl.core.status import Status

CHECKS_MISSED_MAX = 3


class GradeState(StrEnum):
    """The worst of the reasons.

    Healthy: everything is watched and can be liquidated. Degraded: the keeper works, but not on
    everything or not for ever. Unhealthy: positions may go unseen or cannot be liquidated.
    """

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeLimits:
    """How long what may last."""

    written_ms_max: int = 5_000
    slot_age_ms_max: int = 30_000
    stream_age_ms_max: int = 10_000
    failing_ms_max: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One thing that is not as it should be.

    The code is for programs, the text for people. The subject is the market, stream or address it
    is about, empty for the keeper as a whole. `since_ms` is unix time, None where it is not known.
    """

    code: str
    state: GradeState
    text: str
    subject: str = ""
    since_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """The grade with its reasons, the worst first."""

    state: GradeState
    reasons: tuple[Reason, ...]


def grade(
    status: Status | None,
    now_ms: int,
    written_ms: int | None,
    limits: GradeLimits | None = None,
) -> Grade:
    """Return the grade of a keeper by the last status it wrote and the time it wrote it.

    A keeper that writes no more has one reason: what it wrote last says nothing about now.
    """
    bounds = limits or GradeLimits()
    if status is None or written_ms is None:
        text = "no keeper has written its state to this database; start `liqctl watch`"
        return _graded([_unhealthy("keeper_missing", text)])
    silent_ms = now_ms - written_ms
    if silent_ms > bounds.written_ms_max:
        text = (
            f"the keeper has written nothing for {_seconds(silent_ms)}; "
            "is `liqctl watch` up, and can it write to the database"
        )
        return _graded([_unhealthy("keeper_silent", text, since_ms=written_ms)])
    return _graded(
        [
            *_progress(status, written_ms, bounds),
            *_writing(status, written_ms, bounds),
            *_sight(status, written_ms),
            *_means(status, written_ms),
        ]
    )


def _progress(status: Status, at_ms: int, limits: GradeLimits) -> Iterator[Reason]:
    """Yield what keeps the keeper from seeing the chain move."""
    passes = (
        ("check_overdue", "check", status.check_age_ms, status.check_interval_ms),
        ("snapshot_overdue", "read of all positions", status.snapshot_age_ms, _snapshot_ms(status)),
    )
    for code, what, age_ms, interval_ms in passes:
        since_ms = status.uptime_ms if age_ms is None else age_ms
        if since_ms > CHECKS_MISSED_MAX * interval_ms:
            text = f"no complete {what} for {_seconds(since_ms)}, due every {_seconds(interval_ms)}"
            yield _unhealthy(code, text, since_ms=at_ms - since_ms)
    if status.slot_age_ms > limits.slot_age_ms_max:
        text = f"slot {status.slot} has been the newest for {_seconds(status.slot_age_ms)}"
        yield _unhealthy("slot_stuck", text, since_ms=at_ms - status.slot_age_ms)
        return  # then silent streams are no news
    for name, age_ms in status.streams.items():
        silent_ms = status.uptime_ms if age_ms is None else age_ms
        if silent_ms > limits.stream_age_ms_max:
            text = f"the stream of {name} has been silent for {_seconds(silent_ms)}"
            since_ms = at_ms - silent_ms
            yield _unhealthy("stream_silent", text, subject=name, since_ms=since_ms)


def _snapshot_ms(status: Status) -> int:
    """Return how often everything is read; the checks in between have a say where that is never."""
    return max(status.reconcile_interval_ms, status.check_interval_ms)


def _writing(status: Status, at_ms: int, limits: GradeLimits) -> Iterator[Reason]:
    failing_ms = status.failing_ms
    if failing_ms is not None and failing_ms > limits.failing_ms_max:
        text = f"the database has been failing for {_seconds(failing_ms)}; nothing is signed"
        yield _unhealthy("database_failing", text, since_ms=at_ms - failing_ms)


def _sight(status: Status, at_ms: int) -> Iterator[Reason]:
    """Yield what cannot be judged."""
    blind = [market for market in status.markets if market.price_e6 is None]
    worst = GradeState.UNHEALTHY if len(blind) == len(status.markets) else GradeState.DEGRADED
    for market in blind:
        since_ms = None
        text = f"{market.symbol} has no usable price: {market.refusal}"
        if market.age_s is not None:
            text += _published(market.age_s, market.max_price_age_s)
            if market.age_s > market.max_price_age_s:
                since_ms = at_ms - (market.age_s - market.max_price_age_s) * 1_000
        yield Reason(
            code="price_unusable",
            state=worst,
            text=text,
            subject=market.symbol,
            since_ms=since_ms,
        )
    for market in status.markets:
        if market.doubt is not None and market.price_e6 is not None:
            text = f"sends are held back in {market.symbol}: {market.doubt}"
            yield _degraded("price_doubtful", text, subject=market.symbol)
    if status.hermes is not None and status.hermes.down is not None:
        yield _degraded("hermes_down", f"no prices come from Hermes: {status.hermes.down}")
    if status.shadow_disagreements:
        text = f"the program contradicted {status.shadow_disagreements} verdicts since the start"
        yield _degraded("program_disagrees", text)
    coverage = status.coverage
    unknown = coverage.positions - coverage.evaluated
    if unknown:
        counts = sorted(coverage.unknown.items(), key=lambda item: (-item[1], item[0]))
        why = ", ".join(f"{count} {reason}" for reason, count in counts)
        text = f"{unknown} of {coverage.positions} positions cannot be judged: {why}"
        yield _degraded("coverage_incomplete", text)


def _means(status: Status, at_ms: int) -> Iterator[Reason]:
    """Yield what keeps the keeper from signing."""
    if status.held is not None:
        since_ms = None if status.held_ms is None else at_ms - status.held_ms
        text = f"nothing is signed: {status.held}; `liqctl watch --resume` lifts it"
        yield _degraded("held", text, subject=status.held, since_ms=since_ms)
    wallet = status.wallet
    if wallet is None or wallet.balance_lamports is None or status.dry_run:
        return
    if wallet.balance_lamports < wallet.min_lamports:
        text = (
            f"the liquidator has {wallet.balance_lamports} lamports; "
            f"below {wallet.min_lamports} nothing is signed"
        )
        yield _degraded("wallet_low", text, subject=wallet.address)


def _graded(reasons: list[Reason]) -> Grade:
    ranks = list(GradeState)
    ordered = sorted(reasons, key=lambda reason: -ranks.index(reason.state))
    state = ordered[0].state if ordered else GradeState.HEALTHY
    return Grade(state=state, reasons=tuple(ordered))


def _unhealthy(code: str, text: str, *, subject: str = "", since_ms: int | None = None) -> Reason:
    unhealthy = GradeState.UNHEALTHY
    return Reason(code=code, state=unhealthy, text=text, subject=subject, since_ms=since_ms)


def _degraded(code: str, text: str, *, subject: str = "", since_ms: int | None = None) -> Reason:
    degraded = GradeState.DEGRADED
    return Reason(code=code, state=degraded, text=text, subject=subject, since_ms=since_ms)


def _published(age_s: int, age_s_max: int) -> str:
    if age_s < 0:
        return f", published {-age_s} s ahead of the cluster's clock"
    return f", published {age_s} s ago, {age_s_max} s are allowed"


def _seconds(ms: int) -> str:
    return f"{ms // 1_000}.{ms % 1_000 // 100} s"
