"""The book in numpy columns: one comparison over a column instead of a walk over positions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from liqctl.core.book import moved_e6
from liqctl.core.position import Side

CAPACITY_MIN = 512


@dataclass(slots=True)
class Column:
    """Keys of one (price account, side): bound for longs, -bound for shorts; -inf is free.

    A key is rounded away from the price, so that float64 can only add candidates, never lose one.
    """

    keys: NDArray[np.float64] = field(default_factory=lambda: np.full(CAPACITY_MIN, -np.inf))
    rows: list[str] = field(default_factory=list)
    free: list[int] = field(default_factory=list)
    top: float = -np.inf

    def put(self, position: str, key: float) -> int:
        """Store a key and return its row."""
        if self.free:
            row = self.free.pop()
            self.rows[row] = position
        else:
            row = len(self.rows)
            self.rows.append(position)
            if row == len(self.keys):
                grown = np.full(len(self.keys) * 5 // 4 + CAPACITY_MIN, -np.inf)
                grown[:row] = self.keys
                self.keys = grown
        self.move(row, key)
        return row

    def move(self, row: int, key: float) -> None:
        """Change a key."""
        old = self.keys[row]
        self.keys[row] = key
        if key >= self.top:
            self.top = key
        elif old == self.top:
            self.top = float(self.keys.max())

    def drop(self, row: int) -> None:
        """Free a row."""
        self.move(row, -np.inf)
        self.free.append(row)

    def at_least(self, threshold: float) -> list[str]:
        """Return the positions whose key is not below the threshold."""
        if self.top < threshold:
            return []
        return [self.rows[i] for i in np.flatnonzero(self.keys[: len(self.rows)] >= threshold)]

    def counts(self, thresholds: Sequence[float]) -> list[int]:
        """Return for each threshold how many keys are not below it."""
        lowest = min(thresholds, default=np.inf)
        if self.top < lowest:
            return [0] * len(thresholds)
        keys = self.keys[: len(self.rows)]
        found = np.sort(keys[keys >= lowest])
        return [len(found) - int(at) for at in np.searchsorted(found, thresholds)]

    def highest(self, limit: int) -> list[tuple[float, str]]:
        """Return the positions with the highest keys, highest first."""
        keys = self.keys[: len(self.rows)]
        if len(keys) > limit:
            found = np.argpartition(keys, -limit)[-limit:]
        else:
            found = np.arange(len(keys))
        order = found[np.argsort(-keys[found], kind="stable")]
        return [(float(keys[i]), self.rows[i]) for i in order if keys[i] != -np.inf]


class ColumnBook:
    """A Book over columns; same answers as `core.book.PlainBook`, or more candidates."""

    def __init__(self) -> None:
        """Start empty."""
        self._columns: dict[tuple[str, Side], Column] = {}
        self._places: dict[str, tuple[Column, int, tuple[str, Side]]] = {}

    def put(self, position: str, price_account: str, side: Side, bound_e6: int | None) -> None:
        """Insert or move a position."""
        key = _key(side, bound_e6)
        place = self._places.get(position)
        if place is not None:
            column, row, home = place
            if home == (price_account, side):
                column.move(row, key)
                return
            column.drop(row)
        column = self._columns.setdefault((price_account, side), Column())
        self._places[position] = (column, column.put(position, key), (price_account, side))

    def remove(self, position: str) -> None:
        """Forget a position; unknown ones are ignored."""
        place = self._places.pop(position, None)
        if place is not None:
            place[0].drop(place[1])

    def crossed(self, price_account: str, price_e6: int) -> list[str]:
        """Return every position of the account that may be liquidatable at the price."""
        found: list[str] = []
        for side in Side:
            column = self._columns.get((price_account, side))
            if column is not None:
                found += column.at_least(_threshold(side, price_e6))
        return found

    def closest(self, price_account: str, price_e6: int, limit: int) -> list[str]:
        """Return the positions whose bounds lie nearest to the price, nearest first."""
        found: list[tuple[float, str]] = []
        for side in Side:
            column = self._columns.get((price_account, side))
            if column is not None:
                threshold = _threshold(side, price_e6)
                found += [(threshold - key, position) for key, position in column.highest(limit)]
        return [position for _, position in sorted(found)[:limit]]

    def near(self, price_account: str, price_e6: int, within_bps: Sequence[int]) -> list[int]:
        """Return for each distance how many bounds the price would reach by moving so far."""
        total = [0] * len(within_bps)
        for side in Side:
            column = self._columns.get((price_account, side))
            if column is not None:
                moved = [_threshold(side, moved_e6(side, price_e6, bps)) for bps in within_bps]
                total = [a + b for a, b in zip(total, column.counts(moved), strict=True)]
        return total


def _key(side: Side, bound_e6: int | None) -> float:
    """Return the sort key, one float step towards "crossed" to cover the rounding of both sides."""
    if bound_e6 is None:
        return float("inf")
    signed = bound_e6 if side is Side.LONG else -bound_e6
    return math.nextafter(float(signed), math.inf)


def _threshold(side: Side, price_e6: int) -> float:
    signed = price_e6 if side is Side.LONG else -price_e6
    return math.nextafter(float(signed), -math.inf)
