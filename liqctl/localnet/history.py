"""Transactions that landed: by signature, by address, by slot."""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.transaction import VersionedTransaction

from liqctl.localnet.message import Keys, Price
from liqctl.localnet.spl_token import TokenBalance
from liqctl.localnet.vm import Execution


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """One transaction in a block, successful or failed, with what it did."""

    signature: Signature
    transaction: VersionedTransaction
    keys: Keys
    price: Price
    slot: int
    unix_s: int
    execution: Execution
    pre_lamports: Sequence[int]
    post_lamports: Sequence[int]
    pre_tokens: Sequence[TokenBalance] = ()
    post_tokens: Sequence[TokenBalance] = ()

    @property
    def failure(self) -> object:
        """None, or the error as a node writes it in JSON."""
        return self.execution.failure


class History:
    """The newest transactions, bounded by their number."""

    def __init__(self, transactions_max: int) -> None:
        self._max = transactions_max
        self._by_signature: dict[Signature, Landed] = {}
        self._by_address: dict[Pubkey, deque[Landed]] = {}
        self._by_slot: dict[int, list[Landed]] = {}
        self.total = 0

    def add(self, landed: Landed) -> None:
        """Keep one more transaction and let go of the oldest if there are too many."""
        self.total += 1
        self._by_signature[landed.signature] = landed
        self._by_slot.setdefault(landed.slot, []).append(landed)
        for key in dict.fromkeys(landed.keys.all):
            self._by_address.setdefault(key, deque()).append(landed)
        if len(self._by_signature) > self._max:
            self._drop_oldest()

    def find(self, signature: Signature) -> Landed | None:
        """Return the transaction with this signature."""
        return self._by_signature.get(signature)

    def in_slot(self, slot: int) -> Sequence[Landed]:
        """Return the transactions of a slot in order."""
        return tuple(self._by_slot.get(slot, ()))

    def of_address(self, address: Pubkey) -> Iterator[Landed]:
        """Yield the transactions that name an address, the newest first."""
        return reversed(self._by_address.get(address, deque()))

    def _drop_oldest(self) -> None:
        oldest = self._by_signature.pop(next(iter(self._by_signature)))
        slot_mates = self._by_slot[oldest.slot]
        del slot_mates[0]
        if not slot_mates:
            del self._by_slot[oldest.slot]
        for key in dict.fromkeys(oldest.keys.all):
            mentions = self._by_address[key]
            mentions.popleft()
            if not mentions:
                del self._by_address[key]
