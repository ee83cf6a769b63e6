"""Blocks as a tree: what each fork knows of accounts, transactions and blockhashes."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from solders.hash import Hash
from solders.pubkey import Pubkey
from solders.signature import Signature

from liqctl.localnet.account import AccountState
from liqctl.localnet.history import Landed
from liqctl.localnet.ledger import Block, next_hash


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ForkBlock(Block):
    """A block of a tree; `path` has one bit for each block on its way from genesis, itself included."""

    index: int
    path: int
    window_blocks: int
    parent: "ForkBlock | None"
    written: dict[Pubkey, AccountState | None] = field(default_factory=dict)
    landed: list[Landed] = field(default_factory=list)

    @property
    def last_valid_block_height(self) -> int:
        """The block height up to which a transaction with this blockhash counts as alive."""
        return self.height + self.window_blocks

    def has(self, other: "ForkBlock") -> bool:
        """Return whether a block is this one or an ancestor of it."""
        return bool((self.path >> other.index) & 1)

    def back(self, blocks: int) -> "ForkBlock":
        """Return the ancestor so many blocks back, genesis at the most."""
        block = self
        for _ in range(blocks):
            if block.parent is None:
                break
            block = block.parent
        return block

    def since(self, base: "ForkBlock") -> list["ForkBlock"]:
        """Return the blocks after an ancestor up to this one, the oldest first."""
        found: list[ForkBlock] = []
        block: ForkBlock | None = self
        while block is not None and block is not base and block.height > base.height:
            found.append(block)
            block = block.parent
        found.reverse()
        return found


@dataclass(slots=True)
class _Versions:
    """Every content an account ever had, on all forks, in the order of slots."""

    slots: list[int] = field(default_factory=list)
    blocks: list[ForkBlock] = field(default_factory=list)
    states: list[AccountState | None] = field(default_factory=list)

    def at(self, block: ForkBlock) -> AccountState | None:
        """Return the newest content that a block knows."""
        for place in range(bisect_right(self.slots, block.slot) - 1, -1, -1):
            if block.has(self.blocks[place]):
                return self.states[place]
        return None


class Tree:
    """All blocks ever made. Only blocks that nothing builds on yet may be written to."""

    def __init__(self, *, slot: int, unix_ms: int, window_blocks: int, seed: bytes) -> None:
        """Begin with one block, whose height is its slot."""
        self.genesis = ForkBlock(
            slot=slot,
            parent_slot=slot - 1,
            height=slot,
            blockhash=next_hash(Hash.from_bytes(seed), slot),
            unix_ms=unix_ms,
            index=0,
            path=1,
            window_blocks=window_blocks,
            parent=None,
        )
        self.transactions = 0
        self._size = 1
        self._versions: dict[Pubkey, _Versions] = {}
        self._owned: dict[Pubkey, dict[Pubkey, None]] = {}
        self._of_hash = {self.genesis.blockhash: self.genesis}
        self._filled: dict[int, list[ForkBlock]] = {}
        self._landings: dict[Signature, list[tuple[ForkBlock, Landed]]] = {}
        self._mentions: dict[Pubkey, list[tuple[ForkBlock, Landed]]] = {}

    def extend(self, parent: ForkBlock, *, slot: int, unix_ms: int) -> ForkBlock:
        """Return a new, empty block on a parent; siblings in one slot differ in their hash."""
        index = self._size
        self._size += 1
        block = ForkBlock(
            slot=slot,
            parent_slot=parent.slot,
            height=parent.height + 1,
            blockhash=next_hash(parent.blockhash, slot << 24 | index),
            unix_ms=unix_ms,
            index=index,
            path=parent.path | 1 << index,
            window_blocks=parent.window_blocks,
            parent=parent,
        )
        self._of_hash[block.blockhash] = block
        return block

    def newest_first(self) -> Iterator[ForkBlock]:
        """Yield every block, whatever its fork, in the reverse order of their making."""
        return reversed(self._of_hash.values())

    def put(self, block: ForkBlock, key: Pubkey, state: AccountState | None) -> None:
        """Write an account in a block; None or no lamports closes it."""
        if state is not None and state.lamports == 0:
            state = None
        block.written[key] = state
        versions = self._versions.get(key)
        if versions is None:
            versions = self._versions[key] = _Versions()
        versions.slots.append(block.slot)
        versions.blocks.append(block)
        versions.states.append(state)
        if state is not None:
            self._owned.setdefault(state.owner, {})[key] = None

    def account(self, key: Pubkey, block: ForkBlock) -> AccountState | None:
        """Return an account as it was after a block."""
        versions = self._versions.get(key)
        return None if versions is None else versions.at(block)

    def owned_by(self, owner: Pubkey, block: ForkBlock) -> Iterator[tuple[Pubkey, AccountState]]:
        """Yield the accounts a program owned after a block."""
        for key in self._owned.get(owner, ()):
            state = self.account(key, block)
            if state is not None and state.owner == owner:
                yield key, state

    def add(self, block: ForkBlock, landed: Landed) -> None:
        """Note that a transaction is in a block."""
        self.transactions += 1
        if not block.landed:
            self._filled.setdefault(block.slot, []).append(block)
        block.landed.append(landed)
        self._landings.setdefault(landed.signature, []).append((block, landed))
        for key in dict.fromkeys(landed.keys.all):
            self._mentions.setdefault(key, []).append((block, landed))

    def find(self, signature: Signature, block: ForkBlock) -> tuple[ForkBlock, Landed] | None:
        """Return a transaction and its block, None when the line of this block does not have it."""
        for place in self._landings.get(signature, ()):
            if block.has(place[0]):
                return place
        return None

    def landings(self, signature: Signature) -> Sequence[tuple[ForkBlock, Landed]]:
        """Return every landing of a transaction, on whatever fork."""
        return self._landings.get(signature, ())

    def in_slot(self, slot: int, block: ForkBlock) -> Sequence[Landed]:
        """Return the transactions of a slot on the line of a block, in order."""
        for filled in self._filled.get(slot, ()):
            if block.has(filled):
                return tuple(filled.landed)
        return ()

    def mentions(self, address: Pubkey, block: ForkBlock) -> Iterator[tuple[ForkBlock, Landed]]:
        """Yield the transactions on the line of a block that name an address, the newest first."""
        for place in reversed(self._mentions.get(address, ())):
            if block.has(place[0]):
                yield place

    def age(self, blockhash: Hash, block: ForkBlock) -> int | None:
        """Return how many blocks older a hash is; None when the line of the block lacks it."""
        origin = self._of_hash.get(blockhash)
        return None if origin is None or not block.has(origin) else block.height - origin.height

    def can_carry(self, blockhash: Hash, block: ForkBlock) -> bool:
        """Return whether a block may contain a transaction with this hash.

        The youngest hash a block knows while it is made is its parent's, at age 0. A hash
        therefore lives through one block more than its last valid block height says.
        """
        age = self.age(blockhash, block)
        return age is not None and 1 <= age <= block.window_blocks + 1

    def last_height(self, blockhash: Hash) -> int | None:
        """Return the height of the last block that may carry this hash, None for a foreign one."""
        origin = self._of_hash.get(blockhash)
        return None if origin is None else origin.last_valid_block_height + 1

    def ruled_out_at(self, blockhash: Hash, root: ForkBlock) -> int | None:
        """Return the finalized height from which on no block can carry this hash; None if foreign.

        Where the block of the hash was left behind on a fork, the first finalized block of its
        slot or a later one rules it out.
        """
        origin = self._of_hash.get(blockhash)
        if origin is None or root.slot < origin.slot or root.has(origin):
            return self.last_height(blockhash)
        block = root
        while block.parent is not None and block.parent.slot >= origin.slot:
            block = block.parent
        return block.height
