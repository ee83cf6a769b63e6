"""The insurance fund as a venue shows it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class InsuranceState:
    """The fund at one slot; money in 1e-6 quote."""

    address: str
    balance: int
    bad_debt_covered: int
    bad_debt_uncovered: int
    liquidation_count: int
    mint: str
    vault: str
