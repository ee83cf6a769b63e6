"""LiteSVM behind one class: nothing else in liqctl knows which virtual machine this is."""

import ctypes
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Protocol, cast

from solders.account import Account
from solders.clock import Clock
from solders.hash import Hash
from solders.instruction import CompiledInstruction
from solders.pubkey import Pubkey
from solders.rent import Rent
from solders.transaction import VersionedTransaction
from solders.transaction_metadata import FailedTransactionMetadata, SimulatedTransactionInfo

from liqctl.errors import SettingsError
from liqctl.localnet.account import AccountState
from liqctl.localnet.failure import failure_json
from liqctl.localnet.message import Price, price_of

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MEMORY_KEPT = 64 * 2**20
_MAPPED_FROM = 16 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class InnerCall:
    """One cross-program invocation; its indices count the keys of the whole message."""

    instruction: CompiledInstruction
    stack_height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """What a transaction did, or would have done.

    `failure` is None or the error as a node writes it in JSON. `fee_lamports` is zero for a
    transaction that a block could not have contained: then nothing at all has changed.
    """

    failure: object = None
    logs: tuple[str, ...] = ()
    units_consumed: int = 0
    return_value: tuple[Pubkey, bytes] | None = None
    inner_calls: tuple[tuple[InnerCall, ...], ...] = ()
    fee_lamports: int = 0
    post_accounts: Mapping[Pubkey, AccountState] = field(default_factory=dict)


class _Metadata(Protocol):
    """`TransactionMetadata` as it is; its published stub has other names."""

    def logs(self) -> list[str]: ...
    def inner_instructions(self) -> list[list["_Inner"]]: ...
    def compute_units_consumed(self) -> int: ...
    def return_data(self) -> "_ReturnData": ...


class _Inner(Protocol):
    def instruction(self) -> CompiledInstruction: ...
    def stack_height(self) -> int: ...


class _ReturnData(Protocol):
    @property
    def program_id(self) -> Pubkey: ...
    @property
    def data(self) -> bytes: ...


class _Svm(Protocol):
    """The part of `LiteSVM` that is used."""

    def with_sigverify(self, sigverify: bool) -> "_Svm": ...
    def with_blockhash_check(self, check: bool) -> "_Svm": ...
    def with_transaction_history(self, capacity: int) -> "_Svm": ...
    def with_log_bytes_limit(self, limit: int | None) -> "_Svm": ...
    def get_account(self, pubkey: Pubkey) -> Account | None: ...
    def get_balance(self, pubkey: Pubkey) -> int | None: ...
    def set_account(self, pubkey: Pubkey, data: Account) -> None: ...
    def add_program(self, program_id: Pubkey, program_bytes: bytes) -> None: ...
    def send_transaction(self, tx: VersionedTransaction) -> object: ...
    def simulate_transaction(self, tx: VersionedTransaction) -> object: ...
    def set_clock(self, clock: Clock) -> None: ...
    def set_slot_hashes(self, hashes: Sequence[tuple[int, Hash]]) -> None: ...
    def get_rent(self) -> Rent: ...


