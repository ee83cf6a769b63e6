"""What one node of the simulated cluster knows: the answers' functions of localnet read it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from liqctl.localnet.account import AccountState
from liqctl.localnet.history import Landed
from liqctl.localnet.ledger import BLOCKHASH_AGE_MAX, PREFLIGHT_AGE_MAX, Block, Commitment
from liqctl.localnet.vm import Execution
from liqctl.localnet.world import Dropped, Listener
from liqctl.sim.cluster import Cluster
from liqctl.sim.tree import ForkBlock

_FORWARDING_BLOCKS = BLOCKHASH_AGE_MAX - PREFLIGHT_AGE_MAX
_STATUS_CACHE_BLOCKS = 300
_HEALTHY_SLOTS = 128


@dataclass(slots=True, kw_only=True)
class Standing:
    """Where a node stands.

    `root` is the root of the supermajority as far as the node has heard, `own_root` that of its
    own fork. `cache_from` is the index of the first block in the status cache, `history_blocks`
    how many blocks below the root the ledger on disk reaches, None for all.
    """

    processed: ForkBlock
    confirmed: ForkBlock
    root: ForkBlock
    own_root: ForkBlock | None = None
    cache_from: int = 0
    history_blocks: int | None = None
    index_lag_blocks: int = 0


class NodeLedger:
    """The blocks on the node's own fork."""

    def __init__(self, standing: Standing, genesis: ForkBlock) -> None:
        self._standing = standing
        self._genesis = genesis
        self.chosen = genesis

    @property
    def first_block(self) -> ForkBlock:
        """The oldest block whose transactions are on disk."""
        blocks = self._standing.history_blocks
        return self._genesis if blocks is None else self._standing.root.back(blocks)

    def bank(self, commitment: Commitment) -> ForkBlock:
        """Return the block that answers, and remember that the request chose it.

        When the bank of the supermajority's root is gone, the node's own root answers.
        """
        standing = self._standing
        match commitment:
            case Commitment.PROCESSED:
                self.chosen = standing.processed
            case Commitment.CONFIRMED:
                self.chosen = standing.confirmed
            case Commitment.FINALIZED:
                self.chosen = standing.own_root or standing.root
        return self.chosen

    def level_of(self, slot: int) -> Commitment:
        """Return how sure the block of a slot is to the node."""
        if slot <= self._standing.root.slot:
            return Commitment.FINALIZED
        if slot <= self._standing.confirmed.slot:
            return Commitment.CONFIRMED
        return Commitment.PROCESSED

    def block_at(self, slot: int) -> ForkBlock | None:
        """Return the block of a slot on the node's fork."""
        for block in self._line():
            if block.slot <= slot:
                return block if block.slot == slot else None
        return None

    def height_of(self, slot: int) -> int | None:
        """Return the height of the block of a slot on the node's fork."""
        block = self.block_at(slot)
        return None if block is None else block.height

    def newest(self, count: int) -> list[ForkBlock]:
        """Return up to `count` newest blocks of the node's fork, the newest first."""
        return list(islice(self._line(), count))

    def _line(self) -> Iterator[ForkBlock]:
        block: ForkBlock | None = self._standing.processed
        while block is not None:
            yield block
            block = block.parent


class NodeHistory:
    """The transactions that the node can tell about."""

    def __init__(self, standing: Standing, ledger: NodeLedger, cluster: Cluster) -> None:
        self._standing = standing
        self._ledger = ledger
        self._tree = cluster.tree

    @property
    def total(self) -> int:
        """How many landed, on whatever fork."""
        return self._tree.transactions

    def find(self, signature: Signature) -> Landed | None:
        """Return a transaction on the line of the chosen block, as far as the disk reaches."""
        place = self._tree.find(signature, self._ledger.chosen)
        return None if place is None or not self._on_disk(place[0]) else place[1]

    def cached(self, signature: Signature, bank: ForkBlock) -> tuple[ForkBlock, Landed] | None:
        """Return what the status cache of a bank holds: its own line, some 300 blocks back."""
        place = self._tree.find(signature, bank)
        if place is None or place[0].index < self._standing.cache_from:
            return None
        return place if bank.height - place[0].height <= _STATUS_CACHE_BLOCKS else None

    def rooted(self, signature: Signature) -> Landed | None:
        """Return what is on disk up to the root of the supermajority."""
        place = self._tree.find(signature, self._standing.root)
        return None if place is None or not self._on_disk(place[0]) else place[1]

    def in_slot(self, slot: int) -> Sequence[Landed]:
        """Return the transactions of a slot of the node's fork, in order."""
        return self._tree.in_slot(slot, self._standing.processed)

    def of_address(self, address: Pubkey) -> Iterator[Landed]:
        """Yield what the address index says up to the chosen block, the newest first."""
        newest = self._ledger.chosen.height - self._standing.index_lag_blocks
        for block, landed in self._tree.mentions(address, self._ledger.chosen):
            if block.height <= newest and self._on_disk(block):
                yield landed

    def _on_disk(self, block: ForkBlock) -> bool:
        return block.slot >= self._ledger.first_block.slot


