"""Writes the C header of the program from its IDL: layouts, discriminators, account lists, errors."""

import json
from importlib.resources import files
from typing import Any

_INTEGERS = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8}
_C_INTEGERS = {"u8": "u8", "u16": "u16", "u32": "u32", "u64": "u64", "i64": "i64", "bool": "u8"}
_DISCRIMINATED = ("accounts", "events")

Idl = dict[str, Any]


def read_idl() -> Idl:
    """Return the parsed IDL of the program, the source of every layout, name and code."""
    text = files("liqctl.venues").joinpath("liquidation_engine.json").read_text(encoding="utf-8")
    idl: Idl = json.loads(text)
    return idl


def header(idl: Idl) -> str:
    """Return the text of `idl.h`. Raises ValueError for a type that C would lay out differently."""
    parts = [
        "/* Generated from liqctl/venues/liquidation_engine.json by generate.py. */",
        "#pragma once",
        '#include "types.h"',
        *(_struct(idl, type_) for type_ in idl["types"]),
        *(_discriminator(kind, entry) for kind in _DISCRIMINATED for entry in idl[kind]),
        *(_instruction(idl, instruction) for instruction in idl["instructions"]),
        _errors(idl["errors"]),
    ]
    return "\n\n".join(parts) + "\n"


def _struct(idl: Idl, type_: dict[str, Any]) -> str:
    """A C struct whose offsets the compiler compares with the packed (borsh) ones.

    An account or event begins with its discriminator, as its bytes do.
    """
    name = type_["name"]
    lines = [f"typedef struct {name} {{"]
    offset = 0
    checks = []
    if any(entry["name"] == name for kind in _DISCRIMINATED for entry in idl[kind]):
        lines.append("    u64 discriminator;")
        offset = 8
    for field in type_["type"]["fields"]:
        c_type, suffix, size = _c_type(idl, field["type"])
        lines.append(f"    {c_type} {field['name']}{suffix};")
        checks.append(f'_Static_assert(offsetof({name}, {field["name"]}) == {offset}, "packed");')
        offset += size
    lines.append(f"}} {name};")
    return "\n".join([*lines, f"#define {_upper(name)}_SIZE {offset}", *checks])


def _c_type(idl: Idl, kind: Any) -> tuple[str, str, int]:  # noqa: ANN401 - a node of the JSON
    """C type, array suffix and packed size of an IDL type."""
    if kind == "pubkey":
        return "Pubkey", "", 32
    if isinstance(kind, str) and kind in _C_INTEGERS:
        return _C_INTEGERS[kind], "", _INTEGERS.get(kind, 1)
    if isinstance(kind, dict) and "array" in kind:
        element, length = kind["array"]
        c_type, suffix, size = _c_type(idl, element)
        return c_type, f"[{length}]{suffix}", size * length
    if isinstance(kind, dict) and "defined" in kind:
        name = kind["defined"]["name"]
        fields = next(type_ for type_ in idl["types"] if type_["name"] == name)["type"]["fields"]
        return name, "", sum(_c_type(idl, field["type"])[2] for field in fields)
    raise ValueError(f"a type that the header can express was expected, found {kind!r}")


def _discriminator(kind: str, entry: dict[str, Any]) -> str:
    prefix = {"accounts": "ACCOUNT", "events": "EVENT"}[kind]
    return f"#define {prefix}_{_upper(entry['name'])} {_u64(entry['discriminator'])}"


def _instruction(idl: Idl, instruction: dict[str, Any]) -> str:
    """The discriminator, the index of each account and what each account must be."""
    name = instruction["name"].upper()
    accounts = instruction["accounts"]
    indices = ", ".join(f"{name}_{account['name'].upper()}" for account in accounts)
    flags = ", ".join(_flags(account) for account in accounts)
    return "\n".join(
        [
            f"#define INSTRUCTION_{name} {_u64(instruction['discriminator'])}",
            f"enum {{ {indices}, {name}_COUNT }};",
            f"static const u8 {name}_FLAGS[{name}_COUNT] = {{ {flags} }};",
            *_arguments(idl, instruction),
        ]
    )


def _arguments(idl: Idl, instruction: dict[str, Any]) -> list[str]:
    """Where each argument lies behind the discriminator, and the length of all."""
    name, offset, lines = instruction["name"].upper(), 0, []
    for argument in instruction["args"]:
        lines.append(f"#define {name}_ARG_{argument['name'].upper()} {offset}")
        offset += _c_type(idl, argument["type"])[2]
    return [*lines, f"#define {name}_ARGS_SIZE {offset}"]


def _flags(account: dict[str, Any]) -> str:
    flags = [
        *(["SIGNER"] if account.get("signer") else []),
        *(["WRITABLE"] if account.get("writable") else []),
        *([account["name"].upper()] if "address" in account else []),
    ]
    return " | ".join(flags) or "0"


def _errors(errors: list[dict[str, Any]]) -> str:
    """The codes as an enum, and the line that is logged for each, in Anchor's words."""
    names = "\n".join(f"    Error{error['name']} = {error['code']}," for error in errors)
    lines = []
    for place, error in enumerate(errors):
        if error["code"] != errors[0]["code"] + place:
            raise ValueError(f"error codes must be consecutive, {error['name']} is {error['code']}")
        text = (
            f"AnchorError occurred. Error Code: {error['name']}. "
            f"Error Number: {error['code']}. Error Message: {error['msg']}."
        )
        lines.append(f"    {{{json.dumps(text)}, {len(text.encode())}}},")
    return "\n".join(
        [
            f"enum {{\n{names}\n}};",
            f"#define FIRST_ERROR {errors[0]['code']}",
            f"static const ErrorLine ERROR_LINES[{len(errors)}] = {{",
            *lines,
            "};",
        ]
    )


def _u64(discriminator: list[int]) -> str:
    return f"{int.from_bytes(bytes(discriminator), 'little'):#018x}ull"


def _upper(name: str) -> str:
    """`InsuranceFund` becomes `INSURANCE_FUND`."""
    return "".join(f"_{char}" if char.isupper() else char for char in name).lstrip("_").upper()
