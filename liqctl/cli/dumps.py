"""Account dumps in the format of `solana account --output json`, as RPC answers show accounts."""

import base64
import binascii
import json
from pathlib import Path

from liqctl.chain.base58 import is_address
from liqctl.core.account import Account
from liqctl.errors import SettingsError

U64_MAX = 2**64 - 1


def read_dumps(folder: Path) -> list[Account]:
    """Return the account of every `*.json` of a folder, by address.

    Raises:
        SettingsError: no such folder, nothing in it, or a file that is no dump.
    """
    try:
        is_folder = folder.is_dir()
    except OSError as error:
        raise SettingsError(f"--accounts: cannot read {folder}: {error.strerror}") from error
    if not is_folder:
        raise SettingsError(f"--accounts: {folder} is not a directory")
    found = [_read(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise SettingsError(f"--accounts: {folder} has no *.json")
    return sorted(found, key=lambda account: account.address)


def _read(path: Path) -> Account:
    try:
        match json.loads(path.read_bytes()):
            case {
                "pubkey": str(address),
                "account": {
                    "lamports": int(lamports),
                    "data": [str(text), "base64"],
                    "owner": str(owner),
                    **further,
                },
            } if is_address(address) and is_address(owner) and 0 <= lamports <= U64_MAX:
                return Account(
                    address=address,
                    owner=owner,
                    lamports=lamports,
                    data=base64.b64decode(text, validate=True),
                    slot=0,
                    executable=further.get("executable") is True,
                )
            case _:
                raise SettingsError(f"{path} is no account dump with base64 data")
    except (OSError, ValueError, RecursionError, binascii.Error) as error:
        raise SettingsError(f"{path} is no account dump: {error}") from error
