"""Account dumps in the format of `solana account --output json`."""

import base64
import binascii
from pathlib import Path

import msgspec
from solders.pubkey import Pubkey

from liqctl.errors import SettingsError
from liqctl.localnet.account import AccountState
from liqctl.localnet.world import World

_LOADER_2 = Pubkey.from_string("BPFLoader2111111111111111111111111111111111")
_UPGRADEABLE_LOADER = Pubkey.from_string("BPFLoaderUpgradeab1e11111111111111111111111")
_PROGRAM_ELF_OFFSET = 45
_U64_MAX = 2**64 - 1


class _DumpedAccount(msgspec.Struct, rename="camel"):
    lamports: int
    data: tuple[str, str]
    owner: str
    executable: bool = False
    rent_epoch: int = 0


class _Dump(msgspec.Struct):
    pubkey: str
    account: _DumpedAccount


def load_accounts(world: World, directory: Path) -> int:
    """Write every `*.json` dump of a directory into the chain and return how many there were.

    Programs are deployed; one of the upgradeable loader needs the dump of its program data too.

    Raises:
        SettingsError: no such directory, a file that is not a dump, or a program without its code.
    """
    try:
        is_folder = directory.is_dir()
    except OSError as error:
        raise SettingsError(f"account dumps: cannot read {directory}: {error.strerror}") from error
    if not is_folder:
        raise SettingsError(f"account dumps: {directory} is not a directory")
    states = dict(_read(path) for path in sorted(directory.glob("*.json")))
    for key, state in states.items():
        if state.executable:
            world.add_program(key, _elf(key, states))
        else:
            world.set_account(key, state)
    return len(states)


def _read(path: Path) -> tuple[Pubkey, AccountState]:
    try:
        dump = msgspec.json.decode(path.read_bytes(), type=_Dump)
        text, encoding = dump.account.data
        if encoding != "base64":
            raise SettingsError(f"{path}: data is in {encoding}, only base64 can be loaded")
        if not (
            0 <= dump.account.lamports <= _U64_MAX and 0 <= dump.account.rent_epoch <= _U64_MAX
        ):
            raise SettingsError(f"{path}: lamports and rentEpoch must be unsigned 64-bit numbers")
        state = AccountState(
            lamports=dump.account.lamports,
            data=base64.b64decode(text, validate=True),
            owner=Pubkey.from_string(dump.account.owner),
            executable=dump.account.executable,
            rent_epoch=dump.account.rent_epoch,
        )
        return Pubkey.from_string(dump.pubkey), state
    except (OSError, msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise SettingsError(f"{path}: not an account dump: {error}") from error


def _elf(key: Pubkey, states: dict[Pubkey, AccountState]) -> bytes:
    state = states[key]
    if state.owner == _LOADER_2:
        return state.data
    if state.owner != _UPGRADEABLE_LOADER or len(state.data) < 36:
        raise SettingsError(f"account dumps: program {key} has an unknown loader {state.owner}")
    code = states.get(Pubkey.from_bytes(state.data[4:36]))
    if code is None:
        raise SettingsError(
            f"account dumps: the code of program {key} is missing; "
            f"dump account {Pubkey.from_bytes(state.data[4:36])} as well"
        )
    return code.data[_PROGRAM_ELF_OFFSET:]
