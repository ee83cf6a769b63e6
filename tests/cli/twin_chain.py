"""A chain on which the reference program stands twice, each with positions, markets and a fund."""

import asyncio
import sys
from typing import Any

from solders.pubkey import Pubkey

from liqctl.localnet.genesis import QUOTE_UNIT, SOL_LAMPORTS, Addresses, Genesis, send
from liqctl.localnet.paths import PPM, Quote
from liqctl.localnet.scenario import Scenario
from liqctl.localnet.server import LocalnetServer
from liqctl.localnet.traders import ENTRY_LEVELS_PPM, batches, draw_orders, opening, trader_key
from liqctl.ports import SystemRng
from tests.cli.chain_fixture import POSITIONS, Child

PROGRAM = str(Pubkey.from_bytes(bytes([7] * 32)))
SEED = 99


def deploy_again(scenario: Scenario, positions: int = POSITIONS) -> Addresses:
    """Deploy the program at another address and open positions there, in the same markets."""
    world, specs = scenario.world, scenario.specs
    genesis = Genesis(world, SEED, specs, PROGRAM)
    orders = draw_orders(positions, specs, SystemRng(SEED))
    keys = {order.trader: trader_key(SEED, order.trader) for order in orders}
    for trader, key in keys.items():
        tokens = sum(2 * order.collateral for order in orders if order.trader == trader)
        genesis.give(key.pubkey(), lamports=SOL_LAMPORTS, tokens=tokens)
    genesis.found(5_000 * QUOTE_UNIT)
    starts = {one.symbol: one.start_price_e8 for one in specs}
    for level in ENTRY_LEVELS_PPM:
        at = {symbol: Quote.of(price * level // PPM) for symbol, price in starts.items()}
        scenario._publish(at)
        for batch in batches([order for order in orders if order.level_ppm == level]):
            calls = [opening(one, keys[one.trader], genesis.addresses) for one in batch]
            send(world, calls, *dict.fromkeys(keys[one.trader] for one in batch))
        world.tick()
    scenario._publish({symbol: Quote.of(price) for symbol, price in starts.items()})
    for _ in range(world.config.finalize_blocks + 1):
        world.tick()
    return genesis.addresses


class TwinChild(Child):
    """The other side, with the second program."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.twin = deploy_again(self.scenario)

    def ready(self, server: LocalnetServer) -> dict[str, Any]:
        return {**super().ready(server), "twin": PROGRAM, "twin_fund": self.twin.insurance_fund}


if __name__ == "__main__":
    asyncio.run(TwinChild(int(sys.argv[1])).serve())
