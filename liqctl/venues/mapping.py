"""The mapping of a user's own program: what its accounts, rules and instructions mean."""

import datetime
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from liqctl.core.instruction import Outcome
from liqctl.errors import LayoutError, SettingsError
from liqctl.venues.idl import Idl
from liqctl.venues.mapping_calls import Call, read_call
from liqctl.venues.mapping_outcomes import (
    EventMap,
    InsuranceMap,
    read_event,
    read_insurance,
    read_outcomes,
)
from liqctl.venues.mapping_places import (
    INTEGERS,
    MARKET,
    POSITION,
    PRICE,
    RESERVED,
    SIGNER,
    Field,
    Fixed,
    Place,
    Places,
    is_key,
    mentioned,
    refuse_cycle,
    roots,
)
from liqctl.venues.mapping_rules import (
    Closing,
    Maintenance,
    PriceMap,
    Scales,
    read_closing,
    read_maintenance,
    read_price,
)
from liqctl.venues.mapping_text import Table

DECIMALS_MAX = 18
EXTRA_MAX = 4_096
BASE, QUOTE = "base", "quote"
ACCOUNT_KEYS = ("account", "zero", "extra_bytes")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountMap:
    """One account kind of the program: its first bytes, size and fields that must be zero."""

    role: str
    account: str
    head: bytes
    extra: int = 0
    zero: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SideMap:
    """The field that tells long from short; without numbers its sign does."""

    field: Field
    long: int | None = None
    short: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionMap:
    """Which field of a position is what."""

    owner: Field
    market: Field
    size: Field
    entry_price: Field
    collateral: Field
    side: SideMap
    open: Field | None
    leverage: Field | None
    generation: Field | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MarketMap:
    """Which field of a market is what; `price_account` is made of the market's fields."""

    symbol: Field | None
    symbols: Mapping[str, str]
    paused: Field | None
    price_account: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class VenueMap:
    """A whole mapping file, checked against its IDL."""

    file: str
    name: str
    idl: Idl
    program_id: str | None
    verified: datetime.date | None
    exact: bool
    reward: str
    scales: Scales
    accounts: tuple[AccountMap, ...]
    places: Mapping[str, Place]
    position: PositionMap
    market: MarketMap
    price: PriceMap
    maintenance: Maintenance | None
    closing: Closing
    liquidate: Call | None
    confirm: Call | None
    outcomes: Mapping[int, Outcome]
    event: EventMap | None
    insurance: InsuranceMap | None = None

    @property
    def why_not(self) -> str | None:
        """Why the venue can only be watched, or None."""
        if self.maintenance is None:
            return "the mapping has no [maintenance] rule: verdicts stay unknown"
        if not self.exact:
            return "the mapping does not claim that [maintenance] is exact: verdicts stay unknown"
        if self.liquidate is None:
            return "the mapping has no [liquidate] instruction"
        return None


def read_mapping(file: str, text: str, idl: Idl) -> VenueMap:
    """Return the mapping in a TOML text.

    Raises:
        SettingsError: a key is unknown, missing or wrong; the message names file and key, what was
            found and expected, and what to do.
    """
    return mapping_from(Table.parse(file, text), idl)


def mapping_from(whole: Table, idl: Idl) -> VenueMap:
    """Return the mapping in a table; see `read_mapping`.

    Raises:
        SettingsError: as there, or the IDL is malformed where the mapping needs it.
    """
    try:
        return _mapping(whole, idl)
    except LayoutError as error:
        raise SettingsError(f"{whole.file}: the IDL cannot be used: {error}") from error


