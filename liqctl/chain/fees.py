"""Priority fee arithmetic: lamports and micro-lamports per compute unit, always both."""

from liqctl.core.fixed import mul_div_ceil

LAMPORTS_PER_SOL = 1_000_000_000
MICRO_LAMPORTS_PER_LAMPORT = 1_000_000
LAMPORTS_PER_SIGNATURE = 5_000


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
    return LAMPORTS_PER_SIGNATURE * signatures + priority_fee_lamports(
        compute_unit_limit, price_micro_lamports
    )


def price_within(priority_lamports: int, compute_unit_limit: int) -> int:
    """Return the highest price in micro-lamports per compute unit that costs no more than given.

    >>> price_within(200_000, 200_000)
    1000000
    """
    if compute_unit_limit <= 0:
        return 0
    return priority_lamports * MICRO_LAMPORTS_PER_LAMPORT // compute_unit_limit


def sol_text(lamports: int) -> str:
    """Return an amount in SOL without rounding.

    >>> sol_text(200_000), sol_text(-1_500_000_000), sol_text(0)
    ('0.0002', '-1.5', '0')
    """
    whole, rest = divmod(abs(lamports), LAMPORTS_PER_SOL)
    digits = f"{rest:09d}".rstrip("0")
    return f"{'-' if lamports < 0 else ''}{whole}{'.' + digits if digits else ''}"


def fee_text(compute_unit_limit: int, price_micro_lamports: int) -> str:
    """Return a priority fee for people, in every unit that it is set or charged in.

    >>> fee_text(200_000, 1_000_000)
    '1000000 micro-lamports per CU x 200000 CU = 200000 lamports = 0.0002 SOL'
    """
    lamports = priority_fee_lamports(compute_unit_limit, price_micro_lamports)
    return (
        f"{price_micro_lamports} micro-lamports per CU x {compute_unit_limit} CU"
        f" = {lamports} lamports = {sol_text(lamports)} SOL"
    )
