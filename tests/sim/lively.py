"""Configurations by hand: small, quick, with a little of everything."""

from dataclasses import replace

from liqctl.sim.swarm import ClusterFaults, MarketFaults, NodeFaults, OwnFaults, Swarm

LIVELY = Swarm(
    seed=7,
    keepers=1,
    separate_store=False,
    dry_keeper=False,
    endpoints=2,
    positions=12,
    window_blocks=20,
    chaos_s=60.0,
    check_interval_ms=2_000,
    settle_ms=500,
    hour_lamports=50_000_000,
    cluster=ClusterFaults(dropped=0.3, late=0.1, fork=0.08, fork_depth_max=8),
    node=NodeFaults(refused_429=0.03, answer_lost=0.06),
    market=MarketFaults(path="crash", traders=0.1),
    own=OwnFaults(kill=0.002, kill_at_await=1.0),
)
BRIEF = replace(LIVELY, chaos_s=20.0)
