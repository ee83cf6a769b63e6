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
    they are missing; their rent is a cost. Those in `keeps` are the liquidator's own, who can
    close them and have it back. `returns_lamports` is what the liquidation pays the liquidator in
    lamports beside the reward, such as the rent of the closed position.
    """

    instructions: tuple[Instruction, ...]
    liquidate_index: int
    compute_units: int
    creates: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    returns_lamports: int = 0

    def writable(self) -> tuple[str, ...]:
        """Return every account that the plan locks for writing, each once, in their order."""
        metas = [meta for each in self.instructions for meta in each.accounts]
        return tuple(dict.fromkeys(meta.address for meta in metas if meta.writable))


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


def budget_exceeded(failure: Failure) -> bool:
    """Return whether a transaction failed because its compute-unit limit was too low.

    A program that runs out of units is reported as one that did not complete; its log says why.
    """
    if failure.name == "ComputationalBudgetExceeded":
        return True
    told = any("exceeded CUs" in line for line in failure.logs)
    return failure.name == "ProgramFailedToComplete" and told
