"""What people and scripts see: data on stdout, everything else on stderr."""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from liqctl.cli.redact import escape

LAMPORTS_PER_SOL_DIGITS = 9
QUOTE_DIGITS = 6
PIPE_WIDTH = 200
TABLE_WIDTH_MIN = 150
EXPLORER = "https://explorer.solana.com/tx/"


class Screen:
    """The two consoles of one command."""

    def __init__(self, *, no_color: bool = False) -> None:
        """Open both; without colour no escape sequence is written at all."""
        self.out = _console(no_color=no_color, stderr=False)
        self.err = _console(no_color=no_color, stderr=True)

    def print(self, text: str) -> None:
        """Write one line of data."""
        self.out.print(Text(escape(text)), soft_wrap=True)

    def note(self, text: str) -> None:
        """Write one line for the person at the terminal."""
        self.err.print(Text(escape(text)), soft_wrap=True)

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], *, right: Sequence[str] = ()
    ) -> None:
        """Write a plain table to stdout; cells are escaped, columns in `right` right-aligned."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in columns:
            table.add_column(
                column, justify="right" if column in right else "left", overflow="fold"
            )
        for row in rows:
            table.add_row(*(Text(escape(str(cell))) for cell in row))
        # An address must stay in one piece to be copied, however narrow the terminal is.
        self.out.width = max(self.out.width, TABLE_WIDTH_MIN)
        with self.out.capture() as captured:
            self.out.print(table)
        for line in captured.get().splitlines():
            self.out.file.write(line.rstrip() + "\n")

    def json(self, value: object) -> None:
        """Write one JSON document on one line."""
        self.out.file.write(json_line(value) + "\n")
        self.out.file.flush()


def json_line(value: object) -> str:
    """Return JSON on one line: integers stay integers, infinite or undefined floats become null.

    >>> json_line({"health": float("inf"), "reward": 2**60})
    '{"health":null,"reward":1152921504606846976}'
    """
    return json.dumps(_plain(value), separators=(",", ":"), allow_nan=False)


def decimal(units: int, digits: int) -> str:
    """Return an integer of 10^-digits units as an exact decimal with thousands separators.

    >>> decimal(-1_234_500_000, 6), decimal(5, 0)
    ('-1,234.5', '5')
    """
    whole, rest = divmod(abs(units), 10**digits)
    fraction = f"{rest:0{digits}d}".rstrip("0") if digits else ""
    return f"{'-' if units < 0 else ''}{whole:,}{'.' if fraction else ''}{fraction}"


def lamports(amount: int) -> str:
    """Return an amount in both units.

    >>> lamports(200_000)
    '200,000 lamports (0.0002 SOL)'
    """
    return f"{amount:,} lamports ({decimal(amount, LAMPORTS_PER_SOL_DIGITS)} SOL)"


def quote(amount: int, digits: int = QUOTE_DIGITS) -> str:
    """Return quote units as a decimal with at least two places.

    >>> quote(1_500_000), quote(1)
    ('1.50', '0.000001')
    """
    whole, _, fraction = decimal(amount, digits).partition(".")
    return f"{whole}.{fraction:0<2}"


def health(value: float) -> str:
    """Return health with four places, never rounded up to the line.

    >>> health(0.99999), health(float("inf"))
    ('0.9999', 'inf')
    """
    return f"{math.floor(value * 10_000) / 10_000:.4f}" if math.isfinite(value) else str(value)


def _console(*, no_color: bool, stderr: bool) -> Console:
    plain = no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    console = Console(
        stderr=stderr,
        color_system=None if plain else "auto",
        markup=False,
        emoji=False,
        highlight=False,
    )
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = PIPE_WIDTH  # nobody wants rows cut at 80 in a file
    return console


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value
