"""Seeded traders: who opens which position, when, how large and how close to liquidation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from solders.keypair import Keypair
from solders.pubkey import Pubkey

from liqctl.core.fixed import BPS
from liqctl.core.instruction import Instruction
from liqctl.localnet.genesis import PROGRAM_ID, QUOTE_UNIT, Addresses, call, key_of
from liqctl.localnet.markets import MarketSpec
from liqctl.localnet.paths import PPM
from liqctl.ports import Rng
from liqctl.venues.tokens import associated_token_account

ENTRY_LEVELS_PPM = tuple(range(960_000, 1_040_001, 5_000))
"""Prices of the past at which positions were opened, in ppm of the start price."""

POSITIONS_PER_TRADER = 2
_BATCH = 4
_SIZE_SCALE = 10**9
_LEVERAGES = (2, 2, 3, 5, 5, 5, 10, 10, 20, 50)
_NOTIONALS = (80, 150, 300, 300, 600, 1_200, 2_500, 2_500, 5_000, 12_000)
_EDGE_EVERY = 25
_EDGE_LEVERAGE_MIN = 20
_DOOMED_TURNS = 4
_DOOMED_DISTANCE_BPS = 65
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One position to open: size in 1e-9 base with the side as its sign, collateral in 1e-6 quote.

    `level_ppm` is the entry price in ppm of the start price; `trader` and `number` name it.
    """

    trader: int
    number: int
    market: MarketSpec
    level_ppm: int
    size: int
    collateral: int
    leverage: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a trader wants before the rules of the market are applied.

    `distance_bps` is how far from the start price the liquidation price should lie.
    """

    market: MarketSpec
    is_long: bool
    leverage: int
    notional: int
    distance_bps: int


def draw_orders(positions: int, specs: Sequence[MarketSpec], rng: Rng) -> list[Order]:
    """Return the orders of all traders; the same chance gives the same orders.

    Every 25th position is at the edge, a few bps from liquidation, and every 100th will owe more
    than it has when the second market falls. The others keep between a third and nearly twice the
    distance that their leverage leaves. The rules of the market win: where the least collateral
    they allow is more than the wish needs, the distance is larger.
    """
    traders = max(1, positions // POSITIONS_PER_TRADER)
    return [_order(index, traders, _wish(index, specs, rng), rng) for index in range(positions)]


def batches(orders: Sequence[Order]) -> Iterator[Sequence[Order]]:
    """Yield the orders in groups of one market that fit into one transaction each."""
    symbols = dict.fromkeys(order.market.symbol for order in orders)
    for symbol in symbols:
        alike = [order for order in orders if order.market.symbol == symbol]
        for first in range(0, len(alike), _BATCH):
            yield alike[first : first + _BATCH]


def trader_key(seed: int, trader: int) -> Keypair:
    """Return the key of a trader."""
    return key_of(seed, f"trader {trader}")


def opening(order: Order, owner: Keypair, addresses: Addresses) -> Instruction:
    """Return the call of `open_position` for an order."""
    address = str(owner.pubkey())
    market = addresses.markets[order.market.symbol]
    return call(
        addresses,
        "open_position",
        {
            "owner": address,
            "market": market,
            "position": position_address(address, market, order.number, addresses.program),
            "price_account": str(order.market.price_account),
            "owner_token": associated_token_account(address, addresses.mint),
        },
        {
            "id": order.number,
            "size": order.size,
            "collateral": order.collateral,
            "leverage": order.leverage,
        },
    )


def position_address(owner: str, market: str, number: int, program: str = PROGRAM_ID) -> str:
    """Return where the program keeps an owner's position with this number in a market."""
    seeds = [
        b"position",
        bytes(Pubkey.from_string(owner)),
        bytes(Pubkey.from_string(market)),
        number.to_bytes(8, "little"),
    ]
    return str(Pubkey.find_program_address(seeds, Pubkey.from_string(program))[0])


