"""Types of fixed size: where each value lies, for one account and for many at once."""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from solders.pubkey import Pubkey

from liqctl.errors import LayoutError
from liqctl.venues.idl_shape import Json, array_of, defined_of, fields_of, shown, variants_of

# No account of the chain is larger, and no program reads so many values of one.
SIZE_MAX = 10 * 1024 * 1024
VALUES_MAX = 100_000
DEPTH_MAX = 32

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
KEYS = ("pubkey", "publicKey")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A type of fixed size: where each value lies, flat and nested.

    `names` are the paths of the values in order ("tiers[0].max_leverage"), `kinds` what each of
    them is in the IDL ("u64"); `dtype` is the same nested, for many accounts at once. 128-bit
    integers are `wide` in `names` order; in `dtype` they are two 64-bit columns, `lo` and `hi`.
    `limits` are the greatest values of those that cannot be any number: bools and enums.
    """

    size: int
    align: int
    code: str
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    dtype: np.dtype[Any]
    wide: tuple[tuple[int, bool], ...] = ()
    limits: tuple[tuple[int, int], ...] = ()
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
            LayoutError: the blob ends early, a bool is neither 0 nor 1, or an enum has no such
                variant.
        """
        if len(blob) < offset + self.size:
            raise LayoutError(f"expected {offset + self.size} bytes, found {len(blob)}")
        values: Sequence[Any] = self.packer.unpack_from(blob, offset)
        for index, most in self.limits:
            if values[index] > most:
                name, kind = self.names[index], self.kinds[index]
                raise LayoutError(f"{name} is {kind} and was {values[index]}")
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
        except (
            *(KeyError, TypeError, ValueError, AttributeError),
            *(OverflowError, struct.error),
        ) as error:
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

    def kind_of(self, path: str) -> str | None:
        """Return what the IDL says a value is, or None where no value has that path."""
        return dict(zip(self.names, self.kinds, strict=True)).get(path)

    def place_of(self, path: str) -> tuple[int, int] | None:
        """Return offset and size of a value, or None where no value has that path."""
        at = self
        offset = 0
        rest = path
        while rest:
            step = next(_steps(at, rest), None)
            if step is None:
                return None
            further, at, rest = step
            offset += further
        return offset, at.size


def _steps(at: Layout, rest: str) -> Iterator[tuple[int, Layout, str]]:
    """Yield where the first part of a path leads: how far, to which layout, with what left."""
    if at.element is not None and rest.startswith("["):
        number, _, left = rest[1:].partition("]")
        if number.isdecimal() and int(number) < at.size // max(at.element.size, 1):
            yield int(number) * at.element.size, at.element, left.removeprefix(".")
    for (name, member), offset in zip(at.members, _offsets(at), strict=True):
        if rest == name or rest.startswith((f"{name}.", f"{name}[")):
            yield offset, member, rest.removeprefix(name).removeprefix(".")


def _offsets(layout: Layout) -> list[int]:
    fields = layout.dtype.fields
    return [] if fields is None else [place[1] for place in fields.values()]


def _exact_bytes(value: object, length: int) -> bytes:
    if isinstance(value, str):
        value = bytes(Pubkey.from_string(value))
    blob = bytes(value) if isinstance(value, bytes | bytearray | list | tuple) else b""
    if len(blob) != length:
        raise ValueError(f"expected {length} bytes, was {value!r}")
    return blob


class SizeVaries(LayoutError):
    """A type whose values differ in size: not to be laid out, but to be decoded one by one."""


class Resolver:
    """Types of one IDL, resolved by name; a cycle or a size that varies is refused.

    Every method raises LayoutError with the name of the type and field that cannot be laid out.
    """

    def __init__(self, types: Mapping[str, Json]) -> None:
        """Take type descriptions by name."""
        self._types = types
        self._open: list[str] = []
        self._depth = 0

    def defined(self, name: str, *, aligned: bool = False) -> Layout:
        """Return the layout of a named type."""
        name = name.rsplit("::", 1)[-1]
        if name not in self._types:
            raise LayoutError(f"the IDL does not define {name}")
        if name in self._open:
            raise LayoutError(f"{name} contains itself")
        described = self._types[name]
        if described.get("generics"):
            raise LayoutError(f"{name} is generic and has no fixed layout")
        self._open.append(name)
        try:
            return self._body(described["type"], name, aligned=_aligned(described, aligned))
        finally:
            self._open.pop()

    def _body(self, body: Json, name: str, *, aligned: bool) -> Layout:
        match body.get("kind"):
            case "struct":
                return self.struct(fields_of(body, name), name, aligned=aligned)
            case "enum":
                variants = variants_of(body, name)
                if any(one.get("fields") for one in variants):
                    raise _varies(aligned)(
                        f"{name} is an enum whose variants have fields and has no fixed layout"
                    )
                return _scalar("u8", f"an enum of {len(variants)}", len(variants) - 1)
            case "type" | "alias":
                return self.layout(body.get("alias", body.get("value")), name, aligned=aligned)
            case kind:
                raise LayoutError(f"{name} is of kind {shown(kind)} and has no fixed layout")

    def struct(self, fields: Sequence[tuple[str, Any]], name: str, *, aligned: bool) -> Layout:
        """Return the layout of fields one after the other; names that repeat get a number."""
        members: list[tuple[str, Layout]] = []
        for label, kind in fields:
            members.append((label, self.layout(kind, f"{name}.{label}", aligned=aligned)))
        return _bounded(_joined(members, aligned=aligned), name)

    def layout(self, kind: Any, name: str, *, aligned: bool) -> Layout:  # noqa: ANN401 - JSON
        """Return the layout of a type as the IDL writes it."""
        if self._depth >= DEPTH_MAX:
            raise LayoutError(f"{name} is nested more than {DEPTH_MAX} deep")
        self._depth += 1
        try:
            return self._layout(kind, name, aligned=aligned)
        finally:
            self._depth -= 1

    def _layout(self, kind: Any, name: str, *, aligned: bool) -> Layout:  # noqa: ANN401 - JSON
        if isinstance(kind, str):
            if aligned and kind in _WIDE:
                raise LayoutError(f"{name}: the alignment of {kind} differs between compilers")
            if kind in KEYS:
                return _blob(32, "pubkey")
            if kind in _SCALARS or kind in _WIDE:
                return _scalar(kind, kind)
        elif (array := array_of(kind, name)) is not None:
            item, count = array
            if count > SIZE_MAX:
                raise LayoutError(f"{name} has {count} elements, more than an account can hold")
            return _bounded(_array(self.layout(item, name, aligned=aligned), item, count), name)
        elif (target := defined_of(kind, name)) is not None:
            return self.defined(target, aligned=aligned)
        match kind:
            case "string" | "bytes" | {"vec": _} | {"option": _}:
                error = _varies(aligned)
            case _:
                error = LayoutError
        raise error(f"{name} is {shown(kind)} and has no fixed layout")


