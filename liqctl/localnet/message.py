"""What a transaction message says before it runs: its keys, which of them it may write, its price."""

import struct
from collections.abc import Callable
from dataclasses import dataclass

from solders.message import Message, MessageV0
from solders.pubkey import Pubkey

_COMPUTE_BUDGET = Pubkey.from_string("ComputeBudget111111111111111111111111111111")
_TABLE_HEADER_LEN = 56
_SIGNATURE_FEE_LAMPORTS = 5_000
_UNITS_PER_INSTRUCTION = 200_000
_UNITS_MAX = 1_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """All keys of a message in the order its instructions count them."""

    static: tuple[Pubkey, ...]
    loaded_writable: tuple[Pubkey, ...] = ()
    loaded_readonly: tuple[Pubkey, ...] = ()
    writable: tuple[Pubkey, ...]

    @property
    def all(self) -> tuple[Pubkey, ...]:
        """Static keys, then loaded writable ones, then loaded read-only ones."""
        return self.static + self.loaded_writable + self.loaded_readonly


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a message offers to pay, in lamports and micro-lamports."""

    base_lamports: int
    priority_micro_lamports_per_cu: int
    priority_lamports: int


def keys_of(message: Message | MessageV0, table_bytes: Callable[[Pubkey], bytes | None]) -> Keys:
    """Return the keys; `table_bytes` gives the content of an address lookup table.

    Raises:
        LookupError: a table is missing or too short for an index of the message.
    """
    static = tuple(message.account_keys)
    writable = _static_writable(message, static)
    if isinstance(message, Message) or not message.address_table_lookups:
        return Keys(static=static, writable=writable)
    loaded_writable: list[Pubkey] = []
    loaded_readonly: list[Pubkey] = []
    for lookup in message.address_table_lookups:
        content = table_bytes(lookup.account_key)
        if content is None:
            raise LookupError(f"address lookup table {lookup.account_key} not found")
        loaded_writable += [_table_entry(content, index) for index in lookup.writable_indexes]
        loaded_readonly += [_table_entry(content, index) for index in lookup.readonly_indexes]
    return Keys(
        static=static,
        loaded_writable=tuple(loaded_writable),
        loaded_readonly=tuple(loaded_readonly),
        writable=writable + tuple(loaded_writable),
    )


def price_of(message: Message | MessageV0) -> Price:
    """Return the fee: 5,000 lamports per signature, and unit limit x unit price rounded up."""
    keys = message.account_keys
    limit: int | None = None
    micro_lamports = 0
    instructions = 0
    for instruction in message.instructions:
        if keys[instruction.program_id_index] != _COMPUTE_BUDGET:
            instructions += 1
            continue
        content = bytes(instruction.data)
        if len(content) >= 5 and content[0] == 2:
            (limit,) = struct.unpack_from("<I", content, 1)
        elif len(content) >= 9 and content[0] == 3:
            (micro_lamports,) = struct.unpack_from("<Q", content, 1)
    units = limit if limit is not None else instructions * _UNITS_PER_INSTRUCTION
    return Price(
        base_lamports=_SIGNATURE_FEE_LAMPORTS * message.header.num_required_signatures,
        priority_micro_lamports_per_cu=micro_lamports,
        priority_lamports=-(-min(units, _UNITS_MAX) * micro_lamports // 1_000_000),
    )


def _static_writable(
    message: Message | MessageV0, static: tuple[Pubkey, ...]
) -> tuple[Pubkey, ...]:
    header = message.header
    signers = header.num_required_signatures
    writable_signers = signers - header.num_readonly_signed_accounts
    last_writable = len(static) - header.num_readonly_unsigned_accounts
    return static[:writable_signers] + static[signers:last_writable]


def _table_entry(content: bytes, index: int) -> Pubkey:
    start = _TABLE_HEADER_LEN + 32 * index
    if len(content) < start + 32:
        raise LookupError(f"address lookup table has no entry {index}")
    return Pubkey.from_bytes(content[start : start + 32])
