"""Everything behind one verdict: inputs, figures at mid and at both edges, and where it flips."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Protocol, runtime_checkable

from solders.pubkey import Pubkey

from liqctl.chain.client import Chain
from liqctl.core.account import Decoded, Gone, Seen, Undecodable, VenueState
from liqctl.core.health import Assessment
from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Market, Position
from liqctl.core.price import PriceReading, confidence_bps, price_e6
from liqctl.core.whatif import Band, band, reading_of, with_reading
from liqctl.errors import LiqctlError, SettingsError
from liqctl.keeper.decode import decode
from liqctl.keeper.reading import FreshRead, read_fresh
from liqctl.keeper.supposing import Flip, flip, with_price
from liqctl.ports import Venue

READS_MAX = 4
_RANKS = {"position": 0, "market": 1, "collateral": 2}
_ROLES: Mapping[type, str] = {
    Position: "position",
    PriceReading: "price",
    InsuranceState: "insurance_fund",
    Undecodable: "unreadable",
    Gone: "missing",
}


@runtime_checkable
class ShowsSteps(Protocol):
    """A venue that can tell how its verdict comes about, figure by figure."""

    def steps(
        self, position: Position, view: Mapping[str, Seen], now_s: int
    ) -> tuple[tuple[str, int], ...]:
        """Return the figures in the order of the arithmetic, units at the end of their names."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One account that the verdict rests on, as it was read."""

    role: str
    address: str
    slot: int
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """One published price that the verdict rests on; supposed ones were never published.

    `price_e6` and `confidence_e6` are in 1e-6 quote, None where they cannot be shown so.
    """

    symbol: str
    account: str
    slot: int
    source: str
    price_e6: int | None
    confidence_e6: int | None
    confidence_bps: int
    publish_time_s: int
    age_s: int
    supposed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One position, and what its venue makes of it.

    `low` and `high` are the verdicts at the edges of the confidence of the market's price; None
    without a price. `at_flip` is the verdict at the last price that is liquidatable.
    """

    position: Position
    view: Mapping[str, Seen]
    slot: int
    now_s: int
    inputs: tuple[Input, ...]
    prices: tuple[Price, ...]
    supposed: Mapping[str, int]
    mid: Assessment
    low: Assessment | None = None
    high: Assessment | None = None
    flip: Flip | None = None
    at_flip: Assessment | None = None
    steps: tuple[tuple[str, int], ...] = field(default_factory=tuple)


async def read_whole(venue: Venue, chain: Chain, address: str) -> FreshRead | Decoded:
    """Return a position with all it depends on, in one slot; else what is at the address.

    Raises:
        RpcError: the node did not answer.
        LiqctlError: the position changed between the reads.
    """
    found = await chain.accounts([address])
    seen = decode(venue, address, found.by_address.get(address), found.slot)
    if not isinstance(seen.value, Position):
        return seen.value
    position, view = seen.value, {address: seen}
    for _ in range(READS_MAX):
        read = await read_fresh(venue, chain, position, view)
        if read.position is None:
            break
        # What an account names is known only after it was read.
        position, view = read.position, dict(read.view)
        if view.keys() >= set(venue.dependencies(position, view)):
            return read
    raise LiqctlError(f"{address} was closed or changed while it was being read; try again")


def explain(
    venue: Venue,
    position: Position,
    view: Mapping[str, Seen],
    now_s: int,
    supposed: Mapping[str, int],
) -> Explanation:
    """Return the whole arithmetic on what a view shows, with some prices supposed.

    `supposed` are prices in 1e-6 quote by symbol, or by the market's address.

    Raises:
        SettingsError: the verdict depends on no market of such a name, or its price account
            holds no price to put another in the place of.
    """
    named = {*venue.dependencies(position, view), position.address}
    shown = {address: view[address] for address in sorted(named) if address in view}
    shown = _with_supposed(venue, shown, supposed, now_s)
    mid = venue.assess(position, shown, now_s)
    turned = flip(venue, position, shown, now_s)
    market = _market(shown, position)
    low = high = at_flip = None
    if market is not None and (edges := _edges(venue, market, shown)) is not None:
        low, high = (
            venue.assess(position, with_reading(venue, market, shown, edge), now_s)
            for edge in (edges.low, edges.high)
        )
    if market is not None and turned is not None:
        there = with_price(venue, market, shown, turned.liquidatable_e6, now_s)
        at_flip = None if there is None else venue.assess(position, there, now_s)
    return Explanation(
        position=position,
        view=shown,
        slot=max((one.slot for one in shown.values()), default=0),
        now_s=now_s,
        inputs=_inputs(position, shown),
        prices=_prices(venue, shown, supposed, now_s),
        supposed=dict(supposed),
        mid=mid,
        low=low,
        high=high,
        flip=turned,
        at_flip=at_flip,
        steps=_steps(venue, position, shown, now_s, mid),
    )


def _with_supposed(
    venue: Venue, view: Mapping[str, Seen], supposed: Mapping[str, int], now_s: int
) -> dict[str, Seen]:
    changed = dict(view)
    markets = [one.value for one in view.values() if isinstance(one.value, Market)]
    for name, price in supposed.items():
        meant = [one for one in markets if name in {one.symbol, one.address}]
        if not meant:
            known = ", ".join(sorted({one.symbol for one in markets})) or "none is known"
            raise SettingsError(
                f"--price {name}: the position depends on no such market; it has: {known}"
            )
        for market in meant:
            other = with_price(venue, market, changed, price, now_s)
            if other is None:
                raise SettingsError(
                    f"--price {name}: {market.price_account} holds no price to replace"
                )
            changed = dict(other)
    return changed


def _market(view: Mapping[str, Seen], position: Position) -> Market | None:
    seen = view.get(position.market)
    return seen.value if seen is not None and isinstance(seen.value, Market) else None


def _edges(venue: Venue, market: Market, view: Mapping[str, Seen]) -> Band | None:
    reading = reading_of(venue, market, view)
    return None if reading is None else band(reading)


def _prices(
    venue: Venue, view: Mapping[str, Seen], supposed: Mapping[str, int], now_s: int
) -> tuple[Price, ...]:
    found: dict[tuple[str, str], Price] = {}
    for market in [one.value for one in view.values() if isinstance(one.value, Market)]:
        reading = reading_of(venue, market, view)
        if reading is None:
            continue
        absurd = abs(reading.exponent) > 30
        found[reading.address, reading.feed_id] = Price(
            symbol=market.symbol,
            account=reading.address,
            slot=view[market.price_account].slot,
            source=reading.source.value,
            price_e6=None if absurd else price_e6(reading.mantissa, reading.exponent),
            confidence_e6=None if absurd else price_e6(reading.confidence, reading.exponent),
            confidence_bps=confidence_bps(reading),
            publish_time_s=reading.publish_time,
            age_s=now_s - reading.publish_time,
            supposed=not supposed.keys().isdisjoint({market.symbol, market.address}),
        )
    return tuple(found.values())


def _inputs(position: Position, view: Mapping[str, Seen]) -> tuple[Input, ...]:
    """Return the accounts, the position first, then the market."""
    found = [
        Input(
            role=_role(position, seen),
            address=seen.address,
            slot=seen.slot,
            fields=_plain(seen.value),
        )
        for seen in view.values()
    ]
    return tuple(sorted(found, key=lambda one: _RANKS.get(one.role, len(_RANKS))))


def _role(position: Position, seen: Seen) -> str:
    match seen.value:
        case Market():
            return "market" if seen.address == position.market else "collateral"
        case VenueState(kind=kind):
            return kind
        case value:
            return next(role for kind, role in _ROLES.items() if isinstance(value, kind))


def _plain(value: object, prefix: str = "") -> dict[str, object]:
    """Return every field of a value by path, as text and integers; keys in base58."""
    if is_dataclass(value) and not isinstance(value, type):
        members = {one.name: getattr(value, one.name) for one in fields(value)}
    elif isinstance(value, tuple) and (names := getattr(value, "_fields", None)):
        members = dict(zip(names, value, strict=True))
    elif isinstance(value, Mapping):
        members = {str(name): member for name, member in value.items()}
    else:
        return {prefix: _scalar(value)}
    found: dict[str, object] = {}
    for name, member in members.items():
        # The record holds the program's own fields; the common ones stand beside it.
        path = prefix if name == "record" else f"{prefix}.{name}" if prefix else name
        if member is not None and not name.startswith(("reserved", "padding")):
            found |= {**_plain(member, path), **found}
    return found


def _scalar(value: object) -> object:
    match value:
        case bytes() if len(value) == 32:
            return str(Pubkey(value))
        case bytes():
            return value.hex()
        case tuple() | list():
            return [_scalar(one) for one in value]
        case bool() | int():
            return int(value)
        case _:
            return str(value)


def _steps(
    venue: Venue, position: Position, view: Mapping[str, Seen], now_s: int, mid: Assessment
) -> tuple[tuple[str, int], ...]:
    """Return the venue's own figures, or those that every assessment has."""
    if isinstance(venue, ShowsSteps):
        return venue.steps(position, view, now_s)
    if not mid.notional or (mid.liquidatable is None and not mid.maintenance_margin):
        return ()
    return (
        ("mark_price_e6", mid.price_e6),
        ("notional_e6", mid.notional),
        ("unrealized_pnl_e6", mid.equity - position.collateral),
        ("equity_e6", mid.equity),
        ("maintenance_margin_e6", mid.maintenance_margin),
    )