def _wish(index: int, specs: Sequence[MarketSpec], rng: Rng) -> Wish:
    turn, place = divmod(index, _EDGE_EVERY)
    if place == 0:
        return _edge_wish(turn, specs, rng)
    if place == 1 and turn % _DOOMED_TURNS == 0:
        return _doomed_wish(specs[1 % len(specs)], rng)
    market = specs[index % len(specs)]
    leverage = min(_pick(_LEVERAGES, rng), market.leverages[-1])
    natural_bps = BPS // leverage - market.maintenance_bps(leverage)
    return Wish(
        market=market,
        is_long=rng.random() < 0.55,
        leverage=leverage,
        notional=_notional(rng),
        distance_bps=int(natural_bps * (0.35 + 1.5 * rng.random())),
    )


def _edge_wish(turn: int, specs: Sequence[MarketSpec], rng: Rng) -> Wish:
    """Return a wish 3 to 59 bps from liquidation; in the first market they are longs."""
    market = specs[turn % len(specs)]
    return Wish(
        market=market,
        is_long=turn % len(specs) == 0 or rng.random() < 0.5,
        leverage=_pick([each for each in market.leverages if each >= _EDGE_LEVERAGE_MIN], rng),
        notional=_notional(rng),
        distance_bps=3 + 7 * turn % 57,
    )


def _doomed_wish(market: MarketSpec, rng: Rng) -> Wish:
    """Return a long that the walk spares and a fall by 2 % in one slot leaves with a debt."""
    return Wish(
        market=market,
        is_long=True,
        leverage=market.leverages[-1],
        notional=_notional(rng),
        distance_bps=_DOOMED_DISTANCE_BPS,
    )


def _order(index: int, traders: int, wish: Wish, rng: Rng) -> Order:
    number, trader = divmod(index, traders)
    start_e6 = wish.market.start_price_e8 // 100
    size = max(wish.notional * _SIZE_SCALE // start_e6, 1)
    feasible = [each for each in ENTRY_LEVELS_PPM if _collateral_spare(wish, size, each) >= 0]
    closest = ENTRY_LEVELS_PPM[-1 if wish.is_long else 0]
    level = _pick(feasible, rng) if feasible else closest
    least = _initial_margin(wish, size, level)
    return Order(
        trader=trader,
        number=number,
        market=wish.market,
        level_ppm=level,
        size=size if wish.is_long else -size,
        collateral=least + max(_collateral_spare(wish, size, level), 0),
        leverage=wish.leverage,
    )


def _collateral_spare(wish: Wish, size: int, level_ppm: int) -> int:
    """Return the collateral beyond the initial margin that puts the liquidation price in place."""
    sign = 1 if wish.is_long else -1
    start_e6 = wish.market.start_price_e8 // 100
    line_e6 = start_e6 * (BPS - sign * wish.distance_bps) // BPS
    entry_notional = size * _entry_e6(wish, level_ppm) // _SIZE_SCALE
    line_notional = size * line_e6 // _SIZE_SCALE
    margin = line_notional * wish.market.maintenance_bps(wish.leverage) // BPS
    needed = margin + sign * (entry_notional - line_notional)
    return needed - _initial_margin(wish, size, level_ppm)


def _initial_margin(wish: Wish, size: int, level_ppm: int) -> int:
    """Return the least collateral the program takes, one unit more for its own rounding."""
    return size * _entry_e6(wish, level_ppm) // _SIZE_SCALE // wish.leverage + 1


def _entry_e6(wish: Wish, level_ppm: int) -> int:
    return wish.market.start_price_e8 * level_ppm // PPM // 100


def _notional(rng: Rng) -> int:
    return int(_pick(_NOTIONALS, rng) * QUOTE_UNIT * (0.8 + 0.4 * rng.random()))


def _pick(choices: Sequence[_T], rng: Rng) -> _T:
    return choices[int(rng.random() * len(choices))]
