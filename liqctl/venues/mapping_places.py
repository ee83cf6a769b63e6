"""Where a mapped program keeps things: fields of its accounts, and addresses made of them."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from solders.pubkey import Pubkey

from liqctl.errors import LayoutError, SettingsError
from liqctl.venues.idl import Idl
from liqctl.venues.mapping_text import Table, suggestion
from liqctl.venues.tokens import ASSOCIATED_TOKEN_PROGRAM, TOKEN_PROGRAM

SIGNER, POSITION, MARKET, PRICE = "signer", "position", "market", "price"
# The program's own address; in Anchor it also stands for an optional account that is left out.
PROGRAM = "program"
RESERVED = (SIGNER, POSITION, MARKET, PRICE, PROGRAM)
SEEDS_MAX, SEED_LENGTH_MAX = 15, 32
DERIVED_MAX = 50_000
INTEGERS = {f"{sign}{bits}": bits // 8 for sign in "ui" for bits in (8, 16, 32, 64, 128)}
FLOATS = ("f32", "f64")


@dataclass(frozen=True, slots=True)
class Field:
    """A value in an account: of the position, the market, or an account that the mapping names."""

    role: str
    path: str
    kind: str


@dataclass(frozen=True, slots=True)
class Role:
    """The address of the signer, position, market, price account, program or a named account."""

    name: str


@dataclass(frozen=True, slots=True)
class Fixed:
    """An address that is always the same."""

    address: str


@dataclass(frozen=True, slots=True)
class Derived:
    """A program-derived address; the mapped program's own unless another is named."""

    seeds: "tuple[bytes | Place, ...]"
    program: "Place | None"


@dataclass(frozen=True, slots=True)
class TokenAccount:
    """The associated token account of an owner for a mint; made first where `create` is set."""

    owner: "Place"
    mint: "Place"
    token_program: "Place"
    create: bool


Place = Field | Role | Fixed | Derived | TokenAccount


def mentioned(place: Place) -> Iterator[str]:
    """Yield the roles that an address depends on: a field on its account, a seed on its place."""
    match place:
        case Field(role=role):
            yield role
        case Role(name=name):
            yield name
        case _:
            for part in _parts(place):
                yield from mentioned(part)


def roots(place: Place, named: Mapping[str, Place]) -> set[str]:
    """Return what must be known before an address is: roles, and named accounts that are read."""
    match place:
        case Role(name=name) if name in named:
            return roots(named[name], named)
        case Role(name="program"):
            return set()
        case Role(name=name) | Field(role=name):
            return {name}
        case _:
            parts = _parts(place)
            return {root for part in parts for root in roots(part, named)}


def _parts(place: Place) -> list[Place]:
    match place:
        case Derived(seeds=seeds, program=program):
            parts = [*seeds, *((program,) if program is not None else ())]
            return [part for part in parts if not isinstance(part, bytes)]
        case TokenAccount(owner=owner, mint=mint, token_program=program):
            return [owner, mint, program]
        case _:
            return []


def refuse_cycle(file: str, places: Mapping[str, Place]) -> None:
    """Refuse addresses that are derived from each other in a circle.

    Raises:
        SettingsError: they are; the message goes round.
    """
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        if name in way:
            circle = " -> ".join((*way[way.index(name) :], name))
            raise SettingsError(
                f"{file}: accounts.{name}.address is derived from itself: {circle}; "
                "give one of them a fixed address or seeds that do not lead back"
            )
        if name in done or name not in places:
            return
        for other in mentioned(places[name]):
            walk(other, (*way, name))
        done.add(name)

    for name in places:
        walk(name, ())


