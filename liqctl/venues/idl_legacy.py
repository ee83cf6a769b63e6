"""IDLs in the older format of Anchor, the only one that anchorpy reads."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from liqctl.errors import LayoutError
from liqctl.venues.idl_shape import (
    Json,
    array_of,
    body_of,
    defined_of,
    fields_of,
    listed,
    name_of,
    named,
    shown,
    snake,
    variants_of,
)

_NO_BODY: Json = {"kind": "struct", "fields": []}


def to_legacy(raw: Json) -> Json:
    """Return an IDL of either format in the older one, with names that anchorpy can tell apart.

    Accounts carry their bodies. Types get a name of their own, because anchorpy would find an
    account and its type twice; fields are numbered, because anchorpy respells and merges names.

    Raises:
        LayoutError: a part is malformed, generic, or of a kind that the older format lacks.
    """
    accounts, types = named(raw, "accounts"), named(raw, "types")
    bodies = {**types, **{name: one for name, one in accounts.items() if "type" in one}}
    return {
        "version": "0.1.0",
        "name": "program",
        "instructions": [
            {
                "name": snake(name),
                "accounts": [
                    {"name": snake(role["name"]), "isMut": False, "isSigner": False}
                    for role in flat_roles(listed(one, "accounts", name), name)
                ],
                "args": _fields(fields_of(one, name, "args"), name),
            }
            for name, one in named(raw, "instructions").items()
        ],
        "accounts": [
            {"name": proper(name), "type": _type(bodies[name], name)}
            for name in accounts
            if name in bodies
        ],
        "types": [{"name": f"{name}_", "type": _type(one, name)} for name, one in bodies.items()],
        "errors": [],
    }


def part(raw: Json, *, account: str | None = None, instruction: str | None = None) -> Json:
    """Return the IDL with one account or one instruction and the types that it is made of.

    Raises:
        LayoutError: one of these types is not in borsh, or not defined.
    """
    accounts, types = named(raw, "accounts"), named(raw, "types")
    bodies = {**types, **{name: one for name, one in accounts.items() if "type" in one}}
    calls = [o for name, o in named(raw, "instructions").items() if snake(name) == instruction]
    wanted = [account] if account is not None else []
    for one in calls:
        for label, kind in fields_of(one, str(instruction), "args"):
            wanted += _mentioned(kind, label)
    reached: dict[str, Json] = {}
    while wanted:
        name = wanted.pop()
        if name in reached:
            continue
        if name not in bodies:
            raise LayoutError(f"the IDL does not define {name}")
        reached[name] = _borsh(bodies[name], name)
        for label, kind in _inner(reached[name], name):
            wanted += _mentioned(kind, f"{name}.{label}")
    return {
        "accounts": [{"name": account}] if account is not None else [],
        "instructions": calls,
        "types": list(reached.values()),
    }


def _borsh(described: Json, name: str) -> Json:
    serialization = described.get("serialization", "borsh")
    if serialization != "borsh" or described.get("repr"):
        raise LayoutError(
            f"{name} varies in size and is serialized as {shown(serialization)} with the form "
            f"{shown(described.get('repr'))}; only plain borsh is decoded"
        )
    return described


def _inner(described: Json, name: str) -> Iterator[tuple[str, Any]]:
    body = body_of(described, name)
    match body.get("kind"):
        case "struct":
            yield from fields_of(body, name)
        case "enum":
            for variant in variants_of(body, name):
                yield from fields_of(variant, f"{name}.{variant['name']}")
        case _:
            yield "alias", body.get("alias", body.get("value"))


def _mentioned(kind: Any, where: str) -> list[str]:  # noqa: ANN401 - JSON
    """Return the types that a type names."""
    if (array := array_of(kind, where)) is not None:
        return _mentioned(array[0], where)
    if (target := defined_of(kind, where)) is not None:
        return [target.rsplit("::", 1)[-1]]
    match kind:
        case {"option": item} | {"vec": item}:
            return _mentioned(item, where)
        case _:
            return []


def proper(name: str) -> str:
    """Return an account's name with the capital that the program gave it."""
    return name[:1].upper() + name[1:]


def flat_roles(accounts: Iterable[Any], where: str) -> Iterator[Json]:
    """Yield the accounts of an instruction, those of groups in their place.

    Raises:
        LayoutError: an account is malformed.
    """
    for one in accounts:
        name_of(one, f"an account of {where}")
        if "accounts" in one:
            yield from flat_roles(listed(one, "accounts", where), where)
        else:
            yield one


def _type(described: Json, name: str) -> Json:
    if described.get("generics"):
        raise LayoutError(f"{name} is generic")
    body = body_of(described, name)
    match body.get("kind"):
        case "struct":
            return {"kind": "struct", "fields": _fields(fields_of(body, name), name)}
        case "enum":
            variants = variants_of(body, name)
            return {"kind": "enum", "variants": [_variant(one, name) for one in variants]}
        case "type" | "alias":
            value = body.get("alias", body.get("value"))
            return {"kind": "alias", "value": _kind(value, name)}
        case kind:
            raise LayoutError(f"{name} is of kind {shown(kind)}")


