"""Markets of several venues side by side."""

from collections.abc import Sequence
from typing import Protocol


class OfMarket(Protocol):
    """A record of one market."""

    @property
    def venue(self) -> str:
        """The venue's name."""
        ...

    @property
    def symbol(self) -> str:
        """The market's symbol, which another venue may have too."""
        ...


def market_names(rows: Sequence[OfMarket]) -> list[str]:
    """Return the market of each row, with its venue before it where there are several."""
    several = len({row.venue for row in rows}) > 1
    return [f"{row.venue} {row.symbol}" if several else row.symbol for row in rows]
