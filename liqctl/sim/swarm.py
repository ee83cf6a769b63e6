"""What one seed is made of: which faults are on and how often, drawn so that runs differ in kind."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from liqctl.ports import SystemRng

T = TypeVar("T")
SLOT_MS = 400
FINAL_BLOCKS = 32
STRAY_BLOCKS = 160
# What a position waits for at most before it is tried again: lease, quarantine, breaker.
PAUSES_S = 45.0
MARGIN_S = 15.0
WINDOWS = (20, 20, 20, 60, 60, 150)
# Where an attempt expires sooner than on the real chain, it is final sooner as well.
FINAL_BLOCKS_OF = {20: 12}
PUBLISH_BLOCKS = (1, 2, 4, 8)
PACES = ("slow", "brisk", "brisk", "restless")
CHAOS_S = (32, 52)
# So that an attempt of the longest window can expire before the faults end.
LONGER_S = 40.0


class Dice(SystemRng):
    """Chance of one component of one seed, with the draws that scenarios need."""

    def chance(self, rate: float) -> bool:
        """Return True in this share of the calls."""
        return self.random() < rate

    def between(self, low: float, high: float) -> float:
        """Return a float in [low, high)."""
        return low + (high - low) * self.random()

    def whole(self, low: int, high: int) -> int:
        """Return an integer in low..high."""
        return low + int(self.random() * (high - low + 1))

    def pick(self, choices: Sequence[T]) -> T:
        """Return one of the choices."""
        return choices[int(self.random() * len(choices))]

    def some(self, choices: Sequence[T], share: float) -> tuple[T, ...]:
        """Return each of the choices with this probability, in their order."""
        return tuple(each for each in choices if self.chance(share))


def rng_for(seed: int, name: str) -> Dice:
    """Return the chance of one component; a draw more in one shifts no other."""
    digest = hashlib.sha256(f"liqctl sim {seed} {name}".encode()).digest()
    return Dice(int.from_bytes(digest[:8], "little"))


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFaults:
    """What happens to transactions and blocks; rates are per transaction or per slot."""

    skipped_slot: float = 0.0
    dropped: float = 0.0
    late: float = 0.0
    fork: float = 0.0
    fork_depth_max: int = 1
    lands_again: float = 0.0
    unconfirmed: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFaults:
    """What an RPC endpoint does to its callers; rates are per call unless they name seconds."""

    refused_429: float = 0.0
    reset: float = 0.0
    answer_lost: float = 0.0
    outage: float = 0.0
    outage_s_max: float = 60.0
    lag_blocks: tuple[int, ...] = (0,)
    minority: float = 0.0
    own_root: float = 0.5
    stray_windows: int = 5
    amnesia: float = 0.0
    pruned: bool = False
    pruned_blocks: int = 40
    no_history: bool = False
    root_lag_blocks: int = 0
    index_lag_blocks: int = 0
    lie: float = 0.0
    lies_about: tuple[str, ...] = ()
    unfiltered: float = 0.0
    push: float = 0.0
    delay_ms_max: float = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketFaults:
    """What publishers, traders and rivals do; a price is published every `publish_blocks`."""

    path: str = "crash"
    pace: str = "slow"
    publish_blocks: int = 1
    prices: tuple[str, ...] = ()
    accounts: tuple[str, ...] = ()
    rivals: int = 0
    traders: float = 0.0
    visits: float = 0.0
    pauses: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnFaults:
    """What happens to the keepers themselves; `kill` is per store call, the others per minute."""

    kill: float = 0.0
    kill_at_await: float = 0.0
    kill_at_send: float = 0.0
    terminate: float = 0.0
    freeze: float = 0.0
    switch: float = 0.0
    clock: float = 0.0
    link: float = 0.0
    store: float = 0.0
    commit_unknown: float = 0.0
    store_outage: float = 0.0
    exclude: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Swarm:
    """The configuration of one seed; times in virtual seconds."""

    seed: int
    keepers: int
    separate_store: bool
    dry_keeper: bool
    endpoints: int
    positions: int
    window_blocks: int
    finalize_blocks: int = FINAL_BLOCKS
    chaos_s: float
    check_interval_ms: int
    settle_ms: int
    hour_lamports: int
    cluster: ClusterFaults = field(default_factory=ClusterFaults)
    node: NodeFaults = field(default_factory=NodeFaults)
    market: MarketFaults = field(default_factory=MarketFaults)
    own: OwnFaults = field(default_factory=OwnFaults)
    balance_lamports_min: int = 50_000_000
    profit_floor_permille: int = 0
    in_flight_max: int = 4
    snapshots_hot: bool = False

    @property
    def window_s(self) -> float:
        """How long it takes at most until an attempt can be proven expired."""
        blocks = self.window_blocks + self.finalize_blocks + 3
        return blocks * SLOT_MS / 1_000 / (1.0 - self.cluster.skipped_slot)

    @property
    def live_within_s(self) -> float:
        """Within what time after the faults what is liquidatable must be attempted."""
        return 3 * self.check_interval_ms / 1_000 + self.window_s + PAUSES_S

    @property
    def terminal_within_s(self) -> float:
        """Within what time after the faults an attempt must have ended."""
        return 2 * self.window_s + PAUSES_S

    @property
    def behind_s(self) -> float:
        """How old at most a node's newest confirmed block is, on its own fork or lagging."""
        strayed = STRAY_BLOCKS + self.finalize_blocks if self.node.minority else 0
        blocks = max(*self.node.lag_blocks, strayed, 0)
        return blocks * SLOT_MS / 1_000 / (1.0 - self.cluster.skipped_slot)

    @property
    def end_s(self) -> float:
        """When the seed is judged."""
        return self.chaos_s + max(self.live_within_s, self.terminal_within_s) + MARGIN_S

    @classmethod
    def of(cls, seed: int) -> "Swarm":
        """Return the configuration of a seed."""
        dice = rng_for(seed, "swarm")
        window = dice.pick(WINDOWS)
        keepers = dice.pick((1, 1, 2, 2, 3))
        usual = cls(
            seed=seed,
            keepers=keepers,
            separate_store=keepers > 1 and dice.chance(0.25),
            dry_keeper=dice.chance(0.1),
            endpoints=dice.pick((2, 3)),
            positions=dice.whole(4, 16),
            window_blocks=window,
            finalize_blocks=FINAL_BLOCKS_OF.get(window, FINAL_BLOCKS),
            chaos_s=dice.whole(*CHAOS_S) + (LONGER_S if window == max(WINDOWS) else 0.0),
            check_interval_ms=dice.pick((2_000, 2_000, 3_000, 5_000)),
            settle_ms=dice.pick((500, 1_000, 2_000)),
            hour_lamports=dice.pick((50_000_000, 50_000_000, 50_000_000, 10_000_000)),
            cluster=_cluster(dice),
            node=_node(dice),
            market=_paced(_market(dice), rng_for(seed, "pace")),
            own=_own(dice),
            snapshots_hot=dice.chance(0.85),
        )
        return _with_rare_faults(usual, rng_for(seed, "rare"))