class Places:
    """Reads places of a mapping file and checks them against the accounts of the IDL.

    Every method raises SettingsError with the key, what was found and what was expected.
    """

    def __init__(self, idl: Idl) -> None:
        """Know no account yet."""
        self._idl = idl
        self.kinds: dict[str, str] = {}
        self.named: dict[str, Place] = {}
        self._fields: dict[str, dict[str, str]] = {}

    def know(self, role: str, account: str, table: Table, key: str = "account") -> None:
        """Let fields of a role be those of an account kind of the IDL."""
        if account not in self._idl.account_names:
            known = ", ".join(self._idl.account_names)
            raise SettingsError(
                f"{table.file}: {table.path(key)} names {account!r}, but the IDL has no such account"
                + suggestion(account, self._idl.account_names, f"; there is: {known}")
            )
        try:
            self._fields[role] = self._idl.fields(account)
        except LayoutError as error:
            raise SettingsError(
                f"{table.file}: {table.path(key)} cannot be used: {error}"
            ) from error
        self.kinds[role] = account

    def field(
        self, table: Table, name: str, *, role: str | None = None, kinds: str = "any"
    ) -> Field:
        """Return the field that a text names; with a role, of that account, else "ROLE.FIELD"."""
        text = table.text(name, "a field" if role else "a field such as 'market.max_age'")
        return self.checked(table, name, text, role=role, kinds=kinds)

    def optional(self, table: Table, name: str, role: str, kinds: str) -> Field | None:
        """Return a field of a role's account, or None where none is named."""
        return self.field(table, name, role=role, kinds=kinds) if name in table else None

    def checked(self, table: Table, name: str, text: str, *, role: str | None, kinds: str) -> Field:
        """Return a field that is there and holds what it should."""
        if role is None:
            role, _, path = text.partition(".")
            if role not in self.kinds or not path:
                known = ", ".join(self.kinds)
                raise SettingsError(
                    f"{table.file}: {table.path(name)} must be a field such as 'market.FIELD', was "
                    f"{text!r}; accounts with fields are: {known}"
                )
        else:
            path = text
        fields = self._fields[role]
        if path not in fields:
            raise SettingsError(
                f"{table.file}: {table.path(name)} names the field {path!r}, but "
                f"{self.kinds[role]} of the IDL has no such field"
                + suggestion(path, fields, f"; it has: {_some(fields)}")
            )
        kind = fields[path]
        if not _is(kind, kinds):
            advice = "; money in floating point is not exact" if kind in FLOATS else ""
            raise SettingsError(
                f"{table.file}: {table.path(name)} must name a field that is {_WORDS[kinds]}, but "
                f"{path} of {self.kinds[role]} is {kind}{advice}"
            )
        return Field(role, path, kind)

    def number(self, table: Table, name: str, *, default: int | None = None) -> int | Field:
        """Return a whole number, or the field that holds it."""
        value = table.any(name)
        if value is None and default is not None:
            return default
        if type(value) is int and 0 <= value < 2**64:
            return value
        if isinstance(value, str):
            return self.checked(table, name, value, role=None, kinds="integer")
        raise SettingsError(
            table.complaint(name, "a whole number or a field such as 'market.FIELD'")
        )

    def list_paths(self, field_role: str, path: str) -> int:
        """Return how many elements an array of an account has."""
        fields = self._fields[field_role]
        count = 0
        while any(one.startswith(f"{path}[{count}]") for one in fields):
            count += 1
        return count

    def place(self, table: Table, name: str) -> Place:
        """Return the address that a text or a table describes."""
        value = table.any(name)
        if isinstance(value, dict):
            return self._described(table.table(name))
        if not isinstance(value, str):
            table.refuse(name, ADDRESS, "see `liqctl venues init`")
        return self.address(table, name, value)

    def address(self, table: Table, name: str, text: str) -> Place:
        """Return the address that a text names: a role, a field that holds a key, or a key."""
        if text in RESERVED or text in self.named:
            return Role(text)
        role = text.partition(".")[0]
        if "." in text and role in self.kinds:
            return self.checked(table, name, text, role=None, kinds="key")
        if is_key(text):
            return Fixed(text)
        known = [*RESERVED, *self.named]
        raise SettingsError(
            f"{table.file}: {table.path(name)} names {text!r}, expected {ADDRESS}"
            + suggestion(text, known, f"; accounts are: {', '.join(known)}")
        )

    def _described(self, table: Table) -> Place:
        if "seeds" in table:
            seeds = table.any("seeds")
            if not isinstance(seeds, list) or not 0 < len(seeds) <= SEEDS_MAX:
                table.refuse("seeds", f"a list of 1 to {SEEDS_MAX} seeds")
            program = self.place(table, "program") if "program" in table else None
            read = tuple(self._seed(table, number, one) for number, one in enumerate(seeds))
            table.done()
            return Derived(read, program)
        if "token_account_of" in table:
            owner, mint = self.place(table, "token_account_of"), self.place(table, "mint")
            program = Fixed(TOKEN_PROGRAM)
            create = table.flag("create", default=False)
            held = self.place(table, "token_program") if "token_program" in table else program
            table.done()
            return TokenAccount(owner, mint, held, create)
        table.done()
        raise SettingsError(
            f"{table.file}: {table.key} must be {ADDRESS}, was a table without seeds or "
            "token_account_of"
        )

    def _seed(self, table: Table, number: int, value: Any) -> "bytes | Place":  # noqa: ANN401 - TOML
        holder = Table(table.file, f"{table.key}.seeds", {f"[{number}]": value})
        name = f"[{number}]"
        match value:
            case str():
                role = value.partition(".")[0]
                if "." in value and role in self.kinds:
                    return self.checked(holder, name, value, role=None, kinds="seed")
                return self.address(holder, name, value)
            case {"text": str(text)} if len(value) == 1:
                seed = text.encode()
            case {"hex": str(text)} if len(value) == 1:
                try:
                    seed = bytes.fromhex(text)
                except ValueError:
                    holder.refuse(name, "hexadecimal digits in `hex`")
            case dict() if len(value) == 1 and next(iter(value)) in INTEGERS:
                (kind, whole) = next(iter(value.items()))
                try:
                    seed = whole.to_bytes(INTEGERS[kind], "little", signed=kind[0] == "i")
                except (AttributeError, OverflowError):
                    holder.refuse(name, f"a whole number that fits {kind}")
            case _:
                holder.refuse(
                    name,
                    "an account, a field, { text = ... }, { hex = ... } or a number such as { u8 = 1 }",
                )
        if len(seed) > SEED_LENGTH_MAX:
            holder.refuse(name, f"a seed of at most {SEED_LENGTH_MAX} bytes")
        return seed


