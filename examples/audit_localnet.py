"""An audit through the library: an embedded chain, forty slots of prices, one complete pass.

python examples/audit_localnet.py
"""

import asyncio
import logging

import structlog

from liqctl.chain.client import Chain
from liqctl.chain.rpc import HttpRpc
from liqctl.keeper.context import Context
from liqctl.keeper.service import Keeper, Tuning
from liqctl.keeper.storage import StoreThread
from liqctl.keeper.survey import survey
from liqctl.localnet.scenario import Scenario, ScenarioConfig
from liqctl.localnet.server import LocalnetServer, ServerConfig
from liqctl.ports import SystemClock, SystemRng
from liqctl.testing import MemoryStore
from liqctl.venues.registry import open_venue

SLOTS = 40


async def main() -> None:
    """Print what is liquidatable after forty slots; nothing is signed, sent or written to disk."""
    quiet = structlog.make_filtering_bound_logger(logging.WARNING)
    structlog.configure(wrapper_class=quiet)
    clock, rng = SystemClock(), SystemRng()
    scenario = Scenario(
        ScenarioConfig(
            positions=300,
            seed=7,
            path="crash",
            start_unix_s=clock.unix_ms() // 1_000,
            start_delay_slots=0,
        )
    )
    for _ in range(SLOTS):
        scenario.world.tick()
    server = LocalnetServer(scenario.world, clock, ServerConfig(port=0, ticking=False))
    async with server, HttpRpc(server.url, clock, rng) as rpc:
        context = Context(
            venue=open_venue("reference", scenario.addresses.program),
            chain=Chain(rpc),
            store=StoreThread(MemoryStore()),
            clock=clock,
            rng=rng,
            owner="audit",
        )
        keeper = Keeper(context, gate=None, liquidator=None, streams=None, tuning=Tuning())
        found = await survey(keeper, context)
        await context.store.close()
    coverage = found.coverage
    print(f"slot {found.slot}: {coverage.evaluated} of {coverage.positions} positions evaluated")
    for finding in found.findings:
        verdict = finding.assessment
        print(
            f"{finding.position.address}  {verdict.symbol}  health {verdict.health:.4f}  "
            f"{verdict.kind}  reward {verdict.reward / 1e6}"
        )


if __name__ == "__main__":
    asyncio.run(main())
