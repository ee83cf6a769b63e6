"""Instructions as values: what a venue plans and a transaction carries."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class AccountMeta:
    """One account of an instruction, by base58 address."""

    address: str
    signer: bool = False
    writable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Instruction:
    """One call of a program."""

    program: str
    accounts: tuple[AccountMeta, ...]
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The instructions that liquidate one position, set-up first.

    Only a failure of instruction `liquidate_index` is the venue's own; `compute_units` is the
    limit that suffices for all of them. `creates` are the token accounts that set-up makes where
    they are missing; their rent is a cost.
    """

    instructions: tuple[Instruction, ...]
    liquidate_index: int
    compute_units: int
    creates: tuple[str, ...] = ()


class Outcome(StrEnum):
    """What a venue's failure means for the position."""

    HEALTHY = "healthy"
    GONE = "gone"
    ORACLE = "oracle"
    PAUSED = "paused"
    NO_FUNDS = "no_funds"
    SETUP = "setup"
    LAYOUT = "layout"
    RETRY = "retry"
    BUG = "bug"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed transaction: which instruction, and its custom code or the error's name."""

    instruction: int | None
    code: int | None
    name: str
    logs: tuple[str, ...] = ()
