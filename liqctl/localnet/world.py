"""The chain around the virtual machine: blocks, commitment, history, and who hears of changes."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from solders.compute_budget import set_compute_unit_limit
from solders.hash import Hash
from solders.keypair import Keypair
from solders.message import Message, MessageV0
from solders.pubkey import Pubkey
from solders.signature import Signature
from solders.system_program import TransferParams, transfer
from solders.transaction import VersionedTransaction

from liqctl.errors import SettingsError
from liqctl.localnet.account import AccountState
from liqctl.localnet.history import History, Landed
from liqctl.localnet.ledger import (
    BLOCKHASH_AGE_MAX,
    PREFLIGHT_AGE_MAX,
    Block,
    Commitment,
    Ledger,
    next_hash,
)
from liqctl.localnet.message import Keys, keys_of, price_of
from liqctl.localnet.spl_token import TokenBalance, decimals_of, holding_of
from liqctl.localnet.table import AccountTable
from liqctl.localnet.vm import Execution, Vm

_FAUCET_LAMPORTS = 10**18
_FINALIZE_BLOCKS_MAX = 32
_SLOT_HASHES = 512
_SLOT_HASH_READERS = frozenset(
    {
        Pubkey.from_string("SysvarS1otHashes111111111111111111111111111"),
        Pubkey.from_string("AddressLookupTab1e1111111111111111111111111"),
    }
)
_TABLE_MISSING = "AddressLookupTableNotFound"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """How the chain behaves.

    `start_unix_s` is the time of the first block; each slot adds `slot_ms`. A block is confirmed
    and finalized when so many blocks follow it.
    """

    start_unix_s: int
    slot_ms: int = 400
    first_slot: int = 1
    confirm_blocks: int = 1
    finalize_blocks: int = 3
    slots_per_epoch: int = 432_000
    transactions_kept: int = 50_000
    blocks_kept: int = 100_000
    seed: str = "liqctl localnet"

    def __post_init__(self) -> None:
        """Refuse depths and sizes that no chain has."""
        if not 1 <= self.confirm_blocks <= self.finalize_blocks <= _FINALIZE_BLOCKS_MAX:
            raise SettingsError(
                "localnet: 1 <= confirm_blocks <= finalize_blocks <= 32 must hold, not "
                f"{self.confirm_blocks} and {self.finalize_blocks}"
            )
        if self.slot_ms < 1 or self.transactions_kept < 1 or self.slots_per_epoch < 1:
            raise SettingsError("localnet: slot_ms and the kept numbers must be positive")


@dataclass(frozen=True, slots=True, kw_only=True)
class BankUpdate:
    """Accounts were written and transactions landed, as seen at one commitment level.

    At processed it comes with every single transaction, at the others once per block.
    """

    commitment: Commitment
    block: Block
    written: Sequence[Pubkey]
    landed: Sequence[Landed]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotUpdate:
    """A new block was opened."""

    slot: int
    parent_slot: int
    root_slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """A transaction that no block took; the reason as a node writes it in JSON."""

    failure: object


Listener = Callable[[BankUpdate | SlotUpdate], None]


class World:
    """One chain, without any time of its own: it moves when `tick` is called.

    What is put before the first tick is part of genesis and visible at every commitment.
    """

    def __init__(self, config: WorldConfig) -> None:
        """Build the chain with its first block open.

        Raises:
            SettingsError: this platform has no virtual machine.
        """
        self.config = config
        self.slots_behind = 0
        self._vm = Vm()
        self._table = AccountTable()
        self._history = History(config.transactions_kept)
        self._listeners: list[Listener] = []
        seed = hashlib.sha256(config.seed.encode()).digest()
        # As everywhere, the time of creation is part of it: a chain that was started anew is
        # another cluster, and no attempt on record can land there.
        born = seed + config.start_unix_s.to_bytes(8, "little", signed=True)
        self.genesis_hash = Hash.from_bytes(hashlib.sha256(born).digest())
        self._ledger = Ledger(
            Block(
                slot=config.first_slot,
                parent_slot=max(config.first_slot - 1, 0),
                height=config.first_slot,
                blockhash=next_hash(Hash.from_bytes(seed), config.first_slot),
                unix_ms=config.start_unix_s * 1000,
            ),
            confirm_blocks=config.confirm_blocks,
            finalize_blocks=config.finalize_blocks,
            kept=config.blocks_kept,
        )
        self._faucet = Keypair.from_seed(hashlib.sha256(seed + b"faucet").digest())
        self._airdrops = 0
        self._set_clock()
        self.set_account(self._faucet.pubkey(), AccountState(lamports=_FAUCET_LAMPORTS))

    @property
    def ledger(self) -> Ledger:
        """The blocks."""
        return self._ledger

    @property
    def history(self) -> History:
        """The transactions that landed."""
        return self._history

    @property
    def slot(self) -> int:
        """The slot of the open block."""
        return self._ledger.open_block.slot

    @property
    def unix_ms(self) -> int:
        """The time of the open block."""
        return self._ledger.open_block.unix_ms

    def listen(self, listener: Listener) -> Callable[[], None]:
        """Call the listener at every change from now on; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def tick(self, *, skipped: int = 0) -> Block:
        """Close the open block and open the next, `skipped` slots further than the next slot."""
        slot = self.slot + 1 + skipped
        block = self._ledger.extend(
            slot=slot, unix_ms=self.unix_ms + self.config.slot_ms * (1 + skipped)
        )
        self._set_clock()
        root = self._ledger.bank(Commitment.FINALIZED).slot
        self._tell(SlotUpdate(slot=slot, parent_slot=block.parent_slot, root_slot=root))
        for commitment in (Commitment.CONFIRMED, Commitment.FINALIZED):
            self._tell_reached(commitment)
        self._table.forget(root)
        return block

    def account(
        self, key: Pubkey, commitment: Commitment = Commitment.PROCESSED
    ) -> AccountState | None:
        """Return an account as the newest block of a commitment level has it."""
        return self.account_at(key, self._ledger.bank(commitment))

    def account_at(self, key: Pubkey, block: Block) -> AccountState | None:
        """Return an account as it was after a block that is finalized just now or younger."""
        if key not in self._table:
            return self._vm.account(key)
        return self._table.at(key, block.slot)

    def accounts_at(self, owner: Pubkey, block: Block) -> Iterator[tuple[Pubkey, AccountState]]:
        """Yield the accounts a program owned after a block that is finalized just now or younger."""
        return self._table.owned_by(owner, block.slot)

    def written_slot(self, key: Pubkey) -> int | None:
        """Return the slot in which an account was last written."""
        return self._table.written_slot(key)

    def set_account(self, key: Pubkey, state: AccountState) -> None:
        """Write an account from outside (a price publisher, a loaded dump); no lamports closes it."""
        self._vm.put(key, state)
        self._table.put(key, state, self.slot)
        self._tell_processed([key], [])

    def add_program(self, key: Pubkey, elf: bytes) -> None:
        """Deploy a program.

        Raises:
            SettingsError: the bytes are not a loadable program.
        """
        self._vm.add_program(key, elf)
        self._table.put(key, self._vm.account(key), self.slot)

    def minimum_balance(self, length: int) -> int:
        """Return the lamports that exempt an account of `length` bytes from rent."""
        return self._vm.minimum_balance(length)

    def latest_blockhash(self) -> Hash:
        """Return the blockhash of the open block."""
        return self._ledger.open_block.blockhash

    def airdrop(self, key: Pubkey, lamports: int) -> Landed | Dropped:
        """Send lamports from the faucet in a real transaction."""
        # The unit limit counts up, so that equal airdrops in one block are different transactions.
        self._airdrops += 1
        source = self._faucet.pubkey()
        params = TransferParams(from_pubkey=source, to_pubkey=key, lamports=lamports)
        message = MessageV0.try_compile(
            source,
            [set_compute_unit_limit(10_000 + self._airdrops % 1_000_000), transfer(params)],
            [],
            self.latest_blockhash(),
        )
        return self.submit(VersionedTransaction(message, [self._faucet]))

    def keys_of(self, message: Message | MessageV0) -> Keys:
        """Return the keys of a message, lookup tables resolved.

        Raises:
            LookupError: a table is missing or too short.
        """
        return keys_of(message, self._table_bytes)

    def unfit(self, blockhash: Hash, signature: Signature, bank: Block) -> str | None:
        """Return why a simulation on a block refuses by age or repetition; age comes first."""
        age = self._ledger.age(blockhash, bank)
        if age is None or age > PREFLIGHT_AGE_MAX:
            return "BlockhashNotFound"
        landed = self._history.find(signature)
        return "AlreadyProcessed" if landed is not None and landed.slot <= bank.slot else None

    def is_blockhash_valid(self, blockhash: Hash, bank: Block) -> bool:
        """Return whether a block knows the hash and it is young enough."""
        age = self._ledger.age(blockhash, bank)
        return age is not None and age <= BLOCKHASH_AGE_MAX

    def simulate(self, transaction: VersionedTransaction) -> Execution:
        """Run a transaction on the open block without keeping anything."""
        try:
            keys = self.keys_of(transaction.message)
        except LookupError:
            return Execution(failure=_TABLE_MISSING)
        self._prepare(keys)
        return self._vm.simulate(transaction)

    def submit(
        self, transaction: VersionedTransaction, *, verified: bool = False
    ) -> Landed | Dropped:
        """Give a transaction to the leader: it lands now, in the open block, or is dropped.

        `verified` says that the caller has checked the signatures.
        """
        signature = transaction.signatures[0]
        message = transaction.message
        if not verified and not all(transaction.verify_with_results()):
            return Dropped(failure="SignatureFailure")
        if not self._ledger.can_carry(message.recent_blockhash):
            return Dropped(failure="BlockhashNotFound")
        if self._history.find(signature) is not None:
            return Dropped(failure="AlreadyProcessed")
        try:
            keys = self.keys_of(message)
        except LookupError:
            return Dropped(failure=_TABLE_MISSING)
        return self._run(signature, transaction, keys)

    def _run(
        self, signature: Signature, transaction: VersionedTransaction, keys: Keys
    ) -> Landed | Dropped:
        self._prepare(keys)
        all_keys = keys.all
        before = [self.account(key) for key in all_keys]
        pre_tokens = self._token_balances(before)
        execution = self._vm.execute(transaction)
        if execution.fee_lamports == 0:
            return Dropped(failure=execution.failure)
        # A failed transaction writes its fee payer and nothing else.
        written = self._store(keys.writable if execution.failure is None else keys.static[:1])
        after = [self.account(key) for key in all_keys]
        landed = Landed(
            signature=signature,
            transaction=transaction,
            keys=keys,
            price=price_of(transaction.message),
            slot=self.slot,
            unix_s=self.unix_ms // 1000,
            execution=execution,
            pre_lamports=_lamports(before),
            post_lamports=_lamports(after),
            pre_tokens=pre_tokens,
            post_tokens=self._token_balances(after),
        )
        self._history.add(landed)
        self._tell_processed(written, [landed])
        return landed

    def _prepare(self, keys: Keys) -> None:
        # 512 slot hashes cost more than a block: only those who read them get them.
        if _SLOT_HASH_READERS.isdisjoint(keys.all):
            return
        past = self._ledger.newest(_SLOT_HASHES + 1)[1:]
        self._vm.set_slot_hashes([(one.slot, one.blockhash) for one in past])

    def _store(self, keys: Sequence[Pubkey]) -> list[Pubkey]:
        written: list[Pubkey] = []
        for key in keys:
            state = self._vm.account(key)
            if state is not None or key in self._table:
                self._table.put(key, state, self.slot)
                written.append(key)
        return written

    def _token_balances(self, states: Sequence[AccountState | None]) -> tuple[TokenBalance, ...]:
        balances: list[TokenBalance] = []
        for index, state in enumerate(states):
            holding = holding_of(state)
            if state is None or holding is None:
                continue
            decimals = decimals_of(self.account(holding.mint)) or 0
            balances.append(
                TokenBalance(
                    account_index=index, program=state.owner, holding=holding, decimals=decimals
                )
            )
        return tuple(balances)

    def _table_bytes(self, key: Pubkey) -> bytes | None:
        state = self.account(key)
        return None if state is None else state.data

    def _set_clock(self) -> None:
        block = self._ledger.open_block
        self._vm.set_clock(
            slot=block.slot,
            epoch=block.slot // self.config.slots_per_epoch,
            unix_s=block.unix_ms // 1000,
        )

    def _tell_processed(self, written: Sequence[Pubkey], landed: Sequence[Landed]) -> None:
        if self._listeners:
            self._tell(
                BankUpdate(
                    commitment=Commitment.PROCESSED,
                    block=self._ledger.open_block,
                    written=written,
                    landed=landed,
                )
            )

    def _tell_reached(self, commitment: Commitment) -> None:
        block = self._ledger.reached(commitment)
        if block is None:
            return
        self._tell(
            BankUpdate(
                commitment=commitment,
                block=block,
                written=tuple(self._table.written_in(block.slot)),
                landed=self._history.in_slot(block.slot),
            )
        )

    def _tell(self, update: BankUpdate | SlotUpdate) -> None:
        for listener in tuple(self._listeners):
            listener(update)


def _lamports(states: Sequence[AccountState | None]) -> tuple[int, ...]:
    return tuple(0 if state is None else state.lamports for state in states)
