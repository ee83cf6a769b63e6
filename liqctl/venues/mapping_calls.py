"""Instructions of a mapped program: which accounts and arguments a call takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from solders.pubkey import Pubkey

from liqctl.core.instruction import Instruction
from liqctl.errors import LayoutError, SettingsError
from liqctl.venues.idl import AccountRole, Idl
from liqctl.venues.mapping_places import (
    INTEGERS,
    SEED_LENGTH_MAX,
    Derived,
    Field,
    Fixed,
    Lookup,
    Place,
    Places,
    Role,
    TokenAccount,
)
from liqctl.venues.mapping_text import Table, suggestion

MAX_SIZE, NONE = "max_size", "none"
COMPUTE_UNITS = 200_000
COMPUTE_UNITS_MAX = 1_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One instruction with a place for each of its accounts and a source for each argument."""

    idl: Idl
    name: str
    accounts: Mapping[str, Place]
    args: Mapping[str, Any]
    compute_units: int
    head: bytes | None = None

    def instruction(self, lookup: Lookup, max_size: int) -> Instruction:
        """Return the call for what the lookup knows.

        Raises:
            LayoutError: an account or a value is not known, or a value does not fit.
        """
        built = self.idl.instruction(
            self.name,
            lookup.program,
            {name: lookup.address(place) for name, place in self.accounts.items()},
            {name: _value(source, lookup, max_size) for name, source in self.args.items()},
        )
        if self.head is None:
            return built
        known = len(self.idl.instruction_discriminator(self.name))
        return Instruction(
            program=built.program, accounts=built.accounts, data=self.head + built.data[known:]
        )

    def token_accounts(self) -> tuple[TokenAccount, ...]:
        """Return the token accounts that are made first where they are missing."""
        found = [place for place in self.accounts.values() if isinstance(place, TokenAccount)]
        return tuple(dict.fromkeys(place for place in found if place.create))


def _value(source: Any, lookup: Lookup, max_size: int) -> Any:  # noqa: ANN401 - as the IDL has it
    match source:
        case Field():
            return lookup.value(source)
        case dict():
            return {name: _value(one, lookup, max_size) for name, one in source.items()}
        case list():
            return [_value(one, lookup, max_size) for one in source]
        case str() if source == MAX_SIZE:
            return max_size
        case str() if source == NONE:
            return None
        case _:
            return source


def read_call(table: Table, idl: Idl, places: Places) -> Call:
    """Return the call that a table describes, tried with values that stand for unknown ones.

    Raises:
        SettingsError: an instruction, account or argument is unknown, missing or does not fit.
    """
    name = table.text("instruction", "an instruction of the IDL")
    if name not in idl.instruction_names:
        raise SettingsError(
            f"{table.file}: {table.path('instruction')} names {name!r}, but the IDL has no such "
            f"instruction{suggestion(name, idl.instruction_names)}"
        )
    head = None
    if "discriminator" in table:
        try:
            head = bytes.fromhex(table.text("discriminator", "hexadecimal digits"))
        except ValueError:
            table.refuse("discriminator", "hexadecimal digits")
    args = _arguments(table.table("args"), idl, name, places)
    given = table.table("accounts")
    roles = _roles(table, idl, name)
    known = {role.name: places.place(given, role.name) for role in roles if role.name in given}
    given.done()
    found = _Derivation(table, roles, known, places).all()
    units = table.whole("compute_units", 1_000, COMPUTE_UNITS_MAX, default=COMPUTE_UNITS)
    table.done()
    call = Call(
        idl=idl, name=name, accounts=found, args=args, compute_units=units, head=head or None
    )
    _try(table, call)
    return call


def _roles(table: Table, idl: Idl, name: str) -> tuple[AccountRole, ...]:
    try:
        return idl.roles(name)
    except LayoutError as error:
        raise SettingsError(
            f"{table.file}: {table.path('instruction')} cannot be used: {error}"
        ) from error


def _arguments(table: Table, idl: Idl, name: str, places: Places) -> dict[str, Any]:
    found = {}
    for label, kind in idl.arguments(name):
        if label in table:
            found[label] = _source(table, label, places)
        elif isinstance(kind, dict) and "defined" in kind:
            found[label] = {}
        else:
            table.refuse(label, f"a value, a field or {MAX_SIZE!r}", f"{name} takes it")
    table.done()
    return found


def _source(table: Table, name: str, places: Places) -> Any:  # noqa: ANN401 - TOML
    match table.any(name):
        case dict():
            inner = table.table(name)
            return {label: _source(inner, label, places) for label in inner.content}
        case list() as items:
            inner = Table(table.file, table.path(name), {f"[{n}]": o for n, o in enumerate(items)})
            return [_source(inner, label, places) for label in inner.content]
        case str(text) if text.partition(".")[0] in places.kinds and "." in text:
            return places.checked(table, name, text, role=None, kinds="any")
        case str() | int() as value:
            return value
        case _:
            expected = f"a whole number, a bool, a text, a field, {MAX_SIZE!r} or {NONE!r}"
            raise SettingsError(table.complaint(name, expected))