def _mapping(whole: Table, idl: Idl) -> VenueMap:
    whole.whole("version", 1, 1)
    name = whole.text("name", "a short name for the venue")
    if _NAME.fullmatch(name) is None:
        whole.refuse("name", "lower-case letters, digits, - and _, such as 'my-perps'")
    program_id = whole.any("program_id")
    if program_id is not None and not (isinstance(program_id, str) and is_key(program_id)):
        whole.refuse("program_id", "a public key in base58")
    _pinned(whole, idl)
    places = Places(idl)
    accounts = list(_known_accounts(whole, places, idl))
    position, scales = _position(whole.table(POSITION, required=True), places)
    market = _market(whole.table(MARKET, required=True), places)
    price = read_price(whole.table(PRICE, required=True), places)
    rule = read_maintenance(whole.table("maintenance"), places) if "maintenance" in whole else None
    rules = whole.table("closing")
    _refuse_unknown_arithmetic(rules, scales, rule)
    found = VenueMap(
        file=whole.file,
        name=name,
        idl=idl,
        program_id=program_id,
        verified=_date(whole),
        exact=whole.flag("exact", default=False),
        reward=whole.choice("reward", ("token", "rent", "none"), default="token"),
        scales=scales,
        accounts=tuple(accounts),
        places=places.named,
        position=position,
        market=market,
        price=price,
        maintenance=rule,
        closing=read_closing(rules, places),
        liquidate=_call(whole, "liquidate", idl, places),
        confirm=_call(whole, "confirm", idl, places),
        outcomes=read_outcomes(whole.table("errors"), idl),
        event=read_event(whole.table("event"), idl) if "event" in whole else None,
        insurance=read_insurance(whole.table("insurance"), places)
        if "insurance" in whole
        else None,
    )
    whole.done()
    _refuse_ambiguous(whole, found.accounts)
    return found


def _pinned(whole: Table, idl: Idl) -> None:
    """Refuse another IDL than the one that the mapping was written for."""
    pinned = whole.any("idl_sha256")
    if pinned is not None and pinned != idl.sha256:
        whole.refuse(
            "idl_sha256",
            f"{idl.sha256!r}, the hash of the IDL that was given",
            "check every field against the new IDL before you change it",
        )


def _date(whole: Table) -> datetime.date | None:
    value = whole.any("verified")
    if value is not None and type(value) is not datetime.date:
        whole.refuse("verified", "a date such as 2026-11-25, without quotes")
    return value


def _known_accounts(whole: Table, places: Places, idl: Idl) -> Iterator[AccountMap]:
    """Yield the account kinds, and let `places` know the fields and addresses of all."""
    named = whole.table("accounts")
    tables = {name: named.table(name) for name in named.content}
    for role in (POSITION, MARKET):
        yield _account(role, whole.table(role, required=True), places, idl)
    if whole.table(PRICE, required=True).any("kind") == "account":
        yield _account(PRICE, whole.table(PRICE), places, idl)
    for name, table in tables.items():
        if name in RESERVED or not name.isidentifier():
            raise SettingsError(
                f"{whole.file}: accounts.{name} needs another name: a word that is none of "
                f"{', '.join(RESERVED)}"
            )
        places.named[name] = Fixed("")
        if "account" in table:
            yield _account(name, table, places, idl)
    for name, table in tables.items():
        places.named[name] = places.place(table, "address")
        if SIGNER in set(mentioned(places.named[name])):
            table.refuse("address", "an address that does not depend on the signer")
        _done(table)
    named.done()
    refuse_cycle(whole.file, places.named)


def _account(role: str, table: Table, places: Places, idl: Idl) -> AccountMap:
    account = table.text("account", "an account of the IDL")
    places.know(role, account, table)
    zero = table.texts("zero", "a list of fields that must hold zeros")
    for path in zero:
        places.checked(table, "zero", path, role=role, kinds="any")
    return AccountMap(
        role=role,
        account=account,
        head=idl.account_discriminator(account),
        extra=table.whole("extra_bytes", 0, EXTRA_MAX, default=0),
        zero=zero,
    )


def _refuse_ambiguous(whole: Table, accounts: tuple[AccountMap, ...]) -> None:
    for number, one in enumerate(accounts):
        for other in accounts[number + 1 :]:
            if one.head.startswith(other.head) or other.head.startswith(one.head):
                raise SettingsError(
                    f"{whole.file}: {one.role}.account and {other.role}.account start with the same "
                    f"bytes {one.head.hex()}; each kind of account can stand in one place only"
                )


