"""A whole small market on the embedded chain: program, fund, traders, moving prices, rivals."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from liqctl.errors import SettingsError
from liqctl.localnet.dump import load_accounts
from liqctl.localnet.genesis import (
    PROGRAM_ID,
    QUOTE_UNIT,
    SOL_LAMPORTS,
    Addresses,
    Genesis,
    key_of,
    send,
)
from liqctl.localnet.markets import CATALOGUE, MarketSpec
from liqctl.localnet.paths import (
    PPM,
    CalmPath,
    CrashPath,
    PricePath,
    Quote,
    ReplayPath,
    Row,
    Start,
    read_rows,
)
from liqctl.localnet.publisher import Publisher
from liqctl.localnet.rivals import Rivals
from liqctl.localnet.traders import (
    ENTRY_LEVELS_PPM,
    Order,
    batches,
    draw_orders,
    opening,
    trader_key,
)
from liqctl.localnet.world import BankUpdate, Listener, SlotUpdate, World, WorldConfig
from liqctl.ports import SystemRng
from liqctl.venues.reference import ReferenceVenue

CALM, CRASH = "calm", "crash"
MARKETS_MAX = len(CATALOGUE)
_LIQUIDATOR_LAMPORTS = 100 * SOL_LAMPORTS
_TRADER_LAMPORTS = SOL_LAMPORTS
_INSURANCE_BASE = 2_000 * QUOTE_UNIT
_INSURANCE_PER_POSITION = 45 * QUOTE_UNIT
_START_PRICE_E8_MIN = 10**5

Progress = Callable[[int], None]
"""Called with the number of positions opened so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioConfig:
    """What to build. Times and chance all come from here: equal configurations, equal chains.

    `path` is calm, crash or the name of a CSV file. Prices stand still until `start`, or until
    the first client listens, or for `start_delay_slots` slots. `start_unix_s` is the cluster time
    at which the set-up ends. `accounts` is a folder of account dumps to load first, `liquidator`
    gets 100 SOL from the faucet.
    """

    positions: int = 2_000
    markets: int = 3
    seed: int = 1
    path: str = CRASH
    slot_ms: int = 400
    rivals: int = 0
    start_unix_s: int
    start_delay_slots: int = 25
    accounts: Path | None = None
    liquidator: Pubkey | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that no scenario has."""
        if self.positions < 0 or self.rivals < 0:
            raise SettingsError("localnet: positions and rivals cannot be negative")
        if not 1 <= self.markets <= MARKETS_MAX:
            raise SettingsError(f"localnet: markets must be 1 to {MARKETS_MAX}, was {self.markets}")


def liquidator_key(seed: int) -> Keypair:
    """Return the key that a scenario offers to a keeper; it owns nothing until it is funded."""
    return key_of(seed, "liquidator")


class _AudienceWorld(World):
    """A chain that knows whether anybody has begun to listen to it."""

    has_audience = False

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call the listener at every change from now on; returns what ends that."""
        self.has_audience = True
        return super().listen(listener)


