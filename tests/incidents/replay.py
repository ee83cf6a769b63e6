"""A keeper on an embedded chain whose prices are exactly those that an incident published."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from solders.pubkey import Pubkey

from liqctl.chain.client import Chain
from liqctl.chain.notice import AccountNotice
from liqctl.keeper.decode import CLOCK_SYSVAR
from liqctl.keeper.service import Keeper
from liqctl.localnet.account import AccountState
from liqctl.localnet.markets import MarketSpec
from liqctl.localnet.scenario import Scenario, ScenarioConfig
from liqctl.localnet.world import World
from liqctl.oracle.price_update import RECEIVER_CLASSIC
from tests.keeper.stage import InPlaceRpc, Stage
from tests.localnet.program_world import Price

DECISIONS_MAX = 200
RECEIVER = Pubkey.from_string(RECEIVER_CLASSIC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One price as its publishers left it: mantissa and confidence times 10**exponent.

    With `age_s` it is that old when it is written; without, it is renewed in every slot.
    """

    mantissa: int
    confidence: int
    exponent: int = -8
    age_s: int = 0


def dollars(price: float, confidence: float, **more: Any) -> Published:
    """Return a price in dollars at the exponent that Pyth uses for them."""
    return Published(mantissa=round(price * 10**8), confidence=round(confidence * 10**8), **more)


class Feed:
    """Stands where the scenario's publisher of one symbol stood."""

    def __init__(self, world: World, spec: MarketSpec, published: Published) -> None:
        self.world, self.spec = world, spec
        self.published: Published | None = published

    def publish(self, _: object) -> None:
        """Write the price of this slot, or leave the last one to grow old."""
        if self.published is not None:
            self.world.set_account(self.spec.price_account, self.account(self.published))

    def account(self, published: Published) -> AccountState:
        written = Price(
            price=published.mantissa,
            confidence=published.confidence,
            exponent=published.exponent,
            publish_time=self.world.unix_ms // 1_000 - published.age_s,
            feed_id=self.spec.feed,
            owner=RECEIVER,
        ).account()
        return AccountState(lamports=written.lamports, data=written.data, owner=written.owner)


class Replay(Stage):
    """The stage of the keeper's tests with start prices and price bytes of one's own."""

    def __init__(self, place: Path, starts: Mapping[str, str], *, positions: int = 30) -> None:
        self.place = place
        path = place / "prices.csv"
        path.write_text("".join(f"0,{symbol},{price}\n" for symbol, price in starts.items()))
        config = ScenarioConfig(
            positions=positions, seed=1, path=str(path), start_unix_s=1_750_000_000
        )
        self.scenario = Scenario(config)
        self.world = self.scenario.world
        self.rpc = InPlaceRpc(self.world)
        self.chain = Chain(self.rpc)
        self.key_file, self.liquidator = self._key(1)
        self.rival_file, _ = self._key(2)
        self.contexts = []
        self.specs = {spec.symbol: spec for spec in self.scenario.specs}

    def publish(self, symbol: str, published: Published | None) -> None:
        """Have this price in the account from the next slot on; None stops the publisher."""
        publishers: dict[str, Any] = self.scenario._publishers
        feed = publishers[symbol]
        if isinstance(feed, Feed):
            feed.published = published
        elif published is not None:
            publishers[symbol] = Feed(self.world, self.specs[symbol], published)

    async def show(self, keeper: Keeper, symbol: str, published: Published | None) -> None:
        """Publish, wait until it is confirmed and have the keeper read it."""
        self.publish(symbol, published)
        self.ticks(2)
        await look(self, keeper)

    async def notice(self, keeper: Keeper, symbol: str) -> None:
        """Have the subscription tell the price, as it does before any polling."""
        address = str(self.specs[symbol].price_account)
        answer = await self.chain.accounts([address, CLOCK_SYSVAR])
        for account in filter(None, answer.by_address.values()):
            keeper.feeds._take_price(
                AccountNotice(
                    address=account.address,
                    account=account,
                    slot=answer.slot,
                    received_ns=keeper._context.clock.monotonic_ns(),
                )
            )
        keeper.absorb()

    def members(self, keeper: Keeper, symbol: str) -> list[str]:
        """Return the positions of one market."""
        market = self.scenario.addresses.markets[symbol]
        return sorted(keeper.engine._members[str(market)])


async def look(stage: Stage, keeper: Keeper) -> None:
    """Have the keeper read every price, as it does at each interval."""
    await keeper.feeds.read([str(spec.price_account) for spec in stage.scenario.specs])
    keeper.absorb()


async def work_off(keeper: Keeper) -> None:
    """Carry out all that is due now, as the decide loop does, one after the other."""
    for _ in range(DECISIONS_MAX):
        decision = keeper.engine.next(keeper._context.steady.ms())
        if decision is None:
            return
        await keeper._work(decision)
        keeper.absorb()
    raise AssertionError("there is no end to it")
