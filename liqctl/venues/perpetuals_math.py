"""Integers as the perpetuals program computes with them: every width checked, one error for all."""

from typing import NamedTuple

from liqctl.core.fixed import BPS, I64_MAX, U64_MAX

U128_MAX = 2**128 - 1
USD_DIGITS = 6
RATE = 10**9

MATH_OVERFLOW = 6003

# The largest powers of ten that u64 and u128 hold; a higher one is an overflow in the program,
# even where it would only divide.
_POWERS_U64 = tuple(10**n for n in range(20))
_POWERS_U128 = tuple(10**n for n in range(39))


class Refused(Exception):
    """What the program would fail with: its error code, or without one the runtime's word."""

    def __init__(self, code: int | None, word: str) -> None:
        """Take the code of the program and our word for it."""
        super().__init__(word)
        self.code = code
        self.word = word


class Price(NamedTuple):
    """A price as the program carries it: value = mantissa * 10**exponent, in USD."""

    mantissa: int
    exponent: int


ONE_DOLLAR = Price(10**USD_DIGITS, -USD_DIGITS)


def overflow() -> Refused:
    """Return the error of every operation that leaves its width, divides by zero included."""
    return Refused(MATH_OVERFLOW, "overflow")


def u64(value: int) -> int:
    """Return the value; Refused when an unsigned 64-bit integer cannot hold it."""
    if 0 <= value <= U64_MAX:
        return value
    raise overflow()


def u128(value: int) -> int:
    """Return the value; Refused when an unsigned 128-bit integer cannot hold it."""
    if 0 <= value <= U128_MAX:
        return value
    raise overflow()


def seconds_since(now_s: int, then_s: int) -> int:
    """Return now - then; Refused when a signed 64-bit integer cannot hold it."""
    # Both are i64 and now is positive, so only the upper end can be left.
    if now_s - then_s > I64_MAX:
        raise overflow()
    return now_s - then_s


def ceil_div(value: int, divisor: int) -> int:
    """Return value / divisor rounded up, for a non-negative value and a positive divisor."""
    return -(-value // divisor)


def bps_up(bps: int, amount: int) -> int:
    """Return the share of an amount in basis points, rounded up; Refused beyond u64."""
    return u64(ceil_div(amount * bps, BPS))


def usd_of(price: Price, amount: int, decimals: int) -> int:
    """Return what a token amount is worth in 1e-6 USD, rounded down; Refused beyond u64."""
    mantissa, exponent = price
    if amount == 0 or mantissa == 0:
        return 0
    shift = exponent - decimals + USD_DIGITS
    if abs(shift) >= len(_POWERS_U128):
        raise overflow()
    if shift >= 0:
        return u64(amount * mantissa * _POWERS_U128[shift])
    return u64(amount * mantissa // _POWERS_U128[-shift])


def tokens_of(price: Price, usd: int, decimals: int) -> int:
    """Return how many base units 1e-6 USD buy, rounded down twice as the program does.

    Refused when the scaled amount leaves u128 or the result u64.
    """
    mantissa, exponent = price
    if usd == 0 or mantissa == 0:
        return 0
    up, down = decimals + max(0, -exponent), USD_DIGITS + max(0, exponent)
    if up >= len(_POWERS_U128) or down >= len(_POWERS_U128):
        raise overflow()
    return u64(u128(usd * _POWERS_U128[up]) // mantissa // _POWERS_U128[down])


def price_e6(price: Price) -> int:
    """Return a price in 1e-6 USD, rounded down; Refused beyond u64."""
    mantissa, exponent = price
    shift = exponent + USD_DIGITS
    if abs(shift) >= len(_POWERS_U64):
        raise overflow()
    return u64(mantissa * _POWERS_U64[shift]) if shift >= 0 else mantissa // _POWERS_U64[-shift]


def capped_at_dollar(price: Price) -> Price:
    """Return the price of a stablecoin, at most one dollar; Refused below an exponent of -19."""
    if price.exponent > 0:
        return price if price.mantissa == 0 else ONE_DOLLAR
    if -price.exponent >= len(_POWERS_U64):
        raise overflow()
    return Price(min(price.mantissa, _POWERS_U64[-price.exponent]), price.exponent)