class _Derivation:
    """The accounts of an instruction: given ones, fixed ones, and those that the IDL derives."""

    def __init__(
        self,
        table: Table,
        roles: tuple[AccountRole, ...],
        known: dict[str, Place],
        places: Places,
    ) -> None:
        self._table = table
        self._roles = {role.name: role for role in roles}
        self._known = known
        self._places = places

    def all(self) -> dict[str, Place]:
        """Return a place for every account without a fixed address.

        Raises:
            SettingsError: one is neither given nor derived in a way that has one meaning.
        """
        for role in self._roles.values():
            if role.address is None or role.name in self._known:
                self._place(role.name, ())
        return self._known

    def _place(self, name: str, way: tuple[str, ...]) -> Place:
        if name in self._known:
            return self._known[name]
        role = self._roles.get(name)
        if role is None:
            self._missing(way[-1], f"its seeds name {name!r}, which the instruction does not have")
        if role.address is not None:
            return Fixed(role.address)
        if name in way:
            circle = " -> ".join((*way[way.index(name) :], name))
            self._missing(name, f"the IDL derives it from itself: {circle}")
        if role.pda is None:
            self._missing(name, "the IDL does not say where it is")
        found = self._derived(name, role.pda, (*way, name))
        self._known[name] = found
        return found

    def _missing(self, name: str, why: str) -> NoReturn:
        raise SettingsError(
            f"{self._table.file}: {self._table.path('accounts')}.{name} is missing and {why}; "
            "say where it is, such as 'signer', 'market', 'position.owner' or { seeds = [...] }"
        )

    def _derived(self, name: str, pda: Mapping[str, Any], way: tuple[str, ...]) -> Derived:
        seeds = pda.get("seeds")
        if not isinstance(seeds, list) or not seeds:
            self._missing(name, "the IDL gives it no seeds")
        program: Place | None = None
        if pda.get("program") is not None:
            told = self._seed(name, pda["program"], way)
            if not isinstance(told, bytes):
                program = told
            elif len(told) == SEED_LENGTH_MAX:
                program = Fixed(str(Pubkey(told)))
            else:
                self._missing(name, "the IDL derives it for a program that is no key")
        return Derived(tuple(self._seed(name, one, way) for one in seeds), program)

    def _seed(self, name: str, seed: Any, way: tuple[str, ...]) -> bytes | Place:  # noqa: ANN401 - JSON
        match seed:
            case {"kind": "const", "value": list(value)} if _are_bytes(value):
                return bytes(value)
            case {"kind": "account", "path": str(path)}:
                return self._by_path(name, path, way)
            case {"kind": "arg", "path": str(path)}:
                why = f"a seed is the argument {path!r}"
            case _:
                why = "a seed of the IDL is neither constant bytes nor an account"
        return self._missing(name, why)

    def _by_path(self, name: str, path: str, way: tuple[str, ...]) -> Place:
        account, _, inner = path.partition(".")
        place = self._place(account, way)
        if not inner:
            return place
        role = place.name if isinstance(place, Role) else None
        if role not in self._places.kinds:
            self._missing(name, f"a seed is the field {path!r} of an account that is not mapped")
        table = Table(self._table.file, self._table.path("accounts"), {name: inner})
        return self._places.checked(table, name, inner, role=role, kinds="seed")


def _are_bytes(value: list[Any]) -> bool:
    return all(type(one) is int and 0 <= one <= 255 for one in value)


def _try(table: Table, call: Call) -> None:
    """Encode the arguments with ones and empty keys where values are not known yet.

    Raises:
        SettingsError: they do not fit the IDL.
    """
    some = str(Pubkey(bytes(32)))
    stand_in = {name: Fixed(some) for name in call.accounts}
    args = {name: _stood_in(source) for name, source in call.args.items()}
    try:
        Call(
            idl=call.idl, name=call.name, accounts=stand_in, args=args, compute_units=1
        ).instruction(Lookup(some, lambda _: None, lambda _: None), 1)
    except LayoutError as error:
        raise SettingsError(f"{table.file}: {table.path('args')}: {error}") from error


def _stood_in(source: Any) -> Any:  # noqa: ANN401 - TOML
    match source:
        case Field(kind=kind):
            return 1 if kind in INTEGERS else bytes(32) if kind == "pubkey" else source
        case dict():
            return {name: _stood_in(one) for name, one in source.items()}
        case list():
            return [_stood_in(one) for one in source]
        case _:
            return source
