"""Price paths, one quote per market and slot: random walk, scripted crash, replay of a file."""

import csv
import decimal
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from liqctl.errors import SettingsError
from liqctl.ports import Rng

PPM = 1_000_000
CONFIDENCE_BPS = 5
_BPS = 10_000
_E8 = 100_000_000
_PRICE_E8_MAX = 10**17
_NOISE_PPM_MAX = 500_000
_PULL_SLOTS = 80

Script = Sequence[tuple[int, int]]
"""(slot, level in ppm of the start price): the level moves in a straight line from one to the next."""

CYCLE_SLOTS = 300
CRASH: Script = (
    (0, PPM),
    (2, PPM),
    (6, 997_000),
    (20, PPM),
    (34, 999_500),
    (84, 973_000),
    (106, 986_000),
    (150, 985_000),
    (240, PPM),
    (CYCLE_SLOTS, PPM),
)
GAP: Script = (
    (0, PPM),
    (10, PPM),
    (14, 998_000),
    (22, PPM),
    (90, 998_000),
    (117, 997_000),
    (118, 979_000),
    (140, 990_000),
    (240, PPM),
    (CYCLE_SLOTS, PPM),
)
RALLY: Script = (
    (0, PPM),
    (20, PPM),
    (26, 1_002_500),
    (34, PPM),
    (84, 992_000),
    (100, 998_000),
    (145, 1_015_000),
    (240, PPM),
    (CYCLE_SLOTS, PPM),
)
_SCRIPTS = (CRASH, GAP, RALLY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """One published price and its confidence, both in 1e-8 quote."""

    price_e8: int
    confidence_e8: int

    @classmethod
    def of(cls, price_e8: int) -> "Quote":
        """Return a quote with the usual confidence of 5 bps, rounded up."""
        return cls(price_e8=price_e8, confidence_e8=-(-price_e8 * CONFIDENCE_BPS // _BPS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """Where the price of a market starts and how much it trembles in one slot."""

    symbol: str
    price_e8: int
    volatility_ppm: int


class PricePath(Protocol):
    """A sequence of quotes; the same arguments give the same sequence."""

    def step(self) -> Mapping[str, Quote]:
        """Move on by one slot and return the quotes of all markets."""
        ...


class CalmPath:
    """A random walk around the start price that is pulled back to it."""

    def __init__(self, starts: Sequence[Start], rng: Rng) -> None:
        """Begin at the start prices."""
        self._starts = tuple(starts)
        self._rng = rng
        self._noise_ppm = dict.fromkeys((one.symbol for one in starts), 0)
        self.slot = 0

    def step(self) -> Mapping[str, Quote]:
        """Move on by one slot and return the quotes of all markets."""
        self.slot += 1
        return {one.symbol: self._quote(index, one) for index, one in enumerate(self._starts)}

    def _level_ppm(self, market: int) -> int:  # noqa: ARG002 - a scripted path asks which market
        return PPM

    def _quote(self, market: int, start: Start) -> Quote:
        # Three uniform numbers: a bell without tails, standard deviation 1/2. The noise is an
        # integer from here on, so that no platform rounds the path differently.
        bell = sum(self._rng.random() for _ in range(3)) - 1.5
        noise = self._noise_ppm[start.symbol]
        noise += int(bell * 2 * start.volatility_ppm) - noise // _PULL_SLOTS
        noise = max(min(noise, _NOISE_PPM_MAX), -_NOISE_PPM_MAX)
        self._noise_ppm[start.symbol] = noise
        level = self._level_ppm(market) * (PPM + noise) // PPM
        return Quote.of(max(start.price_e8 * level // PPM, 1))


class CrashPath(CalmPath):
    """The random walk on top of a script of 300 slots that repeats with the roles exchanged.

    In each cycle one market dips, slides and recovers in part, the next one falls in a single
    slot, and all others sag and rally; everything ends where it began.
    """

    def _level_ppm(self, market: int) -> int:
        cycle, slot = divmod(self.slot, CYCLE_SLOTS)
        role = (market - cycle) % len(self._starts)
        return level_at(_SCRIPTS[min(role, len(_SCRIPTS) - 1)], slot)


class ReplayPath:
    """The quotes of a file, each from its time on; the last ones stay."""

    def __init__(self, rows: Iterable["Row"], slot_ms: int) -> None:
        """Begin at offset 0."""
        self._rows = deque(sorted(rows, key=lambda row: row.offset_ms))
        self._slot_ms = slot_ms
        self._slot = 0
        self._quotes: dict[str, Quote] = {}

    def step(self) -> Mapping[str, Quote]:
        """Move on by one slot; a market has no quote before its first row."""
        self._slot += 1
        while self._rows and self._rows[0].offset_ms <= self._slot * self._slot_ms:
            row = self._rows.popleft()
            self._quotes[row.symbol] = row.quote
        return dict(self._quotes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a price file."""

    offset_ms: int
    symbol: str
    quote: Quote


def level_at(script: Script, slot: int) -> int:
    """Return the level of a script at a slot, rounded down.

    >>> level_at(((0, 1_000_000), (10, 900_000)), 5)
    950000
    """
    for (before, low), (after, high) in pairwise(script):
        if slot <= after:
            return low + (high - low) * (slot - before) // (after - before)
    return script[-1][1]


def read_rows(path: Path, symbols: Sequence[str]) -> list[Row]:
    """Return the rows of a CSV file `unix_ms_offset,symbol,price[,confidence]`.

    A first line with these names, empty lines and lines that start with # are passed over. Prices
    are exact to 1e-8; more digits are refused. Without a confidence it is 5 bps.

    Raises:
        SettingsError: the file cannot be read or a line is wrong; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise SettingsError(f"price file {path}: {reason}") from error
    rows: list[Row] = []
    for number, cells in enumerate(csv.reader(text.splitlines()), start=1):
        fields = [cell.strip() for cell in cells]
        if not any(fields) or fields[0].startswith("#") or fields[0] == "unix_ms_offset":
            continue
        try:
            rows.append(_row(fields, symbols))
        except ValueError as error:
            raise SettingsError(f"price file {path}, line {number}: {error}") from error
    if not rows:
        raise SettingsError(f"price file {path}: no prices in it")
    return rows


def _row(fields: Sequence[str], symbols: Sequence[str]) -> Row:
    if len(fields) not in {3, 4}:
        raise ValueError(f"expected 3 or 4 fields, found {len(fields)}")
    offset, symbol, price, *confidence = fields
    if not (offset.isascii() and offset.isdigit()):
        raise ValueError(f"unix_ms_offset must be a whole number, was {offset!r}")
    if symbol not in symbols:
        raise ValueError(f"unknown symbol {symbol!r}; the markets are {', '.join(symbols)}")
    quote = Quote.of(_units(price, "price", least=1))
    if confidence and confidence[0]:
        units = _units(confidence[0], "confidence", least=0)
        quote = Quote(price_e8=quote.price_e8, confidence_e8=units)
    return Row(offset_ms=int(offset), symbol=symbol, quote=quote)


def _units(text: str, name: str, *, least: int) -> int:
    try:
        units = Decimal(text) * _E8
        if units == units.to_integral_value() and least <= units <= _PRICE_E8_MAX:
            return int(units)
    except decimal.DecimalException:  # no number, or one beyond every exponent
        pass
    raise ValueError(f"{name} must be a decimal number with up to 8 places, was {text!r}")
