"""Which positions a price crosses: the index behind the engine, and the plain one beside it."""

from collections.abc import Sequence
from typing import Protocol

from liqctl.core.fixed import BPS
from liqctl.core.position import Side


class Book(Protocol):
    """Liquidation-price bounds by price account.

    A bound is a price that the exact liquidation price cannot lie beyond: a long can only be
    liquidatable at or below it, a short at or above it. None means: always a candidate. The book
    may return too many positions, never too few; the venue decides each one exactly.
    """

    def put(self, position: str, price_account: str, side: Side, bound_e6: int | None) -> None:
        """Insert or move a position."""
        ...

    def remove(self, position: str) -> None:
        """Forget a position; unknown ones are ignored."""
        ...

    def crossed(self, price_account: str, price_e6: int) -> list[str]:
        """Return every position of the account that may be liquidatable at the price."""
        ...

    def closest(self, price_account: str, price_e6: int, limit: int) -> list[str]:
        """Return the positions whose bounds lie nearest to the price, nearest first."""
        ...

    def near(self, price_account: str, price_e6: int, within_bps: Sequence[int]) -> list[int]:
        """Return for each distance how many bounds the price would reach by moving so far."""
        ...


class PlainBook:
    """The same by looking at every position: the yardstick for every faster book."""

    def __init__(self) -> None:
        """Start empty."""
        self._bounds: dict[str, tuple[str, Side, int | None]] = {}

    def put(self, position: str, price_account: str, side: Side, bound_e6: int | None) -> None:
        """Insert or move a position."""
        self._bounds[position] = (price_account, side, bound_e6)

    def remove(self, position: str) -> None:
        """Forget a position; unknown ones are ignored."""
        self._bounds.pop(position, None)

    def crossed(self, price_account: str, price_e6: int) -> list[str]:
        """Return every position of the account that may be liquidatable at the price."""
        return [
            position
            for position, (account, side, bound) in self._bounds.items()
            if account == price_account and _crosses(side, bound, price_e6)
        ]

    def closest(self, price_account: str, price_e6: int, limit: int) -> list[str]:
        """Return the positions whose bounds lie nearest to the price, nearest first."""
        distances = sorted(
            (0 if bound is None else _distance(side, bound, price_e6), position)
            for position, (account, side, bound) in self._bounds.items()
            if account == price_account
        )
        return [position for _, position in distances[:limit]]

    def near(self, price_account: str, price_e6: int, within_bps: Sequence[int]) -> list[int]:
        """Return for each distance how many bounds the price would reach by moving so far."""
        own = [(side, bound) for at, side, bound in self._bounds.values() if at == price_account]
        return [
            sum(_crosses(side, bound, moved_e6(side, price_e6, bps)) for side, bound in own)
            for bps in within_bps
        ]


def moved_e6(side: Side, price_e6: int, bps: int) -> int:
    """Return the price after it moved so far against a side, rounded away from where it was.

    >>> moved_e6(Side.LONG, 999, 50), moved_e6(Side.SHORT, 999, 50)
    (994, 1004)
    """
    if side is Side.LONG:
        return price_e6 * (BPS - bps) // BPS
    return -(-price_e6 * (BPS + bps) // BPS)


def _crosses(side: Side, bound: int | None, price_e6: int) -> bool:
    if bound is None:
        return True
    return price_e6 <= bound if side is Side.LONG else price_e6 >= bound


def _distance(side: Side, bound: int, price_e6: int) -> int:
    return price_e6 - bound if side is Side.LONG else bound - price_e6