class Scenario:
    """The chain with everything on it. Whoever ticks `world` moves the prices and the rivals.

    All positions are opened by signed transactions of their owners, at prices of the past. Three
    things are planted from outside, as a genesis file would: the mint, and lamports and tokens of
    the traders, the rivals and the authority.
    """

    def __init__(self, config: ScenarioConfig, *, progress: Progress | None = None) -> None:
        """Build it all: about a millisecond for each position.

        Raises:
            SettingsError: no virtual machine on this platform, or a file that cannot be used.
        """
        self.config = config
        specs, rows = _markets(config)
        self.specs: Sequence[MarketSpec] = specs
        self.quotes: Mapping[str, Quote] = {}
        self._rows = rows
        self._world = _AudienceWorld(_world_config(config))
        if config.accounts is not None:
            load_accounts(self._world, config.accounts)
        self._publishers = {one.symbol: Publisher(self._world, one.feed) for one in specs}
        genesis = Genesis(self._world, config.seed, specs)
        self.addresses: Addresses = genesis.addresses
        self._set_up(genesis, progress or (lambda _: None))
        self._path = self._new_path()
        self._ready_slot = self._slot = self._world.slot
        self._started = self._held = False
        self._world.listen(self._on_update)
        self._world.has_audience = False

    @property
    def world(self) -> World:
        """The chain."""
        return self._world

    @property
    def idl_path(self) -> Path:
        """The file with the IDL of the program."""
        return Path(str(resources.files("liqctl.venues") / "liquidation_engine.json"))

    def start(self) -> None:
        """Let the prices move from the next slot on."""
        self._started = True

    def hold(self) -> None:
        """Let the prices stand still from now on; they go on being published."""
        self._held = True

    def step(self) -> None:
        """Move the chain by one slot, and with it prices and rivals."""
        self._world.tick()

    def _set_up(self, genesis: Genesis, progress: Progress) -> None:
        config = self.config
        orders = draw_orders(config.positions, self.specs, SystemRng(config.seed))
        keys = {order.trader: trader_key(config.seed, order.trader) for order in orders}
        tokens = dict.fromkeys(keys, 0)
        for order in orders:
            tokens[order.trader] += 2 * order.collateral
        for trader, key in keys.items():
            genesis.give(key.pubkey(), lamports=_TRADER_LAMPORTS, tokens=tokens[trader])
        rivals = [key_of(config.seed, f"rival {number}") for number in range(config.rivals)]
        for key in rivals:
            genesis.give(key.pubkey(), lamports=_LIQUIDATOR_LAMPORTS, tokens=0)
        genesis.found(_INSURANCE_BASE + _INSURANCE_PER_POSITION * config.positions)
        self._open(orders, keys, progress)
        self.rivals = Rivals(
            world=self._world,
            venue=ReferenceVenue(PROGRAM_ID),
            markets=self.addresses.markets,
            keys=rivals,
            rng=SystemRng(config.seed + 1),
        )
        if config.liquidator is not None:
            self._world.airdrop(config.liquidator, _LIQUIDATOR_LAMPORTS)
        # Until all of it is final: a client may ask at any commitment.
        for _ in range(self._world.config.finalize_blocks + 1):
            self._world.tick()
            self._publish({one.symbol: Quote.of(one.start_price_e8) for one in self.specs})

    def _open(
        self, orders: Sequence[Order], keys: Mapping[int, Keypair], progress: Progress
    ) -> None:
        opened = 0
        for level in ENTRY_LEVELS_PPM:
            past = {one.symbol: one.start_price_e8 * level // PPM for one in self.specs}
            self._publish({symbol: Quote.of(price) for symbol, price in past.items()})
            for batch in batches([order for order in orders if order.level_ppm == level]):
                calls = [opening(one, keys[one.trader], self.addresses) for one in batch]
                owners = dict.fromkeys(keys[one.trader] for one in batch)
                send(self._world, calls, *owners)
                opened += len(batch)
                progress(opened)
            self._world.tick()

    def _new_path(self) -> PricePath:
        if self._rows:
            return ReplayPath(self._rows, self.config.slot_ms)
        starts = [
            Start(
                symbol=one.symbol,
                price_e8=one.start_price_e8,
                volatility_ppm=one.volatility_ppm,
            )
            for one in self.specs
        ]
        kind = CalmPath if self.config.path == CALM else CrashPath
        return kind(starts, SystemRng(self.config.seed + 2))

    def _on_update(self, update: BankUpdate | SlotUpdate) -> None:
        if isinstance(update, SlotUpdate):
            self._publish(self._moved(update.slot))
            self.rivals.act(self.quotes)

    def _moved(self, slot: int) -> Mapping[str, Quote]:
        """Return the quotes of a slot; a slot without a block moves them too, as time goes on."""
        passed, self._slot = slot - self._slot, slot
        waited = slot - self._ready_slot > self.config.start_delay_slots
        self._started = self._started or waited or self._world.has_audience
        if not self._started or self._held:
            return self.quotes
        quotes = dict(self.quotes)
        for _ in range(passed):
            quotes.update(self._path.step())
        return quotes

    def _publish(self, quotes: Mapping[str, Quote]) -> None:
        self.quotes = quotes
        for symbol, quote in quotes.items():
            self._publishers[symbol].publish(quote)


def _markets(config: ScenarioConfig) -> tuple[Sequence[MarketSpec], Sequence[Row]]:
    """Return the markets and the rows of the price file, whose first prices are the start."""
    specs: Sequence[MarketSpec] = CATALOGUE[: config.markets]
    if config.path in {CALM, CRASH}:
        return specs, ()
    rows = read_rows(Path(config.path), [one.symbol for one in specs])
    first: dict[str, int] = {}
    for row in sorted(rows, key=lambda row: row.offset_ms):
        first.setdefault(row.symbol, row.quote.price_e8)
    for symbol, price_e8 in first.items():
        if price_e8 < _START_PRICE_E8_MIN:
            raise SettingsError(f"price file {config.path}: {symbol} starts below 0.001")
    specs = [
        replace(one, start_price_e8=first.get(one.symbol, one.start_price_e8)) for one in specs
    ]
    return specs, rows


def _world_config(config: ScenarioConfig) -> WorldConfig:
    """Return a chain whose time, after the slots of the set-up, is `start_unix_s`."""
    base = WorldConfig(
        start_unix_s=0, slot_ms=config.slot_ms, seed=f"liqctl localnet {config.seed}"
    )
    set_up_slots = len(ENTRY_LEVELS_PPM) + base.finalize_blocks + 1
    return replace(base, start_unix_s=config.start_unix_s - set_up_slots * config.slot_ms // 1000)
