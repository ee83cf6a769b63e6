"""The Bearer tokens of the API: a private file of them, read again whenever it changes."""

import hashlib
import hmac
import os
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import structlog
from platformdirs import user_state_path

from liqctl.errors import SettingsError
from liqctl.ports import Clock, Rng
from liqctl.ports.secret_file import read_secret_file

log = structlog.get_logger(__name__)

TOKEN_BYTES_MIN = 32
TOKENS_MAX = 8
FILE_BYTES_MAX = 4096
NAME = "the token file"
LOOK_NS = 1_000_000_000

_LINE = re.compile(r"([\x21-\x7e]{1,512})(?:[ \t]+expires=(\S+))?")


class Verdict(StrEnum):
    """What a token is worth."""

    VALID = "valid"
    WRONG = "wrong"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """One line of the file. The token itself is not kept, only what tells it from others."""

    digest: bytes
    expires_ms: int | None


class TokenFile:
    """The tokens that are valid now; a file that turns bad lets nobody in until it is good again."""

    def __init__(self, path: Path, clock: Clock) -> None:
        """Read the file, so that a bad one is refused at the start; it blocks.

        Raises:
            SettingsError: as `read_tokens`.
        """
        self.path = path
        self._clock = clock
        self._looked_ns = clock.monotonic_ns()
        self._seen = _state_of(path)
        self._tokens = read_tokens(path)

    def check(self, offered: bytes) -> Verdict:
        """Return what a token is worth now, in a time that tells nothing about those in the file.

        Once a second it looks whether the file has changed.
        """
        now_ns = self._clock.monotonic_ns()
        if now_ns - self._looked_ns >= LOOK_NS:
            self._looked_ns = now_ns
            self._look()
        digest = hashlib.sha256(offered).digest()
        same = [token for token in self._tokens if hmac.compare_digest(token.digest, digest)]
        if not same:
            return Verdict.WRONG
        now_ms = self._clock.unix_ms()
        held = any(each.expires_ms is None or now_ms < each.expires_ms for each in same)
        return Verdict.VALID if held else Verdict.EXPIRED

    def _look(self) -> None:
        state = _state_of(self.path)
        if state == self._seen:
            return
        self._seen = state
        try:
            self._tokens = read_tokens(self.path)
        except SettingsError as error:
            self._tokens = ()
            log.error("token_file_unusable", error=str(error))  # noqa: TRY400 - the text says it all
        else:
            log.info("token_file_read_again", tokens=len(self._tokens))


def open_tokens(
    path: Path | None, *, public_host: str | None, clock: Clock, rng: Rng
) -> TokenFile | None:
    """Return the tokens of a server; on loopback a file of one token is made at first use.

    None where no file could be made: the server then reads, and nothing can be changed through it.

    Raises:
        SettingsError: other machines can reach the server and no file is named, or it is unusable.
    """
    if path is not None:
        return TokenFile(path.expanduser(), clock)
    if public_host is not None:
        raise SettingsError(
            f"--host {public_host} lets other machines in, and they need a token; write one with"
            " `(umask 077; openssl rand -hex 32 > FILE)` and name it with --token-file FILE"
        )
    own = own_token_path()
    try:
        make_token_file(own, rng)
    except OSError as error:
        log.warning("no_token", path=str(own), reason=error.strerror, effect="orders are refused")
        return None
    return TokenFile(own, clock)


def own_token_path() -> Path:
    """Return where the token of a server on loopback is kept."""
    return user_state_path("liqctl") / "token"


def make_token_file(path: Path, rng: Rng) -> None:
    """Write a new token where no file is yet.

    Raises:
        OSError: it cannot be written.
    """
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{rng.token(8)}")
    opened = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(opened, "w") as file:
        file.write(rng.token(64) + "\n")
    # Two servers that start at once end up with one of the two; both read it again.
    made.replace(path)


def read_tokens(path: Path) -> tuple[Token, ...]:
    """Return the tokens of a file: one a line, `TOKEN` or `TOKEN expires=2027-01-31T00:00:00Z`.

    Raises:
        SettingsError: as `read_secret_file`; or a line is no token, too short or has a bad time. No
            message shows the content.
    """
    content = read_secret_file(
        path,
        NAME,
        bytes_max=FILE_BYTES_MAX,
        missing=f"write one with `(umask 077; openssl rand -hex 32 > {path})`",
    )
    lines = [line.strip() for line in content.decode("ascii", "replace").splitlines()]
    tokens = tuple(_token(path, line) for line in lines if line)
    if len(content) > FILE_BYTES_MAX or not 1 <= len(tokens) <= TOKENS_MAX:
        raise SettingsError(f"{NAME} {path} must hold 1 to {TOKENS_MAX} tokens, one a line")
    return tokens


def _token(path: Path, line: str) -> Token:
    found = _LINE.fullmatch(line)
    if found is None:
        raise SettingsError(
            f"{NAME} {path} has a line that is no token: expected TOKEN or TOKEN expires=TIME"
        )
    text, expires = found.groups()
    if len(text) < TOKEN_BYTES_MIN:
        raise SettingsError(
            f"{NAME} {path} holds a token of {len(text)} characters; at least {TOKEN_BYTES_MIN} are"
            " needed"
        )
    digest = hashlib.sha256(text.encode("ascii")).digest()
    return Token(digest=digest, expires_ms=None if expires is None else _unix_ms(path, expires))


def _unix_ms(path: Path, text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise SettingsError(
            f"{NAME} {path}: expires must be a time such as 2027-01-31T00:00:00Z, was {text}"
        )
    return int(moment.timestamp() * 1_000)


_State = tuple[int, int, int]


def _state_of(path: Path) -> _State | None:
    """Return what changes with a file: another one in its place, its content, its permissions."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_ctime_ns, found.st_size)
