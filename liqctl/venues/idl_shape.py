"""The form of an IDL's JSON: every part is what it should be, or is refused by name."""

import re
from collections.abc import Iterator
from typing import Any

from liqctl.errors import LayoutError

Json = dict[str, Any]

SHOWN_LENGTH_MAX = 60
VARIANTS_MAX = 256
CODE_MAX = 2**32 - 1


def snake(name: str) -> str:
    """Return a name as Rust writes it.

    >>> snake("entryPrice"), snake("VerificationLevel"), snake("max_size")
    ('entry_price', 'verification_level', 'max_size')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def shown(kind: object) -> str:
    """Return a type of an IDL as people write it, shortened.

    >>> shown({"option": {"defined": {"name": "Price"}}}), shown("string")
    ('option<Price>', 'string')
    """
    text = _written(kind, 4)
    return text if len(text) <= SHOWN_LENGTH_MAX else text[: SHOWN_LENGTH_MAX - 3] + "..."


def _written(kind: object, depth: int) -> str:
    match kind:
        case str():
            return kind
        case {"option": item} if depth:
            return f"option<{_written(item, depth - 1)}>"
        case {"vec": item} if depth:
            return f"vec<{_written(item, depth - 1)}>"
        case {"array": [item, count]} if depth:
            return f"[{_written(item, depth - 1)}; {count}]"
        case {"defined": {"name": str(name)}} | {"defined": str(name)}:
            return name
        case _:
            return repr(kind)[: 2 * SHOWN_LENGTH_MAX]


def mapping_of(value: object, where: str) -> Json:
    """Return a JSON object.

    Raises:
        LayoutError: it is something else.
    """
    if not isinstance(value, dict):
        raise LayoutError(f"{where} of the IDL must be an object, was {shown(value)}")
    return value


def listed(owner: Json, key: str, where: str) -> list[Any]:
    """Return a list of an object, empty where it is left out.

    Raises:
        LayoutError: it is something else.
    """
    value = owner.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise LayoutError(f"{key} of {where} must be a list, was {shown(value)}")
    return value


def name_of(owner: object, where: str) -> str:
    """Return the name of an object: printable text that is not empty.

    Raises:
        LayoutError: it has none.
    """
    name = mapping_of(owner, where).get("name")
    if not isinstance(name, str) or not name or not name.isprintable():
        raise LayoutError(f"{where} of the IDL has no proper name, but {shown(name)}")
    return name


def named(owner: Json, key: str) -> dict[str, Json]:
    """Return the objects of a list by name.

    Raises:
        LayoutError: one is no object, has no name, or two have the same one.
    """
    found: dict[str, Json] = {}
    for one in listed(owner, key, "the IDL"):
        name = name_of(one, f"an entry of {key}")
        if name in found:
            raise LayoutError(f"{key} of the IDL has {name} twice")
        found[name] = one
    return found


def body_of(described: Json, where: str) -> Json:
    """Return the `type` of a description.

    Raises:
        LayoutError: it has none.
    """
    return mapping_of(described.get("type"), f"the type of {where}")


def fields_of(owner: Json, where: str, key: str = "fields") -> list[tuple[str, Any]]:
    """Return the fields of a struct as (name, type); tuple fields and repeated names get a number.

    Raises:
        LayoutError: a field has no type or no proper name.
    """
    found: list[tuple[str, Any]] = []
    taken: set[str] = set()
    for index, one in enumerate(listed(owner, key, where)):
        plain = isinstance(one, str) or (isinstance(one, dict) and "name" not in one)
        label = f"field{index}" if plain else snake(name_of(one, f"a field of {where}"))
        if not plain and "type" not in one:
            raise LayoutError(f"{where}.{label} has no type")
        unique, count = label, 2
        while unique in taken:
            unique, count = f"{label}_{count}", count + 1
        taken.add(unique)
        found.append((unique, one if plain else mapping_of(one, unique)["type"]))
    return found


def variants_of(body: Json, where: str) -> list[Json]:
    """Return the variants of an enum.

    Raises:
        LayoutError: there is none, there are more than a byte can tell apart, or one has no name.
    """
    variants = listed(body, "variants", where)
    if not 0 < len(variants) <= VARIANTS_MAX:
        raise LayoutError(f"{where} is an enum with {len(variants)} variants")
    for one in variants:
        name_of(one, f"a variant of {where}")
        listed(one, "fields", where)
    return variants


def array_of(kind: object, where: str) -> tuple[Any, int] | None:
    """Return element type and length of an array type, or None for another type.

    Raises:
        LayoutError: it is an array, but not of a fixed length.
    """
    if not isinstance(kind, dict) or "array" not in kind:
        return None
    match kind["array"]:
        case [item, int(count)] if not isinstance(count, bool) and count >= 0:
            return item, count
        case [_, {"generic": name}]:
            raise LayoutError(f"{where} has a length that is a generic, {shown(name)}")
        case other:
            raise LayoutError(f"{where} is an array of the form {shown(other)}")


def defined_of(kind: object, where: str) -> str | None:
    """Return the name of a type that is defined elsewhere, or None for another type.

    Raises:
        LayoutError: it has generic arguments, or no name.
    """
    if not isinstance(kind, dict) or "defined" not in kind:
        return None
    target = kind["defined"]
    if isinstance(target, dict):
        if target.get("generics"):
            raise LayoutError(f"{where} is generic, {shown(target.get('name'))}")
        target = target.get("name")
    if not isinstance(target, str):
        raise LayoutError(f"{where} names no type, but {shown(target)}")
    return target


def discriminator_of(described: Json, where: str) -> bytes | None:
    """Return the discriminator that a description gives, or None.

    Raises:
        LayoutError: it is no list of bytes.
    """
    given = described.get("discriminator")
    if given is None:
        return None
    whole = isinstance(given, list) and all(type(one) is int and 0 <= one <= 255 for one in given)
    if not whole or not given:
        raise LayoutError(f"the discriminator of {where} is {shown(given)}, expected bytes")
    return bytes(given)


def errors_of(raw: Json) -> Iterator[tuple[int, str]]:
    """Yield code and name of each error.

    Raises:
        LayoutError: a code is no number of 32 bits.
    """
    for one in listed(raw, "errors", "the IDL"):
        name = name_of(one, "an error")
        code = one.get("code")
        if type(code) is not int or not 0 <= code <= CODE_MAX:
            raise LayoutError(f"the code of the error {name} is {shown(code)}")
        yield code, name
