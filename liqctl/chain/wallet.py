"""The liquidator's key: where it may come from, and an object that only signs."""

import ctypes
import getpass
import hashlib
import re
import resource
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TextIO
from urllib.parse import parse_qsl

import msgspec
from solders.keypair import Keypair

from liqctl.chain.base58 import is_address
from liqctl.chain.inline_key import refuse_inline_key
from liqctl.errors import GuardError, SettingsError
from liqctl.ports import Signer
from liqctl.ports.secret_file import read_secret_file

_KEY_FILE_BYTES_MAX = 4096
_DERIVATION_ROOT = "m/44'/501'"
_PATH_SHAPE = re.compile(r"m(/\d{1,9}'){1,5}")
_KEY_SHAPE = re.compile(r"\d{1,9}'?(/\d{1,9}'?)?")
_PR_SET_DUMPABLE = 4
_ELSEWHERE = "name a key file, or a program that signs with exec:COMMAND"
_REMOTE = {
    "exec:": "it is a program to be started, and is not loaded",
    "http://": f"nothing signs over the network; {_ELSEWHERE}",
    "https://": f"nothing signs over the network; {_ELSEWHERE}",
    "usb:": "hardware wallets are not supported: no maintained Python library speaks the Solana"
    f" app, and a keeper cannot press buttons; {_ELSEWHERE}",
}


class Sealed:
    """What neither copy nor pickle lets out."""

    __slots__ = ()

    def __copy__(self) -> NoReturn:
        """Refuse."""
        raise GuardError("a signer cannot be copied")

    def __deepcopy__(self, memo: object) -> NoReturn:
        """Refuse."""
        raise GuardError("a signer cannot be copied")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        """Refuse."""
        raise GuardError("a signer cannot be pickled")


class KeySigner(Sealed):
    """A key in memory that signs, and that no repr, copy or pickle lets out."""

    __slots__ = ("__address", "__keypair")

    def __init__(self, keypair: Keypair) -> None:
        """Hold the key."""
        self.__keypair = keypair
        self.__address = str(keypair.pubkey())

    @property
    def address(self) -> str:
        """The public key in base58."""
        return self.__address

    async def sign(self, message: bytes) -> bytes:
        """Return the 64-byte ed25519 signature of the message."""
        return bytes(self.__keypair.sign_message(message))

    def __repr__(self) -> str:
        """Show the public key alone."""
        return f"KeySigner({self.__address})"


class WatchOnly:
    """A public key without its secret half: enough to look and to simulate."""

    __slots__ = ("_address",)

    def __init__(self, address: str) -> None:
        """Hold the address."""
        self._address = address

    @property
    def address(self) -> str:
        """The public key in base58."""
        return self._address

    async def sign(self, message: bytes) -> bytes:
        """Refuse: there is nothing to sign with."""
        raise GuardError(
            f"{self._address} is a public key alone and cannot sign {len(message)} bytes;"
            " name its key file with --keypair"
        )

    def __repr__(self) -> str:
        """Show the public key."""
        return f"WatchOnly({self._address})"


def is_asked_for(source: str) -> bool:
    """Whether a signing source is typed or piped in, and so may keep everything waiting."""
    text = source.strip()
    return text in {"-", "stdin:", "ASK"} or text.startswith("prompt:")


