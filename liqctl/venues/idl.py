"""Anchor IDLs as layouts: account bytes to values, values to instruction bytes."""

import hashlib
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from solders.pubkey import Pubkey

from liqctl.core.instruction import AccountMeta, Instruction
from liqctl.errors import LayoutError

if TYPE_CHECKING:
    from anchorpy import Coder

Json = dict[str, Any]

_SCALARS = {
    "bool": ("B", "u1"),
    "u8": ("B", "u1"),
    "i8": ("b", "i1"),
    "u16": ("H", "<u2"),
    "i16": ("h", "<i2"),
    "u32": ("I", "<u4"),
    "i32": ("i", "<i4"),
    "u64": ("Q", "<u8"),
    "i64": ("q", "<i8"),
    "f32": ("f", "<f4"),
    "f64": ("d", "<f8"),
}
_WIDE = {"u128": "<u8", "i128": "<i8"}
_KEYS = ("pubkey", "publicKey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A type of fixed size: where each value lies, flat and nested.

    `names` are the paths of the values in order ("tiers[0].max_leverage"); `dtype` is the same
    nested, for many accounts at once. 128-bit integers are `wide` in `names` order; in `dtype`
    they are two 64-bit columns, `lo` and `hi`.
    """

    size: int
    align: int
    code: str
    names: tuple[str, ...]
    dtype: np.dtype[Any]
    wide: tuple[tuple[int, bool], ...] = ()
    bools: tuple[int, ...] = ()
    members: tuple[tuple[str, "Layout"], ...] = ()
    element: "Layout | None" = None
    length: int = 0
    packer: struct.Struct = field(init=False)

    def __post_init__(self) -> None:
        """Compile the flat form."""
        object.__setattr__(self, "packer", struct.Struct("<" + self.code))

    def read(self, blob: bytes, offset: int = 0) -> dict[str, Any]:
        """Return the values by path: integers, and bytes for public keys and byte arrays.

        Raises:
            LayoutError: the blob ends early, or a bool is neither 0 nor 1.
        """
        if len(blob) < offset + self.size:
            raise LayoutError(f"expected {offset + self.size} bytes, found {len(blob)}")
        values: Sequence[Any] = self.packer.unpack_from(blob, offset)
        for index in self.bools:
            if values[index] > 1:
                raise LayoutError(f"{self.names[index]} is a bool and was {values[index]}")
        if self.wide:
            values = list(values)
            for index, signed in self.wide:
                values[index] = int.from_bytes(values[index], "little", signed=signed)
        return dict(zip(self.names, values, strict=True))

    def write(self, value: object) -> bytes:
        """Return the bytes of a nested value: mappings for structs, sequences for arrays.

        Public keys are bytes or base58 text.

        Raises:
            LayoutError: a value is missing or does not fit its field.
        """
        try:
            flat = list(self.flat(value))
            for index, signed in self.wide:
                flat[index] = flat[index].to_bytes(16, "little", signed=signed)
            return self.packer.pack(*flat)
        except (KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            raise LayoutError(f"cannot encode {value!r}: {error}") from error

    def flat(self, value: Any) -> Iterator[Any]:  # noqa: ANN401 - any value the IDL describes
        """Yield the plain values of a nested one, in the order of `names`."""
        if self.members:
            for name, member in self.members:
                yield from member.flat(value[name])
        elif self.element is not None:
            for item in value:
                yield from self.element.flat(item)
        elif self.length:
            yield _exact_bytes(value, self.length)
        elif self.names:
            yield value


def _exact_bytes(value: object, length: int) -> bytes:
    if isinstance(value, str):
        value = bytes(Pubkey.from_string(value))
    blob = bytes(value) if isinstance(value, bytes | bytearray | list | tuple) else b""
    if len(blob) != length:
        raise ValueError(f"expected {length} bytes, was {value!r}")
    return blob


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRole:
    """One account of an instruction as the IDL lists it; `address` when it is a fixed one."""

    name: str
    signer: bool
    writable: bool
    address: str | None


class Idl:
    """One program's interface, in either format of Anchor.

    Field and instruction names are snake_case in both. Every method raises LayoutError with the
    name of the type when the IDL does not say something in a way that has one meaning.
    """

    def __init__(self, raw: Json) -> None:
        """Take the parsed JSON."""
        metadata: Json = raw.get("metadata") or {}
        if metadata.get("spec", "0.1.0") != "0.1.0":
            raise LayoutError(f"IDL spec {metadata['spec']} is not known, only 0.1.0")
        self.raw = raw
        self.address: str | None = raw.get("address") or metadata.get("address")
        self._accounts: dict[str, Json] = {one["name"]: one for one in raw.get("accounts", [])}
        self._events: dict[str, Json] = {one["name"]: one for one in raw.get("events", [])}
        self._instructions = {_snake(one["name"]): one for one in raw.get("instructions", [])}
        bodies = [one for one in raw.get("accounts", []) if "type" in one]
        self._types: dict[str, Json] = {
            one["name"]: one for one in [*bodies, *raw.get("types", [])]
        }
        self.errors: dict[int, str] = {one["code"]: one["name"] for one in raw.get("errors", [])}
        self._layouts: dict[str, Layout] = {}
        self._calls: dict[str, tuple[tuple[AccountRole, ...], bytes, Layout]] = {}

    def type_layout(self, name: str) -> Layout:
        """Return the layout of a type, without discriminator."""
        if name not in self._layouts:
            self._layouts[name] = _Resolver(self._types).defined(name)
        return self._layouts[name]

    def account_layout(self, name: str) -> Layout:
        """Return the layout of an account behind its discriminator."""
        if name not in self._accounts:
            raise LayoutError(f"the IDL has no account {name}")
        return self.type_layout(name)

    def account_discriminator(self, name: str) -> bytes:
        """Return the first bytes of an account, as given or as Anchor derives them."""
        if name not in self._accounts:
            raise LayoutError(f"the IDL has no account {name}")
        proper = name[:1].upper() + name[1:]
        return _discriminator(self._accounts[name], f"account:{proper}")

    def event_discriminator(self, name: str) -> bytes:
        """Return the first bytes of a logged event."""
        if name not in self._events:
            raise LayoutError(f"the IDL has no event {name}")
        return _discriminator(self._events[name], f"event:{name}")

    def instruction(
        self,
        name: str,
        program: str,
        accounts: Mapping[str, str],
        args: Mapping[str, object] | None = None,
    ) -> Instruction:
        """Return a call; accounts by name, those with a fixed address may be left out."""
        roles, head, layout = self._call(name)
        metas = []
        for role in roles:
            address = accounts.get(role.name, role.address)
            if address is None:
                raise LayoutError(f"{name} needs the account {role.name}")
            metas.append(AccountMeta(address, role.signer, role.writable))
        body = layout.write(args or {}) if layout.members else b""
        return Instruction(program=program, accounts=tuple(metas), data=head + body)

    def _call(self, name: str) -> tuple[tuple[AccountRole, ...], bytes, Layout]:
        if name not in self._calls:
            if name not in self._instructions:
                raise LayoutError(f"the IDL has no instruction {name}")
            described = self._instructions[name]
            head = _discriminator(described, f"global:{name}")
            args = _Resolver(self._types).struct(described.get("args", []), name, aligned=False)
            self._calls[name] = (tuple(_roles(described["accounts"])), head, args)
        return self._calls[name]


def _roles(listed: Sequence[Json]) -> Iterator[AccountRole]:
    for one in listed:
        if "accounts" in one:
            yield from _roles(one["accounts"])
        else:
            yield AccountRole(
                name=_snake(one["name"]),
                signer=bool(one.get("signer", one.get("isSigner", False))),
                writable=bool(one.get("writable", one.get("isMut", False))),
                address=one.get("address"),
            )


def _discriminator(described: Json, preimage: str) -> bytes:
    given = described.get("discriminator")
    return bytes(given) if given else hashlib.sha256(preimage.encode()).digest()[:8]


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


class _Resolver:
    """Types of one IDL, resolved by name; a cycle or a size that varies is refused."""

    def __init__(self, types: Mapping[str, Json]) -> None:
        self._types = types
        self._open: list[str] = []

    def defined(self, name: str, *, aligned: bool = False) -> Layout:
        name = name.rsplit("::", 1)[-1]
        if name not in self._types:
            raise LayoutError(f"the IDL does not define {name}")
        if name in self._open:
            raise LayoutError(f"{name} contains itself")
        described = self._types[name]
        if described.get("generics"):
            raise LayoutError(f"{name} is generic")
        self._open.append(name)
        layout = self._body(described["type"], name, aligned=self._aligned(described, aligned))
        self._open.pop()
        return layout

    @staticmethod
    def _aligned(described: Json, inherited: bool) -> bool:
        serialization = described.get("serialization", "borsh")
        if serialization not in {"borsh", "bytemuck"}:
            raise LayoutError(f"{described['name']} is serialized as {serialization}")
        if (described.get("repr") or {}).get("packed"):
            raise LayoutError(f"{described['name']} is packed")
        return inherited or serialization == "bytemuck"

    def _body(self, body: Json, name: str, *, aligned: bool) -> Layout:
        match body["kind"]:
            case "struct":
                return self.struct(body.get("fields", []), name, aligned=aligned)
            case "enum" if not any(one.get("fields") for one in body["variants"]):
                return _scalar("u8")
            case "type" | "alias":
                return self.layout(body.get("alias", body.get("value")), name, aligned=aligned)
            case kind:
                raise LayoutError(f"{name} is of kind {kind} and has no fixed layout")

    def struct(self, fields: Sequence[Any], name: str, *, aligned: bool) -> Layout:
        members: list[tuple[str, Layout]] = []
        for index, one in enumerate(fields):
            named = isinstance(one, dict) and "name" in one
            label = _unused(_snake(one["name"]) if named else f"field{index}", members)
            found = self.layout(one["type"] if named else one, f"{name}.{label}", aligned=aligned)
            members.append((label, found))
        return _joined(members, aligned=aligned)

    def layout(self, kind: Any, name: str, *, aligned: bool) -> Layout:  # noqa: ANN401 - JSON
        if isinstance(kind, str):
            if aligned and kind in _WIDE:
                raise LayoutError(f"{name}: the alignment of {kind} differs between compilers")
            if kind in _KEYS:
                return _blob(32)
            if kind in _SCALARS or kind in _WIDE:
                return _scalar(kind)
        elif "array" in kind:
            item, count = kind["array"]
            if not isinstance(count, int):
                raise LayoutError(f"{name} has a length that is a generic")
            return _array(self.layout(item, name, aligned=aligned), item, count)
        elif "defined" in kind:
            target = kind["defined"]
            if isinstance(target, dict):
                if target.get("generics"):
                    raise LayoutError(f"{name} is generic")
                target = target["name"]
            return self.defined(target, aligned=aligned)
        raise LayoutError(f"{name} is {kind} and has no fixed layout")


def _unused(label: str, members: Sequence[tuple[str, Layout]]) -> str:
    taken = {name for name, _ in members}
    unique, count = label, 2
    while unique in taken:
        unique, count = f"{label}_{count}", count + 1
    return unique


def _scalar(kind: str) -> Layout:
    if kind in _WIDE:
        halves = np.dtype([("lo", "<u8"), ("hi", _WIDE[kind])])
        wide = ((0, kind == "i128"),)
        return Layout(size=16, align=16, code="16s", names=("",), dtype=halves, wide=wide)
    code, column = _SCALARS[kind]
    size = struct.calcsize("<" + code)
    bools = (0,) if kind == "bool" else ()
    dtype = np.dtype(column)
    return Layout(size=size, align=size, code=code, names=("",), dtype=dtype, bools=bools)


def _blob(length: int) -> Layout:
    # V and not S: numpy strips trailing zero bytes of S, which public keys may have.
    dtype: np.dtype[Any] = np.dtype(f"V{length}")
    return Layout(size=length, align=1, code=f"{length}s", names=("",), dtype=dtype, length=length)


def _array(item: Layout, kind: object, count: int) -> Layout:
    if kind == "u8" and count:
        return _blob(count)
    each = len(item.names)
    return Layout(
        size=item.size * count,
        align=item.align,
        code=item.code * count,
        names=tuple(_path(f"[{n}]", name) for n in range(count) for name in item.names),
        dtype=np.dtype((item.dtype, (count,))),
        wide=tuple((n * each + index, sign) for n in range(count) for index, sign in item.wide),
        bools=tuple(n * each + index for n in range(count) for index in item.bools),
        element=item,
    )


def _path(place: str, name: str) -> str:
    return f"{place}.{name}" if name and name[0] != "[" else place + name


def _joined(members: Sequence[tuple[str, Layout]], *, aligned: bool) -> Layout:
    code, offset = "", 0
    names: list[str] = []
    wide: list[tuple[int, bool]] = []
    bools: list[int] = []
    offsets = []
    align = max((one.align for _, one in members), default=1) if aligned else 1
    for label, one in members:
        gap = -offset % one.align if aligned else 0
        code += f"{gap}x" * bool(gap) + one.code
        offsets.append(offset + gap)
        offset += gap + one.size
        wide += [(len(names) + index, signed) for index, signed in one.wide]
        bools += [len(names) + index for index in one.bools]
        names += [_path(label, name) for name in one.names]
    gap = -offset % align
    dtype = np.dtype(
        {
            "names": [label for label, _ in members],
            "formats": [one.dtype for _, one in members],
            "offsets": offsets,
            "itemsize": offset + gap,
        }
    )
    return Layout(
        size=offset + gap,
        align=align,
        code=code + f"{gap}x" * bool(gap),
        names=tuple(names),
        dtype=dtype,
        wide=tuple(wide),
        bools=tuple(bools),
        members=tuple(members),
    )


def to_legacy(raw: Json) -> Json:
    """Return a spec-0.1.0 IDL in the older format, the only one that anchorpy reads."""
    accounts = {one["name"] for one in raw.get("accounts", [])}
    events = {one["name"] for one in raw.get("events", [])}
    types = {one["name"]: one for one in raw.get("types", [])}
    return {
        "version": raw["metadata"]["version"],
        "name": raw["metadata"]["name"],
        "instructions": [
            {
                "name": _camel(one["name"]),
                "accounts": [
                    {"name": _camel(role.name), "isMut": role.writable, "isSigner": role.signer}
                    for role in _roles(one["accounts"])
                ],
                "args": [_legacy_field(arg) for arg in one["args"]],
            }
            for one in raw["instructions"]
        ],
        "accounts": [_legacy_type(types[name]) for name in sorted(accounts)],
        "types": [
            _legacy_type(one) for name, one in types.items() if name not in accounts | events
        ],
        "events": [
            {
                "name": name,
                "fields": [
                    {**_legacy_field(one), "index": False} for one in types[name]["type"]["fields"]
                ],
            }
            for name in sorted(events)
        ],
        "errors": raw.get("errors", []),
    }


def _legacy_type(described: Json) -> Json:
    fields = [_legacy_field(one) for one in described["type"]["fields"]]
    return {"name": described["name"], "type": {"kind": "struct", "fields": fields}}


def _legacy_field(described: Json) -> Json:
    return {"name": _camel(described["name"]), "type": _legacy_kind(described["type"])}


def _legacy_kind(kind: Any) -> Any:  # noqa: ANN401 - JSON
    if kind == "pubkey":
        return "publicKey"
    if isinstance(kind, dict) and "array" in kind:
        item, count = kind["array"]
        return {"array": [_legacy_kind(item), count]}
    if isinstance(kind, dict) and "defined" in kind:
        return {"defined": kind["defined"]["name"]}
    return kind


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def anchorpy_coder(raw: Json) -> "Coder":
    """Return anchorpy's coder of an IDL in either format; slow, off the hot path."""
    import anchorpy  # noqa: PLC0415 - most of a second to import

    legacy = to_legacy(raw) if "spec" in (raw.get("metadata") or {}) else raw
    return anchorpy.Coder(anchorpy.Idl.from_json(json.dumps(legacy)))
