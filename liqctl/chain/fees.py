"""Priority fee arithmetic: lamports and micro-lamports per compute unit, always both."""

from liqctl.core.bid import MICRO_LAMPORTS_PER_LAMPORT
from liqctl.core.fixed import mul_div_ceil
from liqctl.core.guards import SIGNATURE_FEE_LAMPORTS


def priority_fee_lamports(compute_unit_limit: int, price_micro_lamports: int) -> int:
    """Return what a priority price costs at a compute-unit limit, rounded up as the chain does.

    >>> priority_fee_lamports(200_000, 1_000_000)
    200000
    """
    return mul_div_ceil(compute_unit_limit, price_micro_lamports, MICRO_LAMPORTS_PER_LAMPORT)


def max_cost_lamports(signatures: int, compute_unit_limit: int, price_micro_lamports: int) -> int:
    """Return the most that a transaction can cost: signatures plus the whole compute-unit limit.

    >>> max_cost_lamports(1, 200_000, 1_000_000)
    205000
    """
    return SIGNATURE_FEE_LAMPORTS * signatures + priority_fee_lamports(
        compute_unit_limit, price_micro_lamports
    )
