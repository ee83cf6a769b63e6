"""What the core asks a venue."""

from collections.abc import Mapping
from typing import Protocol

from liqctl.core.account import Seen
from liqctl.core.health import Assessment
from liqctl.core.position import Market, Position


class Judge(Protocol):
    """The part of a venue that gives verdicts."""

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the exact verdict."""
        ...

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the price that verdicts of the market use, or the word why there is none."""
        ...

    def bound_price_e6(self, position: Position, view: Mapping[str, Seen]) -> int | None:
        """Return a price that the liquidation price cannot lie beyond; None: always look."""
        ...

    def dependencies(self, position: Position, view: Mapping[str, Seen]) -> tuple[str, ...]:
        """Return the addresses that the verdict depends on, as far as known."""
        ...
