"""Accounts of programs that are not at hand, made byte by byte at the offsets they are known by."""

import base64
import json
import os
import random
import struct
from pathlib import Path

from solders.pubkey import Pubkey

from liqctl.core.account import Account

FIXTURES = Path(os.environ.get("LIQCTL_FIXTURES", Path(__file__).parents[3] / "shared/fixtures"))
NOW = 1_800_000_000
ADRENA = "13gDzEXCdocbj8iAiqrScGo47NiSuYENGsRqi3SEAwet"
JUPITER = "PERPHjGBqRHArX4DySjwM6UJHiR3sWAatqfdBS2qQJu"
POSITION = bytes.fromhex("aabc8fe47a40f7d0")
CUSTODY = bytes.fromhex("01b830515d833f91")
POOL = bytes.fromhex("f19a6d0411b16dbc")
ORACLE = bytes.fromhex("8bc283b38cb3e5f4")
CORTEX = bytes.fromhex("8f78c08ed12a9fc0")
PROFILE = bytes.fromhex("202577cdb3b40dc2")


def address(number):
    """An address that nobody has."""
    return str(Pubkey(bytes([number]) * 32))


def forged(owner, where, head, size, fields, lamports=10**9):
    """An account of `size` bytes: discriminator, then values at their offsets.

    Integers are (offset, format, value); texts in base58 stand for their bytes.
    """
    blob = bytearray(head.ljust(size, b"\0"))
    for at, kind, value in fields:
        if kind == "key":
            blob[at : at + 32] = bytes(Pubkey.from_string(value))
        elif kind == "high_first":
            struct.pack_into("<QQ", blob, at, value >> 64, value % 2**64)
        elif kind == "u128":
            blob[at : at + 16] = value.to_bytes(16, "little")
        elif kind == "name":
            blob[at : at + len(value)] = value.encode()
            blob[at + 31] = len(value)
        else:
            struct.pack_into("<" + kind, blob, at, value)
    return Account(address=where, owner=owner, lamports=lamports, data=bytes(blob), slot=9)


def foreign_accounts(owner):
    """Real accounts of other programs as if `owner` had them, whole and with bits flipped."""
    files = sorted([*FIXTURES.glob("mango/*.bin"), *FIXTURES.glob("pyth/*.bin")])
    blobs = [one.read_bytes() for one in files]
    drift = json.loads((FIXTURES / "drift/users_mainnet_b64.json").read_text())
    blobs += [base64.b64decode(one) for one in drift[:10]]
    chance = random.Random(1)
    for blob in blobs:
        yield Account(address=address(1), owner=owner, lamports=1, data=blob, slot=1)
        for _ in range(20):
            changed = bytearray(blob)
            changed[chance.randrange(len(blob))] ^= 1 << chance.randrange(8)
            yield Account(address=address(1), owner=owner, lamports=1, data=bytes(changed), slot=1)