def load_signer(
    source: str,
    *,
    stdin: TextIO | None = None,
    ask: Callable[[str], str] = getpass.getpass,
) -> Signer:
    """Return the signer behind a signing source: a path, file:PATH, prompt:, stdin: or an address.

    It reads files and terminals and blocks. With a secret in the process, core dumps are off.

    Raises:
        SettingsError: the source is unknown, not supported, missing, too open or not a key.
    """
    text = source.strip()
    refuse_inline_key(text)
    scheme = next((each for each in _REMOTE if text.startswith(each)), None)
    if scheme is not None:
        raise SettingsError(f"{scheme} is no signing source of liqctl: {_REMOTE[scheme]}")
    if not text:
        raise SettingsError("no signing source; name a key file with --keypair")
    if is_address(text):
        return WatchOnly(text)
    no_core_dumps()
    stream = sys.stdin if stdin is None else stdin
    if text in {"-", "stdin:"}:
        try:
            content = stream.read(_KEY_FILE_BYTES_MAX + 1)
        except (OSError, ValueError):
            raise SettingsError("standard input cannot be read as text") from None
        return _from_json(content, "standard input")
    if text == "ASK" or text.startswith("prompt:"):
        if not stream.isatty():
            raise SettingsError(f"{text} asks on a terminal, and there is none; name a key file")
        return _from_seed_phrase(text, ask)
    try:
        path = Path(text.removeprefix("file:")).expanduser()
    except RuntimeError as error:
        raise SettingsError(f"there is no home folder for {text}") from error
    return _from_file(path)


def no_core_dumps() -> None:
    """Keep the memory of this process out of core dumps, and of debuggers of the same user.

    The limit alone would not do: a kernel that pipes dumps to a program does not look at it. A
    child inherits the limit only.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _from_file(path: Path) -> Signer:
    content = read_secret_file(
        path,
        "the key file",
        bytes_max=_KEY_FILE_BYTES_MAX,
        missing=f"make one with: solana-keygen new -o {path}",
    )
    return _from_json(content, f"the key file {path}")


def _from_json(content: bytes | str, place: str) -> Signer:
    """Return the signer of a JSON array of 64 bytes; no message shows any of the content."""
    if len(content) > _KEY_FILE_BYTES_MAX:
        raise SettingsError(f"{place} is too large for a key")
    try:
        numbers = msgspec.json.decode(content, type=list[int])
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        numbers = []
    if len(numbers) != 64 or not all(0 <= each <= 255 for each in numbers):
        raise SettingsError(
            f"{place} holds no key: expected a JSON array of 64 numbers from 0 to 255,"
            " as solana-keygen writes it"
        )
    try:
        keypair = Keypair.from_bytes(bytes(numbers))
    except ValueError:
        keypair = None
    if keypair is None:
        raise SettingsError(f"{place} is damaged: its public half does not match its secret half")
    return KeySigner(keypair)


def _from_seed_phrase(source: str, ask: Callable[[str], str]) -> Signer:
    """Return the signer of a phrase; its words are not checked, so look at the address it gives."""
    path = _derivation_path(source)
    try:
        words = unicodedata.normalize("NFKD", ask("seed phrase: ")).split()
        passphrase = unicodedata.normalize("NFKD", ask("passphrase (empty for none): "))
    except EOFError:
        raise SettingsError("no seed phrase was given") from None
    phrase = " ".join(words)
    if len(words) not in {12, 15, 18, 21, 24}:
        raise SettingsError(f"a seed phrase has 12 to 24 words, {len(words)} were given")
    if path is None:
        return KeySigner(Keypair.from_seed_phrase_and_passphrase(phrase, passphrase))
    seed = hashlib.pbkdf2_hmac("sha512", phrase.encode(), b"mnemonic" + passphrase.encode(), 2048)
    return KeySigner(Keypair.from_seed_and_derivation_path(seed, path))


def _derivation_path(source: str) -> str | None:
    """Return the path of a prompt: source; None for the old word, which derives nothing.

    The shape is checked here because the library ends the program over a malformed path.
    """
    if source == "ASK":
        return None
    query = source.removeprefix("prompt:").removeprefix("//").removeprefix("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    match options:
        case {"full-path": path, **rest} if not rest and _PATH_SHAPE.fullmatch(path):
            return path
        case {"key": key, **rest} if not rest and _KEY_SHAPE.fullmatch(key):
            return _DERIVATION_ROOT + "".join(
                f"/{each.rstrip(chr(39))}'" for each in key.split("/")
            )
        case _ if not query:
            return _DERIVATION_ROOT
        case _:
            raise SettingsError(
                "a prompt source is prompt:, prompt:?key=ACCOUNT/CHANGE or"
                " prompt:?full-path=m/44'/501'/0'/0'"
            )
