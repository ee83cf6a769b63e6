"""Anchor IDLs: account bytes to values, values to instruction bytes."""

import hashlib
import json
import struct
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from liqctl.core.instruction import AccountMeta, Instruction
from liqctl.errors import LayoutError
from liqctl.venues.idl_legacy import Values, flat_roles, part, proper, to_legacy
from liqctl.venues.idl_shape import (
    Json,
    body_of,
    defined_of,
    discriminator_of,
    errors_of,
    fields_of,
    listed,
    mapping_of,
    named,
    shown,
    snake,
)
from liqctl.venues.layout import KEYS, Layout, Resolver, SizeVaries

if TYPE_CHECKING:
    from anchorpy import Coder

__all__ = ["AccountRole", "Columns", "Idl", "Layout", "anchorpy_coder", "to_legacy"]

SPEC = "0.1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountRole:
    """One account of an instruction as the IDL lists it.

    `address` when it is a fixed one; `pda` is what the IDL says of a derived one.
    """

    name: str
    signer: bool
    writable: bool
    address: str | None
    pda: Json | None = None
    optional: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Many accounts of one kind: `rows` in the layout's dtype, `indices` says which they are.

    `refused` has the reason of every other one by its index.
    """

    rows: np.ndarray[Any, Any]
    indices: np.ndarray[Any, Any]
    refused: Mapping[int, str]


class Idl:
    """One program's interface, in either format of Anchor.

    Field and instruction names are snake_case in both. Every method raises LayoutError with the
    name of the type when the IDL does not say something in a way that has one meaning.
    """

    def __init__(self, raw: object) -> None:
        """Take the parsed JSON; bodies of types are looked at when they are asked for."""
        self.raw = mapping_of(raw, "the top level")
        metadata = mapping_of(self.raw.get("metadata") or {}, "the metadata")
        spec = metadata.get("spec", SPEC)
        if spec != SPEC:
            raise LayoutError(f"IDL spec {shown(spec)} is not known, only {SPEC}")
        address = self.raw.get("address") or metadata.get("address")
        self.address: str | None = address if isinstance(address, str) else None
        self._accounts = named(self.raw, "accounts")
        self._events = named(self.raw, "events")
        self._instructions = {
            snake(name): one for name, one in named(self.raw, "instructions").items()
        }
        bodies = {name: one for name, one in self._accounts.items() if "type" in one}
        self._types = {**bodies, **named(self.raw, "types")}
        for name, one in self._types.items():
            body_of(one, name)
        self.errors: dict[int, str] = dict(errors_of(self.raw))
        self._heads: dict[str, bytes] = {}
        self._layouts: dict[str, Layout] = {}
        self._coders: dict[tuple[str, str], Coder] = {}
        self._calls: dict[str, tuple[tuple[AccountRole, ...], bytes, Layout | None]] = {}

    @classmethod
    def parse(cls, text: bytes | str) -> "Idl":
        """Return the interface that a file describes.

        Raises:
            LayoutError: it is no JSON, or no IDL.
        """
        try:
            raw = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise LayoutError(f"this is no JSON: {error}") from error
        return cls(raw)

    @cached_property
    def sha256(self) -> str:
        """The hash of what the IDL says, whatever its spacing and the order of its keys."""
        text = json.dumps(self.raw, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def account_names(self) -> tuple[str, ...]:
        """The account kinds in the order of the IDL."""
        return tuple(self._accounts)

    @property
    def instruction_names(self) -> tuple[str, ...]:
        """The instructions in the order of the IDL."""
        return tuple(self._instructions)

    @property
    def event_names(self) -> tuple[str, ...]:
        """The events in the order of the IDL."""
        return tuple(self._events)

    def type_layout(self, name: str) -> Layout:
        """Return the layout of a type, without discriminator."""
        if name not in self._layouts:
            self._layouts[name] = Resolver(self._types).defined(name)
        return self._layouts[name]

    def account_layout(self, name: str) -> Layout:
        """Return the layout of an account behind its discriminator."""
        self._account(name)
        return self.type_layout(name)

    def account_size(self, name: str) -> int | None:
        """Return the bytes of an account with its discriminator, or None where they vary."""
        try:
            return len(self.account_discriminator(name)) + self.account_layout(name).size
        except SizeVaries:
            return None

    def account_discriminator(self, name: str) -> bytes:
        """Return the first bytes of an account, as given or as Anchor derives them."""
        if name not in self._heads:
            self._heads[name] = _discriminator(self._account(name), f"account:{proper(name)}")
        return self._heads[name]

    def event_discriminator(self, name: str) -> bytes:
        """Return the first bytes of a logged event."""
        if name not in self._events:
            raise LayoutError(f"the IDL has no event {name}")
        return _discriminator(self._events[name], f"event:{name}")

    def event_layout(self, name: str) -> Layout:
        """Return the layout of a logged event behind its discriminator."""
        self.event_discriminator(name)
        if name in self._types:
            return self.type_layout(name)
        fields = fields_of(self._events[name], name)
        return Resolver(self._types).struct(fields, name, aligned=False)

    def _account(self, name: str) -> Json:
        if name not in self._accounts:
            raise LayoutError(f"the IDL has no account {name}")
        return self._accounts[name]

    def fields(self, name: str) -> dict[str, str]:
        """Return what the IDL says each value of an account is, by path.

        Where the size varies, lists and options are one value each.
        """
        try:
            layout = self.account_layout(name)
        except SizeVaries:
            return dict(self._varying(name, ""))
        return dict(zip(layout.names, layout.kinds, strict=True))

    def _varying(self, name: str, path: str) -> Iterator[tuple[str, str]]:
        head = f"{path}." if path else ""
        body = body_of(self._types[name], name)
        if body.get("kind") != "struct":
            yield path, "enum"
            return
        for label, kind in fields_of(body, name):
            inner = defined_of(kind, label)
            match kind:
                case {"array": ["u8", _]}:
                    yield head + label, "bytes"
                case _ if inner is not None:
                    yield from self._varying(inner.rsplit("::", 1)[-1], head + label)
                case _:
                    yield head + label, "pubkey" if kind in KEYS else shown(kind)

    def read(self, name: str, data: bytes) -> dict[str, Any]:
        """Return the values of an account by path, whether its size is fixed or not.

        Integers, bytes for public keys and byte arrays, text for strings, None for an option that
        is not there. Where the size varies, anchorpy decodes.

        Raises:
            LayoutError: another discriminator, or bytes that are no such account.
        """
        head = self.account_discriminator(name)
        if data[: len(head)] != head:
            found = data[: len(head)].hex()
            raise LayoutError(f"{name} starts with {head.hex()}, found {found or 'nothing'}")
        try:
            layout = self.account_layout(name)
        except SizeVaries:
            return self._read_variable(name, data[len(head) :])
        return layout.read(data, len(head))

    def _read_variable(self, name: str, body: bytes) -> dict[str, Any]:
        from construct import ConstructError  # noqa: PLC0415 - of anchorpy, as late as it

        layouts = self._coder(account=name).accounts._accounts_layout  # noqa: SLF001 - decode() would derive a discriminator of its own
        try:
            value = layouts[proper(name)].parse(body)
            return dict(Values(self._types).body(name, value))
        except (
            *(ConstructError, ValueError, TypeError, KeyError),
            *(IndexError, OverflowError, AttributeError, MemoryError),
        ) as error:
            words = " ".join(str(error).split()) or type(error).__name__
            raise LayoutError(f"{name} of {len(body)} bytes cannot be read: {words}") from error

    def _coder(self, **wanted: str) -> "Coder":
        """Return anchorpy's coder of one account or instruction, made once."""
        key = next(iter(wanted.items()))
        if key not in self._coders:
            self._coders[key] = anchorpy_coder(part(self.raw, **wanted))
        return self._coders[key]

    def columns(self, name: str, blobs: Sequence[bytes], *, extra: int = 0) -> Columns:
        """Return accounts of one kind as numpy columns; whatever is not that kind is refused.

        Discriminator, length, bools, enums and up to `extra` bytes of zeros behind the layout are
        checked for every account.

        Raises:
            LayoutError: the account has no fixed layout.
        """
        layout, head = self.account_layout(name), self.account_discriminator(name)
        size, width = len(head), len(head) + layout.size
        lengths = np.fromiter(map(len, blobs), np.int64, len(blobs))
        fitting = np.flatnonzero((lengths >= width) & (lengths <= width + extra))
        chosen = [blobs[index] for index in fitting.tolist()]
        most = int(lengths[fitting].max(initial=width))
        if lengths[fitting].min(initial=most) < most:
            chosen = [one.ljust(most, b"\0") for one in chosen]
        # One copy of all bytes; everything else looks into it.
        joined = b"".join(chosen)
        raw = np.frombuffer(joined, np.uint8).reshape(len(fitting), most)
        sound = (raw[:, :size] == np.frombuffer(head, np.uint8)).all(axis=1)
        sound &= ~raw[:, width:].any(axis=1)
        for index, limit in layout.limits:
            place = layout.place_of(layout.names[index])
            if place is not None:
                sound &= raw[:, size + place[0]] <= limit
        columns = np.dtype(
            {"names": ["body"], "formats": [layout.dtype], "offsets": [size], "itemsize": most}
        )
        rows = np.frombuffer(joined, columns)["body"]
        kept = fitting[sound]
        return Columns(
            rows=rows if len(kept) == len(rows) else rows[sound],
            indices=kept,
            refused=_refusals(blobs, kept, name, head, range(width, width + extra + 1)),
        )

    def roles(self, name: str) -> tuple[AccountRole, ...]:
        """Return the accounts of an instruction in their order."""
        return self._call(name)[0]

    def instruction_discriminator(self, name: str) -> bytes:
        """Return the first bytes of an instruction, as given or as Anchor derives them."""
        return self._call(name)[1]

    def arguments(self, name: str) -> list[tuple[str, Any]]:
        """Return the arguments of an instruction as (name, type)."""
        self._call(name)
        return fields_of(self._instructions[name], name, "args")

    def instruction(
        self,
        name: str,
        program: str,
        accounts: Mapping[str, str],
        args: Mapping[str, object] | None = None,
    ) -> Instruction:
        """Return a call; accounts by name, those with a fixed address may be left out.

        Arguments of fixed size are packed, others encoded by anchorpy.
        """
        roles, head, layout = self._call(name)
        metas = []
        for role in roles:
            address = accounts.get(role.name, role.address)
            if address is None:
                raise LayoutError(f"{name} needs the account {role.name}")
            metas.append(AccountMeta(address, role.signer, role.writable))
        if layout is None:
            body = self._encoded(name, args or {})
        else:
            body = layout.write(args or {}) if layout.members else b""
        return Instruction(program=program, accounts=tuple(metas), data=head + body)

    def _encoded(self, name: str, args: Mapping[str, object]) -> bytes:
        """Return arguments as anchorpy encodes them, without discriminator."""
        from construct import ConstructError  # noqa: PLC0415 - of anchorpy, as late as it

        layout = self._coder(instruction=name).instruction.ix_layout[snake(name)]
        try:
            given = Values(self._types).struct(self.arguments(name), args, name)
            built: bytes = layout.build(given)
        except (
            *(ConstructError, ValueError, TypeError, KeyError),
            *(IndexError, OverflowError, AttributeError, struct.error),
        ) as error:
            words = " ".join(str(error).split())
            raise LayoutError(f"cannot encode the arguments of {name}: {words}") from error
        return built

    def _call(self, name: str) -> tuple[tuple[AccountRole, ...], bytes, Layout | None]:
        if name not in self._calls:
            if name not in self._instructions:
                raise LayoutError(f"the IDL has no instruction {name}")
            described = self._instructions[name]
            head = _discriminator(described, f"global:{name}")
            roles = tuple(_roles(listed(described, "accounts", name), name))
            fields = fields_of(described, name, "args")
            try:
                args = Resolver(self._types).struct(fields, name, aligned=False)
            except SizeVaries:
                args = None
            self._calls[name] = (roles, head, args)
        return self._calls[name]


