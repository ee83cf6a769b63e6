"""Builds the program: IDL to header, clang to object, linker to shared object.

`python -m liqctl.localnet.program.build` overwrites the committed files, `--check` compares with them.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from liqctl.localnet.program.generate import header, read_idl
from liqctl.localnet.program.link import link

COMPILER = "clang-19"
_FLAGS = [
    "-target",
    "bpf",
    "-mcpu=v2",
    "-O2",
    "-std=c11",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-jump-tables",
    "-fno-ident",
    "-fno-addrsig",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-mllvm",
    "-bpf-stack-size=4096",
]
_HERE = Path(__file__).parent


def build() -> dict[str, bytes]:
    """Return the generated files by name: header, shared object and its sha256.

    The sources are compiled in a fresh folder, so that neither the path of the checkout nor an old header
    gets into the result. Raises FileNotFoundError without clang-19, CalledProcessError for wrong C.
    """
    compiler = shutil.which(COMPILER)
    if compiler is None:
        raise FileNotFoundError(f"{COMPILER} was not found; on Debian: apt-get install {COMPILER}")
    generated = header(read_idl()).encode()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for source in [*_HERE.glob("*.h"), _HERE / "program.c"]:
            shutil.copy(source, work)
        (work / "idl.h").write_bytes(generated)
        command = [compiler, *_FLAGS, "-c", "program.c", "-o", "program.o"]
        subprocess.run(command, cwd=work, check=True)  # noqa: S603 - fixed words and a found compiler
        program = link((work / "program.o").read_bytes())
    digest = f"{hashlib.sha256(program).hexdigest()}  liquidation_engine.so\n"
    return {
        "idl.h": generated,
        "liquidation_engine.so": program,
        "liquidation_engine.so.sha256": digest.encode("ascii"),
    }


def differing(built: dict[str, bytes]) -> list[str]:
    """Return the names of committed files that are missing or are not byte for byte the built ones."""
    return [
        name
        for name, body in built.items()
        if not (_HERE / name).is_file() or (_HERE / name).read_bytes() != body
    ]


def main(arguments: list[str] | None = None) -> int:
    """Build, then write or compare; return 0, or 1 when `--check` finds a difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare with the committed files")
    check = parser.parse_args(arguments).check
    built = build()
    names = differing(built)
    if check:
        for name in names:
            sys.stderr.write(f"{name} is not what the sources build\n")
        return 1 if names else 0
    for name in names:
        (_HERE / name).write_bytes(built[name])
        sys.stdout.write(f"wrote {name}, {len(built[name])} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
