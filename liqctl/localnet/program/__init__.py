"""The reference program: C source, linker and the committed binary."""

import hashlib
from importlib.resources import files

from liqctl.errors import invariant


def program_bytes() -> bytes:
    """Return `liquidation_engine.so` as the Solana VM loads it, after comparing its sha256."""
    package = files(__name__)
    program = package.joinpath("liquidation_engine.so").read_bytes()
    expected = (
        package.joinpath("liquidation_engine.so.sha256").read_text(encoding="ascii").split()[0]
    )
    found = hashlib.sha256(program).hexdigest()
    invariant(found == expected, f"liquidation_engine.so has sha256 {found}, expected {expected}")
    return program
