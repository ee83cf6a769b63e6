"""Blocks: slots and heights, commitment levels and the blockhashes a transaction may carry."""

import hashlib
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

from solders.hash import Hash

BLOCKHASH_AGE_MAX = 150
PREFLIGHT_AGE_MAX = BLOCKHASH_AGE_MAX - 6
"""A node's simulation refuses a hash a few blocks early, to leave time for forwarding."""


class Commitment(StrEnum):
    """How sure a node is that a block stays."""

    PROCESSED = "processed"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block; skipped slots have none, so heights have no gaps and slots may."""

    slot: int
    parent_slot: int
    height: int
    blockhash: Hash
    unix_ms: int

    @property
    def last_valid_block_height(self) -> int:
        """The block height up to which a transaction with this blockhash counts as alive."""
        return self.height + BLOCKHASH_AGE_MAX


class Ledger:
    """The growing line of blocks; the last one is open and takes transactions."""

    def __init__(
        self, genesis: Block, *, confirm_blocks: int, finalize_blocks: int, kept: int
    ) -> None:
        self._depth = {
            Commitment.PROCESSED: 0,
            Commitment.CONFIRMED: confirm_blocks,
            Commitment.FINALIZED: finalize_blocks,
        }
        self._blocks: deque[Block] = deque([genesis], maxlen=max(kept, 2 * BLOCKHASH_AGE_MAX + 2))
        self._by_slot = {genesis.slot: genesis}
        self._height_of_hash = {genesis.blockhash: genesis.height}

    @property
    def open_block(self) -> Block:
        """The block that transactions go into."""
        return self._blocks[-1]

    @property
    def first_block(self) -> Block:
        """The oldest block still known."""
        return self._blocks[0]

    def bank(self, commitment: Commitment) -> Block:
        """Return the newest block of a commitment level."""
        depth = self._depth[commitment]
        return self._blocks[-1 - min(depth, len(self._blocks) - 1)]

    def reached(self, commitment: Commitment) -> Block | None:
        """Return the block that the newest block has just lifted to this level, if any."""
        depth = self._depth[commitment]
        return self._blocks[-1 - depth] if depth < len(self._blocks) else None

    def level_of(self, slot: int) -> Commitment:
        """Return how sure the block of a slot is."""
        if slot <= self.bank(Commitment.FINALIZED).slot:
            return Commitment.FINALIZED
        if slot <= self.bank(Commitment.CONFIRMED).slot:
            return Commitment.CONFIRMED
        return Commitment.PROCESSED

    def block_at(self, slot: int) -> Block | None:
        """Return the block of a slot, None when it was skipped, is to come or was forgotten."""
        return self._by_slot.get(slot)

    def height_of(self, slot: int) -> int | None:
        """Return the height of the block of a slot, None when there is none."""
        block = self._by_slot.get(slot)
        return None if block is None else block.height

    def newest(self, count: int) -> list[Block]:
        """Return up to `count` newest blocks, the newest first."""
        return list(islice(reversed(self._blocks), count))

    def extend(self, *, slot: int, unix_ms: int) -> Block:
        """Close the open block and open the next one."""
        parent = self.open_block
        block = Block(
            slot=slot,
            parent_slot=parent.slot,
            height=parent.height + 1,
            blockhash=next_hash(parent.blockhash, slot),
            unix_ms=unix_ms,
        )
        if len(self._blocks) == self._blocks.maxlen:
            del self._by_slot[self._blocks[0].slot]
        self._blocks.append(block)
        self._by_slot[slot] = block
        self._height_of_hash[block.blockhash] = block.height
        expired = block.height - 2 * BLOCKHASH_AGE_MAX
        oldest = next(iter(self._height_of_hash))
        if self._height_of_hash[oldest] < expired:
            del self._height_of_hash[oldest]
        return block

    def age(self, blockhash: Hash, bank: Block) -> int | None:
        """Return how many blocks older than the bank a hash is; None when the bank lacks it."""
        height = self._height_of_hash.get(blockhash)
        return None if height is None or height > bank.height else bank.height - height

    def can_carry(self, blockhash: Hash) -> bool:
        """Return whether the open block may contain a transaction with this hash.

        The newest hash the open block knows is its parent's, at age 0: a hash therefore lives
        through one block more than its last valid block height says.
        """
        age = self.age(blockhash, self.open_block)
        return age is not None and age - 1 <= BLOCKHASH_AGE_MAX


def next_hash(parent: Hash, slot: int) -> Hash:
    """Return the hash of the block that follows; the same chain gives the same hashes."""
    return Hash.from_bytes(hashlib.sha256(bytes(parent) + slot.to_bytes(8, "little")).digest())
