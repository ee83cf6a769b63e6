"""The status of a running keeper, read from its parts."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from liqctl.core.engine import Engine
from liqctl.core.record import QueueState
from liqctl.core.status import DISTANCES_BPS, RPC_ERROR_KINDS, HermesStatus, Latency, Near, Status
from liqctl.keeper.context import Context
from liqctl.keeper.feeds import FeedState, Intervals
from liqctl.keeper.hermes_feed import HermesFeed
from liqctl.keeper.holds import Holds
from liqctl.keeper.markets import market_statuses
from liqctl.keeper.metrics import Vitals
from liqctl.keeper.mirror import Mirror
from liqctl.keeper.purse import Purse
from liqctl.keeper.recorder import Recorder
from liqctl.keeper.settle import Settler
from liqctl.keeper.shadow import Shadow
from liqctl.venues.confirming import facts_for


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a status is read from."""

    context: Context
    engine: Engine
    settler: Settler
    recorder: Recorder
    mirror: Mirror
    feeds: FeedState
    hermes: HermesFeed | None
    holds: Holds
    purse: Purse
    vitals: Vitals
    intervals: Intervals
    shadow: Shadow
    sends: bool
    in_flight: int
    started_ns: int


def status_of(parts: Parts, now_ns: int) -> Status:
    """Return the keeper's status at a monotonic time."""
    context, engine, settler = parts.context, parts.engine, parts.settler
    recorder, feeds = parts.recorder, parts.feeds
    states = Counter(entry.state for entry in engine.queue.entries())
    fund, held = recorder.fund, parts.holds.reason()
    rpc = context.chain.counts()
    rpc_errors = _rpc_errors(parts, rpc)
    return Status(
        venue=context.venue.id,
        program_id=context.venue.program_id,
        owner=context.owner,
        dry_run=not parts.sends,
        watch_only=facts_for(context.venue).why_not is not None,
        uptime_ms=(now_ns - parts.started_ns) // 1_000_000,
        check_interval_ms=parts.intervals.check_ms,
        reconcile_interval_ms=parts.intervals.reconcile_ms,
        slot=engine.slot,
        slot_age_ms=parts.vitals.slot_age_ms(now_ns),
        cluster_time_s=engine.now_s,
        markets=market_statuses(context.venue, engine),
        coverage=engine.coverage(),
        near=_near(parts.mirror),
        collateral_total=engine.collateral_total,
        waiting=states[QueueState.WAITING],
        quarantined=states[QueueState.QUARANTINED],
        evicted=engine.queue.evicted,
        in_flight=parts.in_flight,
        unconfirmed=settler.unconfirmed(),
        oldest_in_flight_ms=settler.oldest_ms(context.clock.unix_ms()),
        held=held,
        held_ms=parts.vitals.held_ms(held, now_ns),
        wallet=parts.purse.wallet(now_ns),
        spent=parts.purse.spent(),
        fund_balance=fund.balance if fund else None,
        fund_address=fund.address if fund else None,
        bad_debt_covered=fund.bad_debt_covered if fund else None,
        bad_debt_uncovered=fund.bad_debt_uncovered if fund else None,
        full=settler.counts["full"],
        partial=settler.counts["partial"],
        failed=settler.counts["failed"] + recorder.counts["outcome_failed"],
        lost_races=settler.counts["lost_races"],
        expired=settler.counts["expired"],
        refused={
            name.removeprefix("refused_"): count
            for name, count in sorted(recorder.counts.items())
            if name.startswith("refused_")
        },
        attempts=settler.counts["launched"],
        rpc=rpc,
        rpc_errors=rpc_errors,
        rpc_errors_minute=parts.vitals.rpc_errors.since_a_minute(rpc_errors, now_ns),
        store_errors=_store_errors(parts),
        failing_ms=recorder.failing_ms(now_ns),
        events_dropped=recorder.counts["events_dropped"],
        streams_down=feeds.streams_down,
        streams={name: _age_ms(now_ns, then) for name, then in feeds.streams_ns.items()},
        snapshot_age_ms=_age_ms(now_ns, feeds.snapshot_ns),
        notice_age_ms=_age_ms(now_ns, feeds.notice_ns),
        check_age_ms=_age_ms(now_ns, feeds.check_ns),
        latency=latency_of(settler.latencies_us),
        decision_us=settler.speeds.decision_us.histogram(),
        landing_ms=settler.speeds.landing_ms.histogram(),
        landing_slots=settler.speeds.landing_slots.histogram(),
        pulse=parts.vitals.pulse(now_ns),
        shadow_checked=parts.shadow.counts["checked"],
        shadow_disagreements=parts.shadow.counts["disagreements"],
        shadow_incomparable=parts.shadow.counts["incomparable"],
        shadow_last=parts.shadow.last,
        hermes=None if parts.hermes is None else _hermes(parts.hermes, now_ns),
    )


def _hermes(feed: HermesFeed, now_ns: int) -> HermesStatus:
    return HermesStatus(
        url=feed.client.shown_url,
        down=feed.state.down,
        prices_age_ms=_age_ms(now_ns, feed.state.prices_ns),
        counts=asdict(feed.client.counts),
    )


def latency_of(samples_us: Iterable[int]) -> Latency:
    """Return count, median and 99th percentile of samples."""
    ordered = sorted(samples_us)
    if not ordered:
        return Latency(count=0, p50_us=None, p99_us=None)
    last = len(ordered) - 1
    return Latency(
        count=len(ordered),
        p50_us=ordered[last // 2],
        p99_us=ordered[-(-last * 99 // 100)],
    )


def _near(mirror: Mirror) -> tuple[Near, ...]:
    return tuple(
        Near(within_bps=bps, positions=count)
        for bps, count in zip(DISTANCES_BPS, mirror.near, strict=True)
    )


def _rpc_errors(parts: Parts, rpc: dict[str, dict[str, int]]) -> int:
    """Return how many calls failed: on the wire where that is counted, else those that were felt."""
    if rpc:
        return sum(each.get(kind, 0) for each in rpc.values() for kind in RPC_ERROR_KINDS)
    felt = parts.feeds.rpc_errors + parts.settler.counts["rpc_errors"]
    return felt + parts.purse.counts["rpc_errors"]


def _store_errors(parts: Parts) -> int:
    counted = (parts.recorder.counts, parts.mirror.counts, parts.purse.counts)
    return sum(counts["store_errors"] for counts in counted)


def _age_ms(now_ns: int, then_ns: int) -> int | None:
    return (now_ns - then_ns) // 1_000_000 if then_ns else None