ADDRESS = (
    "an account ('signer', 'position', 'market', 'price', 'program' or one of [accounts]), a field "
    "that holds a key ('market.price_account'), a public key, { seeds = [...] } or "
    "{ token_account_of = ..., mint = ... }"
)
_WORDS = {
    "any": "any value",
    "integer": "an integer",
    "signed": "a signed integer",
    "key": "a public key",
    "flag": "a bool or an integer",
    "words": "bytes or a string",
    "bytes": "bytes",
    "seed": "an integer, a key, bytes or a string",
}


def _is(kind: str, wanted: str) -> bool:
    """Return whether a value of this kind can stand where `wanted` is."""
    whole = kind in INTEGERS or kind.startswith("an enum")
    words = kind in {"bytes", "string"}
    allowed = {
        "any": True,
        "integer": whole,
        "signed": kind in INTEGERS and kind[0] == "i",
        "key": kind == "pubkey",
        "flag": whole or kind == "bool",
        "words": words,
        "bytes": kind in {"bytes", "pubkey"},
        "seed": whole or words or kind in {"bool", "pubkey"},
    }
    return allowed[wanted]


def _some(fields: Mapping[str, str]) -> str:
    names = list(fields)
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")


def is_key(text: str) -> bool:
    """Return whether a text is a public key in base58."""
    try:
        Pubkey.from_string(text)
    except ValueError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Lookup:
    """What places are resolved with: fields and addresses by role, as far as they are known."""

    program: str
    fields: Callable[[str], Mapping[str, Any] | None]
    addresses: Callable[[str], str | None]

    def value(self, field: Field) -> Any:  # noqa: ANN401 - integers, bytes or text
        """Return the value of a field.

        Raises:
            LayoutError: its account is not known.
        """
        held = self.fields(field.role)
        if held is None or field.path not in held:
            raise LayoutError(f"{field.role} is not known yet, which holds {field.path}")
        return held[field.path]

    def address(self, place: Place) -> str:
        """Return an address in base58.

        Raises:
            LayoutError: something that it depends on is not known.
        """
        match place:
            case Fixed(address=address):
                return address
            case Role(name="program"):
                return self.program
            case Role(name=name):
                found = self.addresses(name)
                if found is None:
                    raise LayoutError(f"the address of {name} is not known yet")
                return found
            case Field():
                return str(Pubkey(self.value(place)))
            case TokenAccount(owner=owner, mint=mint, token_program=program):
                parts = tuple(self._key(part) for part in (owner, program, mint))
                return _derived(parts, ASSOCIATED_TOKEN_PROGRAM)
            case Derived(seeds=seeds, program=program):
                parts = tuple(self._bytes(seed) for seed in seeds)
                return _derived(parts, self.program if program is None else self.address(program))

    def _key(self, place: Place) -> bytes:
        return bytes(Pubkey.from_string(self.address(place)))

    def _bytes(self, seed: bytes | Place) -> bytes:
        if isinstance(seed, bytes):
            return seed
        if not isinstance(seed, Field):
            return self._key(seed)
        value = self.value(seed)
        if isinstance(value, int):
            width = INTEGERS.get(seed.kind, 1)
            return value.to_bytes(width, "little", signed=value < 0)
        return value.encode() if isinstance(value, str) else bytes(value)


@lru_cache(maxsize=DERIVED_MAX)
def _derived(seeds: tuple[bytes, ...], program: str) -> str:
    """Return a derived address; the search for one costs more than a verdict."""
    if any(len(seed) > SEED_LENGTH_MAX for seed in seeds):
        raise LayoutError(f"a seed is longer than {SEED_LENGTH_MAX} bytes")
    return str(Pubkey.find_program_address(list(seeds), Pubkey.from_string(program))[0])