@dataclass(frozen=True, slots=True)
class _Epochs:
    slots_per_epoch: int = 432_000


class NodeView:
    """A node's knowledge in the form that answers and subscriptions read."""

    def __init__(
        self, cluster: Cluster, standing: Standing, submit: Callable[[VersionedTransaction], None]
    ) -> None:
        """`submit` takes the transactions of sendTransaction."""
        self.config = _Epochs()
        self.genesis_hash = cluster.tree.genesis.blockhash
        self.ledger = NodeLedger(standing, cluster.tree.genesis)
        self.history = NodeHistory(standing, self.ledger, cluster)
        self.slots_behind = 0
        self.listeners: list[Listener] = []
        self._cluster = cluster
        self._standing = standing
        self._submit = submit

    @property
    def slot(self) -> int:
        """The slot of the processed block."""
        return self._standing.processed.slot

    def heard_of(self, slot: int) -> None:
        """Compare with a slot that the cluster has confirmed; far behind means unhealthy."""
        behind = slot - self._standing.confirmed.slot
        self.slots_behind = behind if behind > _HEALTHY_SLOTS else 0

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call the listener at every change from now on; returns what ends that."""
        self.listeners.append(listener)
        return lambda: self.listeners.remove(listener)

    def account(self, key: Pubkey) -> AccountState | None:
        """Return an account as the chosen block has it."""
        return self._cluster.account(key, self.ledger.chosen)

    def account_at(self, key: Pubkey, block: Block) -> AccountState | None:
        """Return an account as it was after a block."""
        return self._cluster.account(key, _forked(block))

    def accounts_at(self, owner: Pubkey, block: Block) -> Iterator[tuple[Pubkey, AccountState]]:
        """Yield the accounts a program owned after a block."""
        return self._cluster.tree.owned_by(owner, _forked(block))

    def minimum_balance(self, length: int) -> int:
        """Return the lamports that exempt an account of `length` bytes from rent."""
        return self._cluster.machine.minimum_balance(length)

    def is_blockhash_valid(self, blockhash: Hash, bank: Block) -> bool:
        """Return whether a block knows the hash and it is young enough."""
        block = _forked(bank)
        age = self._cluster.tree.age(blockhash, block)
        return age is not None and age <= block.window_blocks

    def unfit(self, blockhash: Hash, signature: Signature, bank: Block) -> str | None:
        """Return why a simulation on a block refuses by age or repetition; age comes first."""
        block = _forked(bank)
        age = self._cluster.tree.age(blockhash, block)
        if age is None or age > block.window_blocks - _FORWARDING_BLOCKS:
            return "BlockhashNotFound"
        return None if self.history.cached(signature, block) is None else "AlreadyProcessed"

    def simulate(self, transaction: VersionedTransaction) -> Execution:
        """Run a transaction on the chosen block without keeping anything."""
        return self._cluster.simulate(transaction, self.ledger.chosen)

    def submit(self, transaction: VersionedTransaction, *, verified: bool = False) -> None:  # noqa: ARG002 - leaders look themselves
        """Forward a transaction; nobody knows yet what becomes of it."""
        self._submit(transaction)

    def airdrop(self, _key: Pubkey, _lamports: int, /) -> Dropped:
        """Refuse: this cluster has no faucet."""
        return Dropped(failure="AccountNotFound")


def _forked(block: Block) -> ForkBlock:
    if not isinstance(block, ForkBlock):
        raise TypeError("a block of another chain")
    return block
