"""Positions and markets as every venue shows them."""

from dataclasses import dataclass
from enum import StrEnum


class Side(StrEnum):
    """The direction of a position."""

    LONG = "long"
    SHORT = "short"


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """One isolated-margin position.

    `size` is positive and in the venue's own size unit (the reference venue: 1e-9 base), money in
    1e-6 quote. `generation` tells a re-opened position from the earlier one at the same address.
    `record` is what the venue needs beyond these fields.
    """

    address: str
    owner: str
    market: str
    side: Side
    size: int
    entry_price_e6: int
    collateral: int
    leverage: int
    generation: int
    record: object = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """One market: its symbol, the price account its program reads and the venue's own record.

    `bound_terms` are the terms that liquidation prices depend on: while they and the price account
    stay, a change of the market moves no bound.
    """

    address: str
    symbol: str
    price_account: str
    paused: bool
    max_price_age_s: int
    bound_terms: object = None
    record: object = None