def _position(table: Table, places: Places) -> tuple[PositionMap, Scales]:
    size, entry, collateral = (
        table.table(name, required=True) for name in ("size", "entry_price", "collateral")
    )
    unit = size.choice(
        "unit",
        (BASE, QUOTE),
        advice="base: tokens of the market; quote: money, as in size_usd",
    )
    scales = Scales(
        size=_decimals(size),
        price=_decimals(entry),
        quote=_decimals(collateral),
        in_base=unit == BASE,
    )
    held = _integer(size, places)
    found = PositionMap(
        owner=places.field(table, "owner", role=POSITION, kinds="key"),
        market=places.field(table, "market", role=POSITION, kinds="key"),
        size=held,
        entry_price=_integer(entry, places),
        collateral=_integer(collateral, places),
        side=_side(table, held, places),
        open=places.optional(table, "open", POSITION, "flag"),
        leverage=places.optional(table, "leverage", POSITION, "integer"),
        generation=places.optional(table, "generation", POSITION, "integer"),
    )
    for part in (size, entry, collateral):
        part.done()
    _done(table)
    return found, scales


def _done(table: Table) -> None:
    """Refuse unknown keys of a table that also describes an account kind."""
    for name in ACCOUNT_KEYS:
        table.any(name)
    table.done()


def _decimals(table: Table) -> int:
    return table.whole("decimals", 0, DECIMALS_MAX)


def _integer(table: Table, places: Places) -> Field:
    return places.field(table, "field", role=POSITION, kinds="integer")


def _side(table: Table, size: Field, places: Places) -> SideMap:
    if table.any("side") == "sign":
        if size.kind not in INTEGERS or size.kind[0] != "i":
            table.refuse("side", "a table", f"{size.path} is {size.kind} and has no sign")
        return SideMap(field=size)
    if not isinstance(table.any("side"), dict):
        table.refuse("side", "'sign', or { field = ..., long = NUMBER, short = NUMBER }")
    side = table.table("side")
    found = SideMap(
        field=places.field(side, "field", role=POSITION, kinds="flag"),
        long=side.whole("long", 0, 255),
        short=side.whole("short", 0, 255),
    )
    if found.long == found.short:
        side.refuse("short", "another number than that of long")
    side.done()
    return found


def _market(table: Table, places: Places) -> MarketMap:
    names = table.table("symbols")
    for key in names.content:
        if not is_key(key):
            raise SettingsError(
                f"{table.file}: {names.path(key)} must stand under a market's address"
            )
        names.text(key, "a symbol")
    place = places.place(table, "price_account")
    if roots(place, places.named) - {MARKET}:
        table.refuse("price_account", "an address that is made of the market alone")
    found = MarketMap(
        symbol=places.optional(table, "symbol", MARKET, "words"),
        symbols={key: str(value) for key, value in names.content.items()},
        paused=places.optional(table, "paused", MARKET, "flag"),
        price_account=place,
    )
    _done(table)
    return found


def _refuse_unknown_arithmetic(rules: Table, scales: Scales, rule: Maintenance | None) -> None:
    """Refuse a partial closing whose arithmetic is only known in one set of units."""
    plain = scales == Scales(size=9, price=6, quote=6, in_base=True)
    usual = rule is not None and rule.is_usual
    if rules.any("model") == "restore" and not (plain and usual):
        rules.refuse(
            "model",
            "'full'",
            "'restore' takes a size of base with 9 decimals, prices and collateral with 6, and a "
            "maintenance margin in bps that is rounded up and must not be undercut",
        )


def _call(whole: Table, name: str, idl: Idl, places: Places) -> Call | None:
    if name not in whole:
        return None
    try:
        return read_call(whole.table(name), idl, places)
    except LayoutError as error:
        raise SettingsError(f"{whole.file}: {name} cannot be used: {error}") from error