def _paced(market: MarketFaults, dice: Dice) -> MarketFaults:
    """Return the market with the speed of its prices and of those who publish them."""
    return replace(market, publish_blocks=dice.pick(PUBLISH_BLOCKS), pace=dice.pick(PACES))


def _with_rare_faults(usual: Swarm, dice: Dice) -> Swarm:
    """Return a configuration with more of what seldom meets an attempt by itself."""
    node, market, own = usual.node, usual.market, usual.own
    if dice.chance(0.2):
        methods = tuple(dice.pick(LIED_ABOUT) for _ in range(2))
        node = replace(node, lie=dice.pick((0.1, 0.4)), lies_about=methods)
    if dice.chance(0.15):
        market = replace(market, prices=(*market.prices, "aged"))
    if dice.chance(0.2):
        accounts = dict.fromkeys((*market.accounts, "shrunk"))
        market = replace(market, accounts=tuple(accounts), rivals=2)
    if dice.chance(0.05):
        market = replace(market, accounts=(*market.accounts, "handed_over"))
    if dice.chance(0.2):
        own = replace(own, exclude=dice.pick((0.5, 2.0)))
    return replace(usual, node=node, market=market, own=own)


def _cluster(dice: Dice) -> ClusterFaults:
    return ClusterFaults(
        skipped_slot=dice.pick((0.0, 0.05, 0.3)),
        dropped=dice.pick((0.0, 0.1, 0.35, 0.9)),
        late=dice.pick((0.0, 0.15, 0.5)),
        fork=dice.pick((0.0, 0.01, 0.08, 0.2, 0.3)),
        fork_depth_max=dice.pick((1, 4, 8, 31)),
        lands_again=dice.pick((0.0, 0.5, 1.0)),
        unconfirmed=dice.pick((0.0, 0.2, 0.5)),
    )