def _varies(aligned: bool) -> type[LayoutError]:
    """Return the error for a size that varies; in memory of a fixed layout there is none."""
    return LayoutError if aligned else SizeVaries


def _aligned(described: Json, inherited: bool) -> bool:
    serialization = described.get("serialization", "borsh")
    if serialization not in {"borsh", "bytemuck"}:
        raise LayoutError(f"{described['name']} is serialized as {shown(serialization)}")
    form = described.get("repr") or {}
    if not isinstance(form, dict) or form.get("packed"):
        raise LayoutError(f"{described['name']} is packed and has no layout that can be relied on")
    if form.get("align") is not None:
        raise LayoutError(f"{described['name']} has an alignment of its own, {shown(form)}")
    return inherited or serialization == "bytemuck"


def _bounded(layout: Layout, name: str) -> Layout:
    if layout.size > SIZE_MAX:
        raise LayoutError(f"{name} has {layout.size} bytes, more than an account can hold")
    if len(layout.names) > VALUES_MAX:
        raise LayoutError(f"{name} has {len(layout.names)} values, at most {VALUES_MAX} are read")
    return layout


def _scalar(kind: str, label: str, most: int | None = None) -> Layout:
    if kind in _WIDE:
        halves = np.dtype([("lo", "<u8"), ("hi", _WIDE[kind])])
        wide = ((0, kind == "i128"),)
        return Layout(
            size=16, align=16, code="16s", names=("",), kinds=(label,), dtype=halves, wide=wide
        )
    code, column = _SCALARS[kind]
    size = struct.calcsize("<" + code)
    most = 1 if kind == "bool" else most
    return Layout(
        size=size,
        align=size,
        code=code,
        names=("",),
        kinds=(label,),
        dtype=np.dtype(column),
        limits=() if most is None else ((0, most),),
    )


def _blob(length: int, kind: str) -> Layout:
    # V and not S: numpy strips trailing zero bytes of S, which public keys may have.
    dtype: np.dtype[Any] = np.dtype(f"V{length}")
    return Layout(
        size=length,
        align=1,
        code=f"{length}s",
        names=("",),
        kinds=(kind,),
        dtype=dtype,
        length=length,
    )


def _array(item: Layout, kind: object, count: int) -> Layout:
    if kind == "u8" and count:
        return _blob(count, "bytes")
    each = len(item.names)
    if each * count > VALUES_MAX or item.size * count > SIZE_MAX:
        raise LayoutError(f"an array of {count} is more than an account can hold")
    return Layout(
        size=item.size * count,
        align=item.align,
        code=item.code * count,
        names=tuple(_path(f"[{n}]", name) for n in range(count) for name in item.names),
        kinds=item.kinds * count,
        dtype=np.dtype((item.dtype, (count,))) if item.size * count else np.dtype("V0"),
        wide=tuple((n * each + index, sign) for n in range(count) for index, sign in item.wide),
        limits=tuple((n * each + index, top) for n in range(count) for index, top in item.limits),
        element=item,
    )


def _path(place: str, name: str) -> str:
    return f"{place}.{name}" if name and name[0] != "[" else place + name


def _joined(members: Sequence[tuple[str, Layout]], *, aligned: bool) -> Layout:
    code, offset = "", 0
    names: list[str] = []
    kinds: list[str] = []
    wide: list[tuple[int, bool]] = []
    limits: list[tuple[int, int]] = []
    offsets = []
    align = max((one.align for _, one in members), default=1) if aligned else 1
    for label, one in members:
        gap = -offset % one.align if aligned else 0
        code += f"{gap}x" * bool(gap) + one.code
        offsets.append(offset + gap)
        offset += gap + one.size
        wide += [(len(names) + index, signed) for index, signed in one.wide]
        limits += [(len(names) + index, most) for index, most in one.limits]
        names += [_path(label, name) for name in one.names]
        kinds += one.kinds
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
        kinds=tuple(kinds),
        dtype=dtype,
        wide=tuple(wide),
        limits=tuple(limits),
        members=tuple(members),
    )
