"""The committed program is what its sources and its IDL build, and the linker refuses what the VM cannot load."""

import hashlib
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from solders.instruction import AccountMeta, Instruction
from solders.pubkey import Pubkey

import liqctl.localnet.program
from liqctl.localnet.program import build, program_bytes
from liqctl.localnet.program.generate import header, read_idl
from liqctl.localnet.program.link import SYSTEM_CALLS, LinkError, link
from tests.localnet.program_world import IDL, ProgramWorld

HERE = Path(liqctl.localnet.program.__file__).parent
needs_clang = pytest.mark.skipif(
    shutil.which(build.COMPILER) is None, reason="clang-19 is not installed"
)


@needs_clang
def test_a_rebuild_is_byte_for_byte_the_committed_program():
    assert build.main(["--check"]) == 0


@needs_clang
def test_the_check_names_a_file_that_differs(monkeypatch, tmp_path, capsys):
    for file in HERE.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    (tmp_path / "idl.h").write_text("stale", encoding="utf-8")
    monkeypatch.setattr(build, "_HERE", tmp_path)

    assert build.main(["--check"]) == 1
    assert capsys.readouterr().err == "idl.h is not what the sources build\n"


def test_the_header_is_generated_from_the_idl():
    assert (HERE / "idl.h").read_text(encoding="utf-8") == header(read_idl())


def test_the_program_has_the_committed_sha256():
    expected = (HERE / "liquidation_engine.so.sha256").read_text(encoding="ascii").split()[0]

    assert hashlib.sha256(program_bytes()).hexdigest() == expected


@pytest.mark.parametrize(
    ("kind", "prefix"), [("instructions", "global"), ("accounts", "account"), ("events", "event")]
)
def test_discriminators_are_the_hashes_that_anchor_derives(kind, prefix):
    for entry in IDL[kind]:
        digest = hashlib.sha256(f"{prefix}:{entry['name']}".encode()).digest()
        assert bytes(entry["discriminator"]) == digest[:8]


def test_every_64_bit_field_of_an_account_is_aligned_and_lengths_are_as_documented():
    sizes = {"u8": 1, "bool": 1, "u16": 2, "u64": 8, "i64": 8, "pubkey": 32}
    structs = {entry["name"]: entry["type"]["fields"] for entry in IDL["types"]}

    def size_of(kind):
        if isinstance(kind, str):
            return sizes[kind]
        if "array" in kind:
            return size_of(kind["array"][0]) * kind["array"][1]
        return sum(size_of(part["type"]) for part in structs[kind["defined"]["name"]])

    lengths = {}
    for account in IDL["accounts"]:
        offset = 8
        for part in structs[account["name"]]:
            assert part["type"] not in ("u64", "i64", "pubkey") or offset % 8 == 0, part
            offset += size_of(part["type"])
        lengths[account["name"]] = offset
    assert lengths == {"InsuranceFund": 144, "Market": 208, "Position": 144}


def test_the_document_names_every_instruction_account_event_and_error():
    document = (HERE.parents[2] / "docs" / "PROGRAM.md").read_text(encoding="utf-8")
    kinds = ("instructions", "accounts", "events")

    missing = [
        entry["name"]
        for kind in kinds
        for entry in IDL[kind]
        if f"`{entry['name']}`" not in document
    ]
    rows = [f"| {error['code']} | `{error['name']}` | {error['msg']} |" for error in IDL["errors"]]

    assert missing == []
    assert [row for row in rows if row not in document] == []


def test_error_codes_with_a_gap_are_refused():
    idl = read_idl()
    idl["errors"][1]["code"] += 1

    with pytest.raises(ValueError, match="consecutive"):
        header(idl)


def test_a_type_without_a_c_layout_is_refused():
    idl = read_idl()
    idl["types"][0]["type"]["fields"][0]["type"] = {"vec": "u8"}

    with pytest.raises(ValueError, match="vec"):
        header(idl)


def _compile(tmp_path: Path, source: str) -> bytes:
    (tmp_path / "t.c").write_text(source, encoding="utf-8")
    command = [
        "clang-19",
        "-target",
        "bpf",
        "-mcpu=v2",
        "-O1",
        "-fno-builtin",
        "-c",
        "t.c",
        "-o",
        "t.o",
    ]
    subprocess.run(command, cwd=tmp_path, check=True)
    return (tmp_path / "t.o").read_bytes()


@needs_clang
@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("int kept; int entrypoint(int *p) { kept += *p; return kept; }", r"\.bss"),
        ("int kept = 5; int entrypoint(int *p) { kept += *p; return kept; }", r"\.data"),
        ("int sol_unknown(void); int entrypoint(void *p) { return sol_unknown(); }", "sol_unknown"),
        ("int other(void *p) { return 0; }", "entrypoint"),
        ("extern int far; int entrypoint(void *p) { return far; }", "far"),
    ],
)
def test_what_the_vm_cannot_load_is_refused_by_name(tmp_path, source, message):
    with pytest.raises(LinkError, match=message):
        link(_compile(tmp_path, source))


def test_a_file_that_is_no_bpf_object_is_refused():
    with pytest.raises(LinkError, match="BPF object"):
        link(program_bytes())
    with pytest.raises(LinkError, match="BPF object"):
        link(b"MZ" + bytes(100))


@needs_clang
@pytest.mark.parametrize(("accounts", "code"), [(0, 107), (1, 108)])
def test_pointer_tables_indirect_and_direct_calls_work_without_system_calls(
    tmp_path, accounts, code
):
    source = """
    typedef unsigned long u64;
    static __attribute__((noinline)) u64 hundred(u64 x) { return x + 100; }
    static __attribute__((noinline)) u64 seven(u64 x) { return hundred(x + 7); }
    static __attribute__((noinline)) u64 eight(u64 x) { return hundred(x + 8); }
    static u64 (*const table[])(u64) = { seven, eight };
    u64 entrypoint(unsigned char *p) { return table[p[0] & 1](0); }
    """
    world = ProgramWorld()
    program, payer = Pubkey.new_unique(), world.authority

    world.svm.add_program(program, link(_compile(tmp_path, source)))

    metas = [AccountMeta(payer.key, False, False)] * accounts
    result = world.send([Instruction(program, b"", metas)], [payer])
    assert f"InstructionErrorCustom({code})" in str(result.error)


def test_the_program_is_an_elf_with_addresses_equal_to_offsets():
    program = program_bytes()
    (table,) = struct.unpack_from("<Q", program, 40)
    (count,) = struct.unpack_from("<H", program, 60)
    headers = [
        struct.unpack_from("<IIQQQQIIQQ", program, table + 64 * i) for i in range(1, count - 1)
    ]

    assert struct.unpack_from("<HH", program, 16) == (3, 247)
    assert all(address == offset for _, _, _, address, offset, *_ in headers)
    assert all(not flags & 1 for _, _, flags, *_ in headers)
    assert all(name.encode() in program for name in SYSTEM_CALLS)