def _node(dice: Dice) -> NodeFaults:
    return NodeFaults(
        refused_429=dice.pick((0.0, 0.03, 0.1, 0.3)),
        reset=dice.pick((0.0, 0.02, 0.1)),
        answer_lost=dice.pick((0.0, 0.06, 0.3)),
        outage=dice.pick((0.0, 0.0, 0.005, 0.02)),
        outage_s_max=dice.pick((10.0, 60.0, 300.0)),
        lag_blocks=dice.pick(((0,), (0, 2), (0, 2, 10), (0, 10, 40), (0, 40, 200))),
        minority=dice.pick((0.0, 0.01, 0.05)),
        amnesia=dice.pick((0.0, 0.005, 0.02)),
        pruned=dice.chance(0.2),
        no_history=dice.chance(0.15),
        root_lag_blocks=dice.pick((0, 0, 1, 3)),
        index_lag_blocks=dice.pick((0, 0, 1, 3)),
        lie=dice.pick((0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.005, 0.02)),
        push=dice.pick((0.0, 0.02, 0.1)),
    )


LIED_ABOUT = (
    "sendTransaction",
    "sendTransaction",
    "getSignatureStatuses",
    "getSignatureStatuses",
    "getLatestBlockhash",
    "getMultipleAccounts",
    "getProgramAccounts",
)
PRICE_FAULTS = (
    "stale",
    "future",
    "wide",
    "negative",
    "exponent_flip",
    "jump",
    "wrong_owner",
    "partial_verification",
)
ACCOUNT_FAULTS = ("truncated", "other_owner", "other_discriminator", "closed", "reopened", "shrunk")


def _market(dice: Dice) -> MarketFaults:
    return MarketFaults(
        path=dice.pick(("calm", "moves", "moves", "crash", "crash", "crash", "crash", "crash")),
        prices=dice.some(PRICE_FAULTS, 0.2),
        accounts=dice.some(ACCOUNT_FAULTS, 0.2),
        rivals=dice.pick((0, 0, 0, 1)),
        traders=dice.pick((0.0, 0.02, 0.1, 0.3)),
        pauses=dice.pick((0.0, 0.0, 0.0, 0.005)),
    )


def _own(dice: Dice) -> OwnFaults:
    return OwnFaults(
        kill=dice.pick((0.0, 0.002, 0.008, 0.03)),
        kill_at_await=dice.pick((0.0, 2.0, 8.0)),
        kill_at_send=dice.pick((0.0, 0.2, 0.5)),
        terminate=dice.pick((0.0, 0.0, 1.0, 2.0)),
        freeze=dice.pick((0.0, 0.0, 0.6, 1.2)),
        switch=dice.pick((0.0, 0.0, 0.8, 1.5)),
        clock=dice.pick((0.0, 0.0, 1.0, 2.0)),
        link=dice.pick((0.0, 0.5, 2.0)),
        store=dice.pick((0.0, 0.005, 0.02)),
        commit_unknown=dice.pick((0.0, 0.0, 0.005)),
        store_outage=dice.pick((0.0, 0.0, 0.8, 1.5)),
    )