def _roles(accounts: Sequence[Any], where: str) -> Iterator[AccountRole]:
    for one in flat_roles(accounts, where):
        address, pda = one.get("address"), one.get("pda")
        if address is not None and not isinstance(address, str):
            raise LayoutError(f"the address of {one['name']} of {where} is {shown(address)}")
        yield AccountRole(
            name=snake(one["name"]),
            signer=bool(one.get("signer", one.get("isSigner", False))),
            writable=bool(one.get("writable", one.get("isMut", False))),
            optional=bool(one.get("optional", one.get("isOptional", False))),
            address=address,
            pda=pda if isinstance(pda, dict) else None,
        )


def _discriminator(described: Json, preimage: str) -> bytes:
    given = discriminator_of(described, preimage)
    return given if given is not None else hashlib.sha256(preimage.encode()).digest()[:8]


def _refusals(
    blobs: Sequence[bytes], kept: "np.ndarray[Any, Any]", name: str, head: bytes, lengths: range
) -> dict[int, str]:
    """Return why each account that was not kept is none of that kind."""
    refused = np.ones(len(blobs), dtype=bool)
    refused[kept] = False
    found = {}
    for index in np.flatnonzero(refused).tolist():
        blob = blobs[index]
        if not blob.startswith(head):
            found[index] = f"{name} starts with {head.hex()}, found {blob[: len(head)].hex()!r}"
        elif len(blob) not in lengths:
            expected = f"{lengths.start} to {lengths.stop - 1}" if len(lengths) > 1 else lengths[0]
            found[index] = f"{name} of {len(blob)} bytes, expected {expected}"
        elif any(blob[lengths.start :]):
            found[index] = f"{name} has bytes behind its fields: a newer version"
        else:
            found[index] = f"{name} has a bool or an enum of a value that does not exist"
    return found


def anchorpy_coder(raw: Json) -> "Coder":
    """Return anchorpy's coder of an IDL in either format; slow, off the hot path.

    Its field names are those of `to_legacy`: f0, f1 and so on.

    Raises:
        LayoutError: the IDL holds something that anchorpy cannot represent.
    """
    import anchorpy  # noqa: PLC0415 - most of a second to import

    legacy = to_legacy(mapping_of(raw, "the top level"))
    try:
        with warnings.catch_warnings():
            # Its enums are made with an argument that the library attrs is about to drop.
            warnings.simplefilter("ignore", DeprecationWarning)
            return anchorpy.Coder(anchorpy.Idl.from_json(json.dumps(legacy)))
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise LayoutError(f"anchorpy cannot read this IDL: {error}") from error
