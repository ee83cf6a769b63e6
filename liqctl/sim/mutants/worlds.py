"""Worlds in which mutants show: everything that a fault does not need is left out."""

from collections.abc import Callable
from dataclasses import replace

from liqctl.sim.swarm import ClusterFaults, MarketFaults, NodeFaults, OwnFaults, Swarm

World = Callable[[Swarm], Swarm]


def world(
    *,
    cluster: ClusterFaults | None = None,
    node: NodeFaults | None = None,
    market: MarketFaults | None = None,
    own: OwnFaults | None = None,
    **more: object,
) -> World:
    """Return a world of one keeper, two endpoints and falling prices with these faults alone.

    `more` are further fields of a swarm. What is drawn from the seed stays different in each.
    """

    def built(swarm: Swarm) -> Swarm:
        fields: dict[str, object] = {
            "keepers": 1,
            "separate_store": False,
            "dry_keeper": False,
            "endpoints": 2,
            "positions": 16,
            "window_blocks": 20,
            "chaos_s": 100.0,
            "hour_lamports": 50_000_000,
            "cluster": cluster or ClusterFaults(),
            "node": node or NodeFaults(),
            "market": market or MarketFaults(),
            "own": own or OwnFaults(),
        }
        return replace(swarm, **(fields | more))  # type: ignore[arg-type]  # fields of a swarm

    return built
