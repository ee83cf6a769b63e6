"""What the answers are computed from: one node's view of a chain."""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from liqctl.localnet.account import AccountState
from liqctl.localnet.history import Landed
from liqctl.localnet.ledger import Block, Commitment
from liqctl.localnet.vm import Execution
from liqctl.localnet.world import Dropped, Listener


class EpochLength(Protocol):
    """How long epochs are."""

    @property
    def slots_per_epoch(self) -> int:
        """Slots in one epoch."""
        ...


class LedgerView(Protocol):
    """The blocks as the node knows them."""

    @property
    def first_block(self) -> Block:
        """The oldest block whose transactions the node can still show."""
        ...

    def bank(self, commitment: Commitment) -> Block:
        """Return the newest block of a commitment level."""
        ...

    def level_of(self, slot: int) -> Commitment:
        """Return how sure the block of a slot is."""
        ...

    def block_at(self, slot: int) -> Block | None:
        """Return the block of a slot, None when the node has none."""
        ...

    def height_of(self, slot: int) -> int | None:
        """Return the height of the block of a slot, None when the node has none."""
        ...

    def newest(self, count: int) -> Sequence[Block]:
        """Return up to `count` newest blocks, the newest first."""
        ...


class HistoryView(Protocol):
    """The transactions as the node knows them."""

    @property
    def total(self) -> int:
        """How many landed since genesis."""
        ...

    def find(self, signature: Signature) -> Landed | None:
        """Return the transaction with this signature."""
        ...

    def in_slot(self, slot: int) -> Sequence[Landed]:
        """Return the transactions of a slot in order."""
        ...

    def of_address(self, address: Pubkey) -> Iterator[Landed]:
        """Yield the transactions that name an address, the newest first."""
        ...


class View(Protocol):
    """Everything that an answer may depend on, and the two ways to change the chain.

    A request names at most one bank, with `ledger.bank`; a view may read `account`, `simulate`
    and `history.find` as questions about that bank.
    """

    genesis_hash: Hash
    slots_behind: int

    @property
    def config(self) -> EpochLength:
        """How long epochs are."""
        ...

    @property
    def ledger(self) -> LedgerView:
        """The blocks."""
        ...

    @property
    def history(self) -> HistoryView:
        """The transactions that landed."""
        ...

    @property
    def slot(self) -> int:
        """The newest slot."""
        ...

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call the listener at every change from now on; returns what ends that."""
        ...

    def account(self, key: Pubkey) -> AccountState | None:
        """Return an account as a simulation would find it."""
        ...

    def account_at(self, key: Pubkey, block: Block) -> AccountState | None:
        """Return an account as it was after a block."""
        ...

    def accounts_at(self, owner: Pubkey, block: Block) -> Iterator[tuple[Pubkey, AccountState]]:
        """Yield the accounts a program owned after a block."""
        ...

    def minimum_balance(self, length: int) -> int:
        """Return the lamports that exempt an account of `length` bytes from rent."""
        ...

    def is_blockhash_valid(self, blockhash: Hash, bank: Block) -> bool:
        """Return whether a block knows the hash and it is young enough."""
        ...

    def unfit(self, blockhash: Hash, signature: Signature, bank: Block) -> str | None:
        """Return why a simulation on a block refuses by age or repetition; age comes first."""
        ...

    def simulate(self, transaction: VersionedTransaction) -> Execution:
        """Run a transaction without keeping anything."""
        ...

    def submit(
        self, transaction: VersionedTransaction, *, verified: bool = False
    ) -> Landed | Dropped | None:
        """Give a transaction to the cluster; None when its fate is not known yet."""
        ...

    def airdrop(self, key: Pubkey, lamports: int, /) -> Landed | Dropped:
        """Send lamports from the faucet."""
        ...
