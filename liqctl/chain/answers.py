"""What the typed RPC calls return: values of our own, checked before they get here."""

from dataclasses import dataclass, field
from enum import StrEnum

from liqctl.core.account import Account
from liqctl.core.instruction import Failure


class Commitment(StrEnum):
    """How settled the state is that an answer describes."""

    PROCESSED = "processed"
    CONFIRMED = "confirmed"
    FINALIZED = "finalized"


class EntryFault(StrEnum):
    """Why one entry of a snapshot is not an account of the program."""

    MALFORMED = "malformed"
    WRONG_OWNER = "wrong_owner"
    WRONG_DISCRIMINATOR = "wrong_discriminator"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Accounts by address; None is no account there.

    `slot` is the lowest slot of the answers; up to 100 addresses are read in one slot.
    """

    slot: int
    by_address: dict[str, Account | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedEntry:
    """One entry of a snapshot that was left out; its address where that much could be read."""

    address: str | None
    fault: EntryFault


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All accounts of one kind of a program at one slot, and the entries that were not usable."""

    slot: int
    accounts: tuple[Account, ...]
    refused: tuple[RefusedEntry, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Blockhash:
    """A recent blockhash and the slot of the bank that told it.

    A transaction with it can land up to block height `last_valid_block_height` + 1.
    """

    hash: str
    last_valid_block_height: int
    context_slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Slot and block height of one bank."""

    slot: int
    block_height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockhashValidity:
    """Whether a bank still takes a blockhash; False too when it has not seen it yet."""

    context_slot: int
    valid: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a transaction was seen, how settled that is, and how it failed if it did."""

    slot: int
    level: Commitment
    failure: Failure | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statuses:
    """Statuses in the order of the question; None is unknown to the node, which proves nothing.

    `context_slot` is the slot of the node's processed bank, the lowest if several were asked.
    """

    context_slot: int
    statuses: tuple[Status | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """One transaction in the history of an address."""

    signature: str
    slot: int
    failure: Failure | None
    block_time_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReturnData:
    """What a program returned at the end of a simulation."""

    program: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """What a transaction would do at a slot; `accounts` are those asked for, after it.

    `accounts` is empty when the simulation failed.
    """

    slot: int
    failure: Failure | None
    compute_units: int | None
    logs: tuple[str, ...]
    return_data: ReturnData | None = None
    accounts: dict[str, Account | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """A transaction as the ledger keeps it; what cannot be believed of its cost is None.

    `cost_lamports` is by how much the balance of its payer fell: the fee and the rent of accounts
    that it made, less what it got back.
    """

    signature: str
    slot: int
    block_time_s: int | None
    fee_lamports: int | None
    cost_lamports: int | None
    compute_units: int | None
    failure: Failure | None
    logs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorityFee:
    """The lowest price that was enough in one recent slot, micro-lamports per compute unit."""

    slot: int
    price_micro_lamports: int
