"""The authority of the program, who pauses markets now and then."""

from collections.abc import Callable, Mapping
from typing import Any

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from liqctl.core.instruction import Instruction
from liqctl.localnet.genesis import call
from liqctl.sim.cluster import Cluster
from liqctl.sim.swarm import Dice
from liqctl.sim.tree import ForkBlock
from liqctl.venues.reference_layout import DISCRIMINATOR_SIZE, REFERENCE_IDL, TIERS

_SLOTS = (5, 100)
_SETTLED_SLOTS = 100

Land = Callable[[ForkBlock, Keypair, Instruction], bool]


class Pauses:
    """Pauses markets, and opens them again on whatever fork turns out to be the chain."""

    def __init__(self, cluster: Cluster, rng: Dice, land: Land) -> None:
        """`land` puts a call of a signer into a block and says whether it succeeded."""
        self._cluster = cluster
        self._rng = rng
        self._land = land
        self._until: dict[str, int] = {}

    def calm(self) -> None:
        """Open every market at the next block."""
        self._until = {market: min(until, 0) for market, until in self._until.items()}

    def act(self, rate: float, block: ForkBlock) -> None:
        """Pause one market at this rate, and see to those whose pause has to begin or to end."""
        if self._rng.chance(rate):
            market = self._rng.pick(tuple(self._cluster.genesis.addresses.markets.values()))
            self._until[market] = block.slot + self._rng.whole(*_SLOTS)
        for market, until in list(self._until.items()):
            wanted = block.slot < until
            values = self._read(market, block)
            if bool(values["paused"]) is wanted:
                if until and block.slot > until + _SETTLED_SLOTS:
                    del self._until[market]
            elif self._update(market, values, block, paused=wanted) and wanted:
                self._cluster.fault("market_paused")

    def _read(self, market: str, block: ForkBlock) -> Mapping[str, Any]:
        state = self._cluster.account(Pubkey.from_string(market), block)
        layout = REFERENCE_IDL.account_layout("Market")
        return layout.read(b"" if state is None else state.data, DISCRIMINATOR_SIZE)

    def _update(
        self, market: str, values: Mapping[str, Any], block: ForkBlock, *, paused: bool
    ) -> bool:
        genesis = self._cluster.genesis
        params = {
            **values,
            "tiers": [
                {
                    "max_leverage": values[f"tiers[{tier}].max_leverage"],
                    "maintenance_bps": values[f"tiers[{tier}].maintenance_bps"],
                }
                for tier in range(TIERS)
            ],
        }
        accounts = {
            "authority": str(genesis.authority.pubkey()),
            "market": market,
            "price_account": str(Pubkey.from_bytes(values["price_account"])),
        }
        update = call(
            genesis.addresses, "update_market", accounts, {"params": params, "paused": paused}
        )
        return self._land(block, genesis.authority, update)