class Vm:
    """A Solana virtual machine with accounts and a clock, but without blocks or signatures."""

    def __init__(self, *, log_bytes_max: int = 10_000) -> None:
        """Build an empty machine with the built-in and SPL programs (20-35 ms).

        Raises:
            SettingsError: the installed solders has no virtual machine for this platform.
        """
        _keep_memory()
        # Age, duplicates and signatures are judged by the world, which knows the blocks.
        self._svm = (
            _new_svm()
            .with_sigverify(sigverify=False)
            .with_blockhash_check(check=False)
            .with_transaction_history(0)
            .with_log_bytes_limit(log_bytes_max)
        )

    def execute(self, transaction: VersionedTransaction) -> Execution:
        """Run a transaction and keep what it did, the fee included."""
        price = price_of(transaction.message)
        payer = transaction.message.account_keys[0]
        before = self._lamports(payer)
        if price.priority_lamports and before < price.base_lamports + price.priority_lamports:
            return Execution(failure="InsufficientFundsForFee")
        answer = self._svm.send_transaction(transaction)
        failure, metadata = _split(answer)
        if failure is not None and self._lamports(payer) == before:
            return Execution(failure=failure)
        self._take_priority_fee(payer, price)
        return _execution(metadata, failure, price)

    def simulate(self, transaction: VersionedTransaction) -> Execution:
        """Run a transaction and keep nothing; `post_accounts` is empty when it fails."""
        price = price_of(transaction.message)
        payer = transaction.message.account_keys[0]
        owed = price.base_lamports + price.priority_lamports
        if price.priority_lamports and self._lamports(payer) < owed:
            return Execution(failure="InsufficientFundsForFee")
        answer = self._svm.simulate_transaction(transaction)
        failure, metadata = _split(answer)
        post: dict[Pubkey, AccountState] = {}
        if isinstance(answer, SimulatedTransactionInfo):
            post = {key: AccountState.of(account) for key, account in answer.post_accounts()}
            if price.priority_lamports and payer in post:
                post[payer] = post[payer].less(price.priority_lamports)
        return _execution(metadata, failure, price, post)

    def account(self, key: Pubkey) -> AccountState | None:
        """Return an account, None when it does not exist or was closed."""
        account = self._svm.get_account(key)
        return None if account is None or account.lamports == 0 else AccountState.of(account)

    def put(self, key: Pubkey, state: AccountState) -> None:
        """Write an account from outside, as no transaction could."""
        self._svm.set_account(key, state.to_solders())

    def add_program(self, key: Pubkey, elf: bytes) -> None:
        """Deploy a program.

        Raises:
            SettingsError: the bytes are not a program the machine accepts.
        """
        try:
            self._svm.add_program(key, elf)
        except BaseException as error:
            # A damaged ELF ends in a panic of the machine, which is no Exception.
            if type(error).__name__ not in ("PanicException", "ValueError"):
                raise
            raise SettingsError(f"program {key}: not a loadable ELF file") from error

    def set_clock(self, *, slot: int, epoch: int, unix_s: int) -> None:
        """Set what programs read from the clock sysvar."""
        self._svm.set_clock(Clock(slot, 0, epoch, epoch + 1, unix_s))

    def set_slot_hashes(self, newest_first: Sequence[tuple[int, Hash]]) -> None:
        """Set the recent slots that programs accept, as for the making of lookup tables."""
        self._svm.set_slot_hashes(newest_first)

    def minimum_balance(self, length: int) -> int:
        """Return the lamports that exempt an account of `length` bytes from rent."""
        return self._svm.get_rent().minimum_balance(length)

    def _lamports(self, key: Pubkey) -> int:
        return self._svm.get_balance(key) or 0

    def _take_priority_fee(self, payer: Pubkey, price: Price) -> None:
        # This version of the machine charges the signatures only.
        if not price.priority_lamports:
            return
        account = self._svm.get_account(payer)
        if account is not None:
            charged = AccountState.of(account).less(price.priority_lamports)
            self._svm.set_account(payer, charged.to_solders())


def _new_svm() -> _Svm:
    try:
        from solders.litesvm import (  # noqa: PLC0415, TID251 - absent from some wheels; its one home
            LiteSVM,
        )
    except ImportError as error:
        raise SettingsError(
            "this platform's solders package has no virtual machine; "
            "the localnet needs Linux x86-64 with glibc, or macOS"
        ) from error
    return cast("_Svm", LiteSVM())


def _split(answer: object) -> tuple[object, _Metadata]:
    if isinstance(answer, FailedTransactionMetadata):
        return failure_json(answer.err()), cast("_Metadata", answer.meta())
    if isinstance(answer, SimulatedTransactionInfo):
        return None, cast("_Metadata", answer.meta())
    return None, cast("_Metadata", answer)


def _execution(
    metadata: _Metadata,
    failure: object,
    price: Price,
    post_accounts: Mapping[Pubkey, AccountState] | None = None,
) -> Execution:
    returned = metadata.return_data()
    return Execution(
        failure=failure,
        logs=tuple(metadata.logs()),
        units_consumed=metadata.compute_units_consumed(),
        return_value=(returned.program_id, returned.data) if returned.data else None,
        inner_calls=_inner_calls(metadata.inner_instructions()),
        fee_lamports=price.base_lamports + price.priority_lamports,
        post_accounts=post_accounts or {},
    )


def _inner_calls(groups: Sequence[Sequence[_Inner]]) -> tuple[tuple[InnerCall, ...], ...]:
    return tuple(
        tuple(
            InnerCall(instruction=call.instruction(), stack_height=call.stack_height())
            for call in group
        )
        for group in groups
    )


@cache
def _keep_memory() -> None:
    """Keep freed memory for the next call instead of returning it to the system, where glibc can.

    Each program that is called gets a stack and a heap of some 300 kB; fetching their pages from
    the system every time takes as long as running the program.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _MAPPED_FROM)
        library.mallopt(_M_TRIM_THRESHOLD, _MEMORY_KEPT)
