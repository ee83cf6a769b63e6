"""The rules of a mapped program: which price counts, when a position falls, what closing pays."""

from dataclasses import dataclass

from liqctl.core.fixed import BPS
from liqctl.core.price import PriceSource
from liqctl.venues.mapping_places import PRICE, Field, Place, Places
from liqctl.venues.mapping_text import Table

PYTH, LEGACY, ACCOUNT = "pyth", "pyth_legacy", "account"
_SOURCES = {
    PYTH: PriceSource.PRICE_UPDATE,
    LEGACY: PriceSource.LEGACY,
    ACCOUNT: PriceSource.CUSTOM,
}
RATIO_DECIMALS_MAX = 18
AGE_S_MAX = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Scales:
    """Decimals of size, price and money in the program; a size not in base is money."""

    size: int
    price: int
    quote: int
    in_base: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceMap:
    """Which kind of account holds the price, and what the program demands of it.

    The fields are those of an own price account of the program.
    """

    kind: str
    owner: Place | None
    feed_id: Field | str | None
    age_s_max: int | Field
    confidence_bps_max: int | Field
    price: Field | None = None
    exponent: Field | int = 0
    confidence: Field | None = None
    publish_time: Field | None = None

    @property
    def source(self) -> PriceSource:
        """The kind of account that the price must stand in."""
        return _SOURCES[self.kind]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiers:
    """Ratios by leverage: the first tier whose limit is not below the position's counts."""

    role: str
    limits: tuple[str, ...]
    ratios: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Maintenance:
    """When a position may be liquidated: equity against a ratio of the notional.

    `ratio` has `decimals`: 4 for basis points. The margin is rounded up unless `rounds_down`;
    equity must be below it, or may equal it with `at_margin`.
    """

    ratio: int | Field | Tiers
    decimals: int
    rounds_down: bool
    at_margin: bool

    @property
    def is_usual(self) -> bool:
        """Whether this is basis points, rounded up, and strictly below."""
        return self.decimals == 4 and not self.rounds_down and not self.at_margin


@dataclass(frozen=True, slots=True, kw_only=True)
class Closing:
    """What a liquidation closes and pays; `restores` to a target health, or closes all."""

    restores: bool
    fee_bps: int | Field
    share_bps: int | Field
    min_reward: int | Field
    target_health_bps: int | Field
    min_position_notional: int | Field
    profit_pool: int | Field
    fund_balance: int | Field | None


def read_price(table: Table, places: Places) -> PriceMap:
    """Return what [price] says.

    Raises:
        SettingsError: something is missing or wrong.
    """
    kind = table.choice("kind", (PYTH, LEGACY, ACCOUNT), advice="pyth: PriceUpdateV2")
    own = kind == ACCOUNT
    exponent: Field | int = 0
    if own:
        given = table.any("exponent")
        exponent = (
            places.field(table, "exponent", role=PRICE, kinds="signed")
            if isinstance(given, str)
            else table.whole("exponent", -18, 0)
        )
        for name in ("account", "zero", "extra_bytes"):
            table.any(name)
    found = PriceMap(
        kind=kind,
        owner=None if own else places.place(table, "owner"),
        feed_id=_feed(table, places) if kind == PYTH else None,
        age_s_max=_limit(table, "age_s_max", places, AGE_S_MAX),
        confidence_bps_max=_limit(table, "confidence_bps_max", places, BPS),
        price=places.field(table, "price", role=PRICE, kinds="integer") if own else None,
        exponent=exponent,
        confidence=places.field(table, "confidence", role=PRICE, kinds="integer")
        if own and "confidence" in table
        else None,
        publish_time=places.field(table, "publish_time", role=PRICE, kinds="integer")
        if own
        else None,
    )
    table.done()
    return found


def _feed(table: Table, places: Places) -> Field | str:
    text = table.text("feed_id", "a field of the market that holds it, or 64 hexadecimal digits")
    if len(text) == 64 and all(digit in "0123456789abcdef" for digit in text):
        return text
    return places.checked(table, "feed_id", text, role=None, kinds="bytes")


def _limit(table: Table, name: str, places: Places, most: int) -> int | Field:
    if isinstance(table.any(name), str):
        return places.number(table, name)
    return table.whole(name, 0, most)


def read_maintenance(table: Table, places: Places) -> Maintenance:
    """Return what [maintenance] says.

    Raises:
        SettingsError: something is missing or wrong.
    """
    kind = table.choice("kind", ("fixed", "field", "tiers"))
    unit = table.any("unit")
    decimals = 4
    if "decimals" in table:
        decimals = table.whole("decimals", 0, RATIO_DECIMALS_MAX)
    elif unit is not None and unit != "bps":
        table.refuse("unit", "'bps'", "for another scale leave it out and give `decimals`")
    ratio: int | Field | Tiers
    if kind == "tiers":
        ratio = _tiers(table, places)
    elif kind == "field":
        ratio = places.field(table, "ratio", kinds="integer")
    else:
        ratio = table.whole("ratio", 1, 10**decimals)
    found = Maintenance(
        ratio=ratio,
        decimals=decimals,
        rounds_down=table.choice("rounding", ("up", "down"), default="up") == "down",
        at_margin=table.choice("liquidatable", ("below", "at_or_below"), default="below")
        == "at_or_below",
    )
    table.done()
    return found


def _tiers(table: Table, places: Places) -> Tiers:
    """Return tiers of an array of structs, such as market.tiers[].{max_leverage, ratio}."""
    text = table.text("tiers", "an array such as 'market.tiers'")
    role, _, path = text.partition(".")
    count = places.list_paths(role, path) if role in places.kinds else 0
    if not count:
        table.refuse("tiers", "an array of a fixed length such as 'market.tiers'")
    limit, ratio = (
        table.text("limit", "a field of a tier"),
        table.text("ratio", "a field of a tier"),
    )
    for number in range(count):
        for name, part in (("limit", limit), ("ratio", ratio)):
            places.checked(table, name, f"{path}[{number}].{part}", role=role, kinds="integer")
    if table.any("by") != "position.leverage":
        table.refuse("by", "'position.leverage'", "tiers are chosen by position.leverage")
    return Tiers(
        role=role,
        limits=tuple(f"{path}[{number}].{limit}" for number in range(count)),
        ratios=tuple(f"{path}[{number}].{ratio}" for number in range(count)),
    )


def read_closing(table: Table, places: Places) -> Closing:
    """Return what [closing] says; without it everything is closed for nothing.

    Raises:
        SettingsError: something is missing or wrong.
    """
    restores = table.choice("model", ("full", "restore"), default="full") == "restore"

    def number(name: str, default: int | None) -> int | Field:
        return places.number(table, name, default=default)

    needed = None if restores else 0
    found = Closing(
        restores=restores,
        fee_bps=number("liquidation_fee_bps", needed),
        share_bps=number("liquidator_share_bps", None if restores else BPS),
        min_reward=number("min_reward", 0),
        target_health_bps=number("target_health_bps", needed),
        min_position_notional=number("min_position_notional", 0),
        profit_pool=number("profit_pool", 0),
        fund_balance=number("fund_balance", needed)
        if restores or "fund_balance" in table
        else None,
    )
    table.done()
    return found
