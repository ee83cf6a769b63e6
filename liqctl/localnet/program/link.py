"""Links one clang BPF object into the shared object that the Solana VM (SBPF v0) loads."""

import struct
from dataclasses import dataclass, field

SYSTEM_CALLS = frozenset(
    {
        "sol_get_clock_sysvar",
        "sol_get_rent_sysvar",
        "sol_invoke_signed_c",
        "sol_log_",
        "sol_log_data",
        "sol_set_return_data",
        "sol_sha256",
        "sol_try_find_program_address",
    }
)
"""The VM loads an unknown name silently and fails when it is reached, so it is refused here."""

_VM_BASE = 0x1_0000_0000
_SHT_PROGBITS, _SHT_SYMTAB, _SHT_NOBITS, _SHT_REL = 1, 2, 8, 9
_SHF_WRITE, _SHF_ALLOC, _SHF_EXECINSTR = 1, 2, 4
_R_64_64, _R_ABS64, _R_64_32 = 1, 2, 10
_CALL, _CALLX, _LDDW = 0x85, 0x8D, 0x18
_SECTION_HEADER = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_PROGRAM_HEADER = struct.Struct("<IIQQQQQQ")


class LinkError(Exception):
    """The object uses something that the VM cannot load; the message names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    name: str
    kind: int
    flags: int
    body: bytes
    link: int
    target: int
    align: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Symbol:
    name: str
    section: int
    value: int


@dataclass(slots=True, kw_only=True)
class _Image:
    """The two loaded sections while addresses are written into them."""

    text: bytearray
    text_at: int
    rodata: bytearray
    rodata_at: int
    places: dict[int, int]
    calls: list[tuple[int, str]] = field(default_factory=list)


def link(object_file: bytes, *, entry: str = "entrypoint") -> bytes:
    """Return the shared object for a relocatable BPF object with one `.text`.

    Raises:
        LinkError: writable or uninitialised variables, an unknown system call, a missing entry.
    """
    sections = _sections(object_file)
    symbols = _symbols(sections)
    image = _place(sections)
    for section in sections:
        if section.kind == _SHT_REL and section.target in image.places:
            _relocate(image, section, symbols)
    _rewrite_indirect_calls(image.text)
    starts = [
        image.places[symbol.section] + symbol.value
        for symbol in symbols
        if symbol.name == entry and symbol.section
    ]
    if not starts:
        raise LinkError(f"a function {entry!r} was expected, found none")
    return _write(image, starts[0])


def _sections(elf: bytes) -> list[_Section]:
    if elf[:6] != b"\x7fELF\x02\x01" or struct.unpack_from("<HH", elf, 16) != (1, 247):
        raise LinkError("a relocatable little-endian ELF64 BPF object was expected")
    (table,) = struct.unpack_from("<Q", elf, 40)
    size, count, names_at = struct.unpack_from("<HHH", elf, 58)
    headers = [_SECTION_HEADER.unpack_from(elf, table + size * i) for i in range(count)]
    names = elf[headers[names_at][4] :]
    return [
        _Section(
            name=_text(names, name),
            kind=kind,
            flags=flags,
            body=b"" if kind == _SHT_NOBITS else elf[at : at + length],
            link=link_,
            target=target,
            align=align,
        )
        for name, kind, flags, _, at, length, link_, target, align, _ in headers
    ]


def _symbols(sections: list[_Section]) -> list[_Symbol]:
    table = next(section for section in sections if section.kind == _SHT_SYMTAB)
    names = sections[table.link].body
    return [
        _Symbol(name=_text(names, name), section=section, value=value)
        for name, _, _, section, value, _ in _SYMBOL.iter_unpack(table.body)
    ]


def _text(table: bytes, at: int) -> str:
    return table[at : table.index(b"\0", at)].decode()


def _place(sections: list[_Section]) -> _Image:
    """Lay `.text` behind the headers and all read-only data behind it; refuse what is writable."""
    texts = [i for i, section in enumerate(sections) if section.flags & _SHF_EXECINSTR]
    code = [i for i in texts if sections[i].body]
    if len(code) != 1:
        raise LinkError(f"one section of code was expected, found {len(code)}")
    text_at = 64 + 3 * _PROGRAM_HEADER.size
    text = bytearray(sections[code[0]].body)
    rodata_at = text_at + len(text)
    rodata = bytearray()
    places = {code[0]: text_at}
    for i, section in enumerate(sections):
        if not section.flags & _SHF_ALLOC or i in texts:
            continue
        if section.flags & _SHF_WRITE or section.kind != _SHT_PROGBITS:
            raise LinkError(f"only read-only data can be loaded, found section {section.name!r}")
        rodata += bytes(-len(rodata) % max(section.align, 8))
        places[i] = rodata_at + len(rodata)
        rodata += section.body
    rodata += bytes(-len(rodata) % 8)
    return _Image(text=text, text_at=text_at, rodata=rodata, rodata_at=rodata_at, places=places)


def _relocate(image: _Image, relocations: _Section, symbols: list[_Symbol]) -> None:
    start = image.places[relocations.target]
    in_text = start == image.text_at
    body, base = (image.text, 0) if in_text else (image.rodata, start - image.rodata_at)
    for offset, tag in struct.iter_unpack("<QQ", relocations.body):
        symbol, kind, at = symbols[tag >> 32], tag & 0xFFFFFFFF, base + offset
        if kind == _R_64_32 and symbol.section == 0:
            _system_call(image, at, symbol.name)
        elif symbol.section not in image.places:
            raise LinkError(f"symbol {symbol.name!r} lies in a section that is not loaded")
        elif kind == _R_64_32:
            _internal_call(image, at, image.places[symbol.section] + symbol.value)
        elif kind == _R_64_64 and body[at] == _LDDW:
            low, high = (
                struct.unpack_from("<I", body, at + 4),
                struct.unpack_from("<I", body, at + 12),
            )
            address = (
                _VM_BASE + image.places[symbol.section] + symbol.value + low[0] + (high[0] << 32)
            )
            struct.pack_into("<I", body, at + 4, address & 0xFFFFFFFF)
            struct.pack_into("<I", body, at + 12, address >> 32)
        elif kind == _R_ABS64:
            (addend,) = struct.unpack_from("<Q", body, at)
            address = _VM_BASE + image.places[symbol.section] + symbol.value + addend
            struct.pack_into("<Q", body, at, address)
        else:
            raise LinkError(
                f"relocation {kind} at {offset} of {relocations.name!r} is not supported"
            )


def _system_call(image: _Image, at: int, name: str) -> None:
    if name not in SYSTEM_CALLS:
        raise LinkError(f"{name!r} is neither defined nor an allowed system call")
    struct.pack_into("<i", image.text, at + 4, -1)
    image.calls.append((image.text_at + at, name))


def _internal_call(image: _Image, at: int, symbol_at: int) -> None:
    """Make the call relative to the next instruction, counted in instructions of 8 bytes."""
    (addend,) = struct.unpack_from("<i", image.text, at + 4)
    distance = (symbol_at - (image.text_at + at + 8)) // 8 + addend + 1
    if image.text[at] != _CALL or distance == -1:
        raise LinkError(f"the call at {at} cannot be expressed")
    struct.pack_into("<i", image.text, at + 4, distance)


def _rewrite_indirect_calls(text: bytearray) -> None:
    """Move the register of `callx` from dst, where clang puts it, to imm, where SBPF v0 reads it."""
    at = 0
    while at < len(text):
        if text[at] == _CALLX:
            register = text[at + 1] & 0x0F
            text[at + 1] = 0
            struct.pack_into("<i", text, at + 4, register)
        at += 16 if text[at] == _LDDW else 8


def _write(image: _Image, entry: int) -> bytes:
    """Headers, .text, .rodata, .dynamic, .dynsym, .dynstr, .rel.dyn, section names and headers."""
    dynsym, dynstr, reldyn = _dynamic_tables(image.calls)
    has_calls = bool(image.calls)
    dynamic_at = image.rodata_at + len(image.rodata)
    dynsym_at = dynamic_at + 16 * (7 if has_calls else 4)
    dynstr_at = dynsym_at + len(dynsym)
    reldyn_at = dynstr_at + len(dynstr)
    tags = [(5, dynstr_at), (6, dynsym_at), (10, len(dynstr))]
    if has_calls:
        tags += [(17, reldyn_at), (18, len(reldyn)), (19, 16)]
    dynamic = b"".join(struct.pack("<QQ", *tag) for tag in [*tags, (0, 0)])
    read = _SHF_ALLOC
    loaded = [
        (".text", 1, read | _SHF_EXECINSTR, image.text_at, bytes(image.text), 0, 0),
        (".rodata", 1, read, image.rodata_at, bytes(image.rodata), 0, 0),
        (".dynamic", 6, read, dynamic_at, dynamic, 5, 16),
        (".dynsym", 11, read, dynsym_at, dynsym, 5, 24),
        (".dynstr", 3, read, dynstr_at, dynstr, 0, 0),
        (".rel.dyn", 9, read, reldyn_at, reldyn, 4, 16),
    ]
    body = b"".join(section[4] for section in loaded)
    segments = _program_headers(image, dynamic_at, reldyn_at + len(reldyn))
    tail, headers_at, count = _section_table(loaded, image.text_at + len(body))
    identity = b"\x7fELF\x02\x01\x01" + bytes(9)
    shape = (3, 247, 1, entry, 64, headers_at, 0, 64, 56, 3, 64, count, count - 1)
    return identity + struct.pack("<HHIQQQIHHHHHH", *shape) + segments + body + tail


def _dynamic_tables(calls: list[tuple[int, str]]) -> tuple[bytes, bytes, bytes]:
    """Symbols, their names and one relocation for each system call; all 8-aligned."""
    names = sorted({name for _, name in calls})
    dynstr, dynsym = bytearray(b"\0"), bytearray(_SYMBOL.size)
    for name in names:
        dynsym += _SYMBOL.pack(len(dynstr), 0x10, 0, 0, 0, 0)
        dynstr += name.encode() + b"\0"
    dynstr += bytes(-len(dynstr) % 8)
    reldyn = b"".join(
        struct.pack("<QQ", at, (names.index(name) + 1) << 32 | _R_64_32)
        for at, name in sorted(calls)
    )
    return bytes(dynsym), bytes(dynstr), reldyn


def _program_headers(image: _Image, dynamic_at: int, end: int) -> bytes:
    spans = [
        (5, image.text_at, len(image.text)),
        (4, image.rodata_at, len(image.rodata)),
        (4, dynamic_at, end - dynamic_at),
    ]
    return b"".join(
        _PROGRAM_HEADER.pack(1, flags, at, at, at, size, size, 8) for flags, at, size in spans
    )


def _section_table(
    loaded: list[tuple[str, int, int, int, bytes, int, int]], end: int
) -> tuple[bytes, int, int]:
    """Section names and headers, where the headers begin, and how many there are."""
    names = bytearray(b"\0")
    headers = bytearray(_SECTION_HEADER.size)
    for name, kind, flags, at, body, link_to, entry_size in loaded:
        headers += _SECTION_HEADER.pack(
            len(names), kind, flags, at, at, len(body), link_to, 0, 8, entry_size
        )
        names += name.encode() + b"\0"
    own_name = len(names)
    names += b".shstrtab\0"
    headers += _SECTION_HEADER.pack(own_name, 3, 0, 0, end, len(names), 0, 0, 1, 0)
    padding = bytes(-(end + len(names)) % 8)
    count = len(headers) // _SECTION_HEADER.size
    return bytes(names) + padding + bytes(headers), end + len(names) + len(padding), count
