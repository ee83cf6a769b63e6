"""A status of a keeper that is well, to be changed by tests."""

from dataclasses import replace
from typing import Any

from liqctl.core.events import Coverage
from liqctl.core.status import (
    Histogram,
    Latency,
    MarketStatus,
    Near,
    Pulse,
    Spent,
    Status,
    Wallet,
)

EMPTY = Histogram(bounds=(1, 2), counts=(0, 0), count=0, sum=0)
SOL = MarketStatus(
    symbol="SOL",
    market="market",
    price_e6=150_000_000,
    refusal=None,
    max_price_age_s=60,
    confidence_e6=1_000,
    confidence_bps=1,
    publish_time_s=1_000,
    age_s=1,
    source="price_update",
    slot=9,
)
WALLET = Wallet(
    address="wallet", balance_lamports=10**9, read_age_ms=1_000, min_lamports=50_000_000
)
WELL = Status(
    venue="reference",
    program_id="program",
    owner="owner",
    dry_run=False,
    watch_only=False,
    uptime_ms=600_000,
    check_interval_ms=2_000,
    reconcile_interval_ms=60_000,
    slot=10,
    slot_age_ms=400,
    cluster_time_s=1_001,
    markets=(SOL,),
    coverage=Coverage(positions=100, evaluated=100, unknown={}),
    near=(Near(within_bps=50, positions=3),),
    collateral_total=1_000_000_000,
    waiting=0,
    quarantined=0,
    evicted=0,
    in_flight=0,
    unconfirmed=0,
    oldest_in_flight_ms=None,
    held=None,
    held_ms=None,
    wallet=WALLET,
    spent=Spent(
        hour_lamports=1, day_lamports=2, hour_lamports_max=50_000_000, day_lamports_max=500_000_000
    ),
    fund_balance=100_000_000,
    fund_address="fund",
    bad_debt_covered=0,
    bad_debt_uncovered=0,
    full=0,
    partial=0,
    failed=0,
    lost_races=0,
    expired=0,
    refused={},
    attempts=0,
    rpc={},
    rpc_errors=0,
    rpc_errors_minute=0,
    store_errors=0,
    failing_ms=None,
    events_dropped=0,
    streams_down=0,
    streams={"prices": 300, "accounts": 500},
    snapshot_age_ms=30_000,
    notice_age_ms=300,
    check_age_ms=900,
    latency=Latency(count=0, p50_us=None, p99_us=None),
    decision_us=EMPTY,
    landing_ms=EMPTY,
    landing_slots=EMPTY,
    pulse=Pulse(loop_lag_us_max=100, mailbox_depth_max=4, batch_us=EMPTY),
)


def status(**changed: Any) -> Status:
    """Return the status of a keeper that is well but for what is named."""
    return replace(WELL, **changed)
