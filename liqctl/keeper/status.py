"""What there is to see of a running keeper, as one value."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from liqctl.core.engine import Engine
from liqctl.core.events import Coverage
from liqctl.core.record import QueueState
from liqctl.keeper.feeds import FeedState
from liqctl.keeper.holds import Holds
from liqctl.keeper.recorder import Recorder
from liqctl.keeper.settle import Settler


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketStatus:
    """One market: its mark price, or the word why there is none."""

    symbol: str
    market: str
    price_e6: int | None
    refusal: str | None
    max_price_age_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Decision latency over the latest attempts: price notice received to signed bytes sent."""

    count: int
    p50_us: int | None
    p99_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """The keeper at one moment; money in 1e-6 quote, ages in milliseconds."""

    uptime_ms: int
    slot: int
    cluster_time_s: int
    markets: tuple[MarketStatus, ...]
    coverage: Coverage
    waiting: int
    quarantined: int
    evicted: int
    in_flight: int
    held: str | None
    fund_balance: int | None
    fund_address: str | None
    full: int
    partial: int
    failed: int
    lost_races: int
    expired: int
    refused: dict[str, int]
    rpc_errors: int
    store_errors: int
    streams_down: int
    snapshot_age_ms: int | None
    notice_age_ms: int | None
    check_age_ms: int | None
    latency: Latency

    def as_json(self) -> dict[str, object]:
        """Return plain values for JSON."""
        plain: dict[str, object] = msgspec.to_builtins(self)
        return plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a status is read from."""

    engine: Engine
    settler: Settler
    recorder: Recorder
    feeds: FeedState
    holds: Holds
    in_flight: int
    started_ns: int


def status_of(parts: Parts, now_ns: int) -> Status:
    """Return the keeper's status at a monotonic time."""
    engine, settler, recorder, feeds = parts.engine, parts.settler, parts.recorder, parts.feeds
    states = Counter(entry.state for entry in engine.queue.entries())
    fund = recorder.fund
    return Status(
        uptime_ms=(now_ns - parts.started_ns) // 1_000_000,
        slot=engine.slot,
        cluster_time_s=engine.now_s,
        markets=tuple(
            MarketStatus(
                symbol=market.symbol,
                market=market.address,
                price_e6=None if isinstance(price, str) else price,
                refusal=price if isinstance(price, str) else None,
                max_price_age_s=market.max_price_age_s,
            )
            for market, price in engine.markets()
        ),
        coverage=engine.coverage(),
        waiting=states[QueueState.WAITING],
        quarantined=states[QueueState.QUARANTINED],
        evicted=engine.queue.evicted,
        in_flight=parts.in_flight,
        held=parts.holds.reason(),
        fund_balance=fund.balance if fund else None,
        fund_address=fund.address if fund else None,
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
        rpc_errors=feeds.rpc_errors + settler.counts["rpc_errors"],
        store_errors=recorder.counts["store_errors"],
        streams_down=feeds.streams_down,
        snapshot_age_ms=_age_ms(now_ns, feeds.snapshot_ns),
        notice_age_ms=_age_ms(now_ns, feeds.notice_ns),
        check_age_ms=_age_ms(now_ns, feeds.check_ns),
        latency=latency_of(settler.latencies_us),
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


def _age_ms(now_ns: int, then_ns: int) -> int | None:
    return (now_ns - then_ns) // 1_000_000 if then_ns else None