def _variant(described: Json, where: str) -> Json:
    name = name_of(described, f"a variant of {where}")
    fields = listed(described, "fields", f"{where}.{name}")
    if not fields:
        return {"name": name}
    inner = fields_of(described, f"{where}.{name}")
    if all(isinstance(one, dict) and "name" in one for one in fields):
        return {"name": name, "fields": _fields(inner, name)}
    return {"name": name, "fields": [_kind(kind, f"{where}.{name}") for _, kind in inner]}


def _fields(fields: Iterable[tuple[str, Any]], where: str) -> list[Json]:
    """Return fields under names that no spelling rule of anchorpy changes or merges."""
    return [
        {"name": f"f{number}", "type": _kind(kind, f"{where}.{label}")}
        for number, (label, kind) in enumerate(fields)
    ]


def _kind(kind: Any, where: str) -> Any:  # noqa: ANN401 - JSON
    if isinstance(kind, str):
        return "publicKey" if kind == "pubkey" else kind
    if (array := array_of(kind, where)) is not None:
        return {"array": [_kind(array[0], where), array[1]]}
    if (target := defined_of(kind, where)) is not None:
        return {"defined": f"{target.rsplit('::', 1)[-1]}_"}
    match kind:
        case {"option": item}:
            return {"option": _kind(item, where)}
        case {"vec": item}:
            return {"vec": _kind(item, where)}
        case _:
            raise LayoutError(f"{where} is {shown(kind)}, which cannot be represented")


class Values:
    """The answers of anchorpy as values by path, and values by name as anchorpy wants them."""

    def __init__(self, types: Mapping[str, Json]) -> None:
        """Take type descriptions by name."""
        self._types = types

    def flat(self, kind: Any, value: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON and what anchorpy makes of it
        """Yield (path, value) as `Layout.read` has them; None for an option that is not there.

        An enum whose variants have fields gives its number, and each field below its variant.
        """
        match kind:
            case "pubkey" | "publicKey" | "bytes":
                yield path, bytes(value)
            case "string" | "f32" | "f64":
                yield path, value
            case str():
                yield path, int(value)
            case {"option": item}:
                if value is None:
                    yield path, None
                else:
                    yield from self.flat(item, value, path)
            case {"vec": item} | {"array": [item, _]}:
                if item == "u8" and (value or "vec" in kind):
                    yield path, bytes(value)
                else:
                    for number, one in enumerate(value):
                        yield from self.flat(item, one, f"{path}[{number}]")
            case _:
                name = str(defined_of(kind, path)).rsplit("::", 1)[-1]
                yield from self.body(name, value, path)

    def body(self, name: str, value: Any, path: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - as above
        """Yield (path, value) of a defined type."""
        body = body_of(self._types[name], name)
        match body.get("kind"):
            case "struct":
                head = f"{path}." if path else ""
                for number, (label, kind) in enumerate(fields_of(body, name)):
                    yield from self.flat(kind, getattr(value, f"f{number}"), head + label)
            case "enum":
                yield path, int(value.index)
                variant = variants_of(body, name)[value.index]
                inner = fields_of(variant, name)
                own = all(
                    isinstance(o, dict) and "name" in o for o in listed(variant, "fields", name)
                )
                for number, (label, kind) in enumerate(inner):
                    held = getattr(value, f"f{number}") if own else value[number]
                    yield from self.flat(kind, held, f"{path}.{variant['name']}.{label}")
            case _:
                yield from self.flat(body.get("alias", body.get("value")), value, path)

    def given(self, kind: Any, value: Any, where: str) -> Any:  # noqa: ANN401 - as above
        """Return an argument as anchorpy wants it: mappings for structs, base58 or bytes for keys.

        Raises:
            LayoutError: a value is missing, or an enum is not given by the number of a variant
                without fields.
        """
        match kind:
            case "pubkey" | "publicKey":
                from solders.pubkey import Pubkey  # noqa: PLC0415 - beside anchorpy only

                return Pubkey.from_string(value) if isinstance(value, str) else Pubkey(value)
            case "bytes":
                return bytes(value)
            case str():
                return value
            case {"option": item}:
                return None if value is None else self.given(item, value, where)
            case {"vec": item} | {"array": [item, _]}:
                return [self.given(item, one, where) for one in value]
            case _:
                name = str(defined_of(kind, where)).rsplit("::", 1)[-1]
                return self._given_body(name, value)

    def _given_body(self, name: str, value: Any) -> Any:  # noqa: ANN401 - as above
        body = body_of(self._types[name], name)
        if body.get("kind") == "struct":
            fields = fields_of(body, name)
            return self.struct(fields, value, name)
        raise LayoutError(f"an argument of type {name} cannot be encoded: it is no struct")

    def struct(self, fields: list[tuple[str, Any]], value: Mapping[str, Any], where: str) -> Json:
        """Return the fields of a mapping under the names of `to_legacy`.

        Raises:
            LayoutError: one is missing.
        """
        missing = [label for label, _ in fields if label not in value]
        if missing:
            raise LayoutError(f"cannot encode {where}: {missing[0]} is missing")
        return {
            f"f{number}": self.given(kind, value[label], f"{where}.{label}")
            for number, (label, kind) in enumerate(fields)
        }
