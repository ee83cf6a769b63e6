"""The truth of a simulation: the tree of blocks, who wins its forks, and what lands where."""

import struct
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from liqctl.localnet.account import AccountState
from liqctl.localnet.history import Landed
from liqctl.localnet.vm import Execution
from liqctl.localnet.world import Dropped
from liqctl.sim.landing import Runner
from liqctl.sim.planted import Genesis
from liqctl.sim.swarm import Dice
from liqctl.sim.tree import ForkBlock, Tree

CLOCK_KEY = Pubkey.from_string("SysvarC1ock11111111111111111111111111111111")
"""Where every block keeps its slot and its time."""

_SYSVARS = Pubkey.from_string("Sysvar1111111111111111111111111111111111111")
_CLOCK = struct.Struct("<QqQQq")
_CLOCK_LAMPORTS = 1_169_280
_LAST_BLOCK_SHARE = 0.3
_TREE_SEED = bytes(range(32))


@dataclass(slots=True, kw_only=True)
class ClusterConfig:
    """How the chain behaves and misbehaves; the rates may be changed at any time.

    `skipped` and `fork` are per slot, `unconfirmed` is the share of forks that roll back what was
    confirmed, the others are shares of the transactions. Forks are at most `fork_depth_max`
    blocks deep and never reach `finalize_blocks`: what is finalized stays.
    """

    window_blocks: int = 150
    confirm_blocks: int = 1
    finalize_blocks: int = 32
    landing_blocks_max: int = 3
    skipped: float = 0.0
    dropped: float = 0.0
    late: float = 0.0
    fork: float = 0.0
    fork_depth_max: int = 31
    lands_again: float = 0.0
    unconfirmed: float = 0.0

    def calm(self) -> None:
        """End all faults; slots are skipped as before, which is no fault."""
        self.dropped = self.late = self.fork = self.unconfirmed = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What the cluster had agreed on when a slot ended."""

    slot: int
    tip: ForkBlock
    confirmed: ForkBlock
    root: ForkBlock


@dataclass(slots=True)
class _Contest:
    """Blocks on the way to be abandoned: `left` more of them, then the chain goes on at `base`."""

    base: ForkBlock
    left: int
    confirms: bool


@dataclass(slots=True)
class _Pending:
    """A transaction that leaders hold; it lands in the first block of at least this height."""

    transaction: VersionedTransaction
    due_height: int


class Cluster:
    """One chain that moves when `step` is called."""

    def __init__(self, rng: Dice, genesis: Genesis, config: ClusterConfig) -> None:
        """Begin with the genesis block, which is final."""
        self.rng = rng
        self.config = config
        self.genesis = genesis
        self.machine = genesis.machine
        self.tree = Tree(
            slot=genesis.slot,
            unix_ms=genesis.unix_ms,
            window_blocks=config.window_blocks,
            seed=_TREE_SEED,
        )
        self.runner = Runner(self.tree, self.machine)
        first = self.tree.genesis
        for key, state in genesis.accounts.items():
            self.tree.put(first, key, state)
        self.now_ms = genesis.unix_ms
        self.slot = first.slot
        self.tip = self.confirmed = self.root = first
        self.frames: list[Frame] = []
        self._note_frame()
        self.writers: list[Callable[[ForkBlock], None]] = []
        self.watchers: list[Callable[[], None]] = []
        self.faults: Counter[str] = Counter()
        self.on_fault: Callable[[str], None] = lambda _: None
        self.strangers: tuple[Pubkey, ...] = ()
        self.landed_final: dict[str, Landed] = {}
        self.rolled_back: Counter[str] = Counter()
        self._pending: dict[Signature, _Pending] = {}
        self._not_before: dict[Signature, int] = {}
        self._contest: _Contest | None = None

    def step(self, now_ms: int) -> None:
        """Make the next slot at this cluster time: a block, or none.

        In a block `writers` act first, then the waiting transactions land. At the end `watchers`
        are told.
        """
        self.now_ms = now_ms
        self.slot += 1
        if self.rng.chance(self.config.skipped):
            self.fault("skipped_slot")
        else:
            self._make_block()
            self._advance()
        self._note_frame()
        for watcher in self.watchers:
            watcher()

    def fault(self, kind: str) -> None:
        """Count a fault and tell whoever counts with us."""
        self.faults[kind] += 1
        self.on_fault(kind)

    def submit(self, transaction: VersionedTransaction) -> None:
        """Give a transaction to the leaders: it lands now or later, on whatever fork, or never.

        Whether it is slow is drawn once, whether it is lost each time it is sent.
        """
        signature = transaction.signatures[0]
        last = self.tree.last_height(transaction.message.recent_blockhash)
        if last is None or not all(transaction.verify_with_results()):
            return
        earliest = self._not_before.get(signature)
        if earliest is None:
            earliest = self._not_before[signature] = self._first_height(last)
        if self.rng.chance(self.config.dropped):
            self.fault("dropped")
            return
        due = max(earliest, self.tip.height + 1)
        waiting = self._pending.get(signature)
        if waiting is None:
            self._pending[signature] = _Pending(transaction, due)

    def land(self, transaction: VersionedTransaction, block: ForkBlock) -> Landed | Dropped:
        """Put a transaction into a block at once, as its leader's own."""
        return self.runner.land(transaction, block)

    def simulate(self, transaction: VersionedTransaction, block: ForkBlock) -> Execution:
        """Return what a transaction would do right after a block."""
        return self.runner.simulate(transaction, block)

    def account(self, key: Pubkey, block: ForkBlock | None = None) -> AccountState | None:
        """Return an account as a block has it, the tip unless told otherwise."""
        return self.tree.account(key, block or self.tip)

    def aside(self, parent: ForkBlock, transactions: Iterable[VersionedTransaction]) -> ForkBlock:
        """Return a block of this slot that the cluster never adopts, with what fits of these."""
        block = self._new_block(parent)
        for transaction in transactions:
            if isinstance(self.runner.land(transaction, block), Landed):
                self.fault("landed_aside")
        return block

    def _first_height(self, last: int) -> int:
        """Draw the first block that a new transaction can reach."""
        soon = self.tip.height + self.rng.whole(1, self.config.landing_blocks_max)
        if not self.rng.chance(self.config.late):
            return soon
        self.fault("late")
        if self.rng.chance(_LAST_BLOCK_SHARE):
            return last
        return max(soon, self.rng.whole(min(soon, last), last))

    def _make_block(self) -> None:
        self.tip = block = self._new_block(self._parent())
        for writer in self.writers:
            writer(block)
        for signature, waiting in list(self._pending.items()):
            if waiting.due_height <= block.height:
                del self._pending[signature]
                self.runner.land(waiting.transaction, block)

    def _new_block(self, parent: ForkBlock) -> ForkBlock:
        """Return the block of this slot on a parent; the clock is the first thing written."""
        block = self.tree.extend(parent, slot=self.slot, unix_ms=self.now_ms)
        body = _CLOCK.pack(block.slot, 0, 0, 1, block.unix_ms // 1000)
        clock = AccountState(lamports=_CLOCK_LAMPORTS, data=body, owner=_SYSVARS)
        self.tree.put(block, CLOCK_KEY, clock)
        return block

    def _parent(self) -> ForkBlock:
        """Return what the next block builds on; forks begin and end here."""
        contest = self._contest
        if contest is not None and contest.left == 0:
            self._contest = None
            self._abandon(contest.base)
            return contest.base
        if contest is not None:
            contest.left -= 1
        elif self.rng.chance(self.config.fork):
            self._contest = _Contest(self.tip, self._depth() - 1, self._may_confirm())
        return self.tip

    def _depth(self) -> int:
        """Draw how many blocks a fork loses; the deeper the rarer."""
        most = min(self.config.fork_depth_max, self.config.finalize_blocks - 1)
        return max(1, int(most ** (self.rng.random() ** 2)))

    def _may_confirm(self) -> bool:
        return self.rng.chance(self.config.unconfirmed)

    def _abandon(self, base: ForkBlock) -> None:
        self.fault("fork")
        for block in self.tip.since(base):
            self.fault("rolled_back_block")
            for landed in block.landed:
                self.rolled_back[str(landed.signature)] += 1
                self.fault("rolled_back")
                if self.rng.chance(self.config.lands_again):
                    self.fault("lands_again")
                    self._requeue(landed.transaction, base)

    def _requeue(self, transaction: VersionedTransaction, base: ForkBlock) -> None:
        last = self.tree.last_height(transaction.message.recent_blockhash)
        if last is None or last <= base.height:
            return
        due = base.height + self.rng.whole(1, self.config.landing_blocks_max)
        if self.rng.chance(_LAST_BLOCK_SHARE):
            due = self.rng.whole(base.height + 1, last)
        self._pending[transaction.signatures[0]] = _Pending(transaction, min(due, last))

    def _advance(self) -> None:
        """Move the confirmed block and the root; the root has survived every possible fork."""
        confirmed = self.tip.back(self.config.confirm_blocks)
        contest = self._contest
        if contest is not None and not contest.confirms and not contest.base.has(confirmed):
            confirmed = contest.base
        if confirmed.slot > self.confirmed.slot:
            if not confirmed.has(self.confirmed):
                self.fault("confirmed_rolled_back")
            self.confirmed = confirmed
        root = self.tip.back(self.config.finalize_blocks)
        if root.slot > self.root.slot:
            for block in root.since(self.root):
                for landed in block.landed:
                    self.landed_final[str(landed.signature)] = landed
            self.root = root

    def _note_frame(self) -> None:
        self.frames.append(
            Frame(
                slot=self.slot,
                tip=self.tip,
                confirmed=self.confirmed,
                root=self.root,
            )
        )
