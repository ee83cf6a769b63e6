"""Integer arithmetic with named rounding, in the widths of the chain."""

U64_MAX = 2**64 - 1
I64_MAX = 2**63 - 1
I64_MIN = -(2**63)
BPS = 10_000


class Overflow(ArithmeticError):
    """A value left the width that the program computes in; the program fails there as well."""


def mul_div_floor(a: int, b: int, denominator: int) -> int:
    """Return a*b/denominator rounded down (towards zero), for non-negative a and b.

    >>> mul_div_floor(7, 3, 2)
    10
    """
    return a * b // denominator


def mul_div_ceil(a: int, b: int, denominator: int) -> int:
    """Return a*b/denominator rounded up (away from zero), for non-negative a and b.

    >>> mul_div_ceil(7, 3, 2)
    11
    """
    return -(-(a * b) // denominator)


def as_u64(value: int) -> int:
    """Return the value, or raise Overflow when an unsigned 64-bit field cannot hold it."""
    if 0 <= value <= U64_MAX:
        return value
    raise Overflow(f"an unsigned 64-bit value was {value}")


def as_i64(value: int) -> int:
    """Return the value, or raise Overflow when a signed 64-bit field cannot hold it."""
    if I64_MIN <= value <= I64_MAX:
        return value
    raise Overflow(f"a signed 64-bit value was {value}")
