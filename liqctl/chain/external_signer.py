"""A signer that is a program of its own: the key stays there, and signatures come back as JSON lines."""

import asyncio
import base64
import os
import re
import shlex
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import structlog
from solders.pubkey import Pubkey
from solders.signature import Signature

from liqctl.chain.base58 import is_address
from liqctl.chain.inline_key import refuse_inline_key
from liqctl.chain.text import one_line
from liqctl.chain.wallet import Sealed, is_asked_for, load_signer, no_core_dumps
from liqctl.errors import GuardError, SettingsError
from liqctl.ports import Signer
from liqctl.ports.interrupt import interruptible

SCHEME = "exec:"
LINE_BYTES_MAX = 4096
_TRIES = 2
_SECRET_SHAPES = re.compile(
    r"\S{25,}|(?:\d{1,3}\W+){7,}\d{1,3}|\b(?:[a-z]{3,8}\s+){11,}[a-z]{3,8}\b"
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long and how often a signer is waited for and started.

    After `starts_max` starts in a row without a signature, one more is made every `pause_s`.
    """

    start_s: float = 10.0
    sign_s: float = 5.0
    end_s: float = 2.0
    starts_max: int = 5
    pause_s: float = 60.0


class _Hello(msgspec.Struct, tag_field="type", tag="signer"):
    pubkey: str


class _Question(msgspec.Struct):
    id: int
    message: str


class _Answer(msgspec.Struct):
    id: int
    signature: str | None = None
    error: str | None = None


class SignerRefused(GuardError):
    """The external signer says no to this message; another one may suit it."""


class _Ended(Exception):
    """The program closed its output: it is started again."""


class _Unfit(Exception):
    """The program broke the protocol: what it says next could be meant for something else."""


@asynccontextmanager
async def opened_signer(source: str, patience: Patience | None = None) -> AsyncIterator[Signer]:
    """Yield the signer behind any signing source; a program is ended with the block.

    Raises:
        SettingsError: as `load_signer`; or the program does not start as it should.
    """
    text = source.strip()
    if is_asked_for(text):
        with interruptible():
            signer = load_signer(text)
        yield signer
        return
    if not text.startswith(SCHEME):
        yield await asyncio.get_running_loop().run_in_executor(None, load_signer, text)
        return
    program = await ExternalSigner.start(text, patience or Patience())
    try:
        yield program
    finally:
        await program.close()


class ExternalSigner(Sealed):
    """Asks a program for signatures, checks every one, and starts the program again if it died.

    Only one message is with the program at a time. Words of the program are never shown as they
    are: they could hold what it is there to keep.
    """

    __slots__ = (
        "_address",
        "_asked",
        "_child",
        "_patience",
        "_started_s",
        "_starts",
        "_turn",
        "_words",
    )

    def __init__(
        self, words: Sequence[str], child: "_Child", address: str, patience: Patience
    ) -> None:
        """Take over a started program that has told its address."""
        self._words, self._child, self._address = tuple(words), child, address
        self._patience = patience
        self._turn = asyncio.Lock()
        self._asked = 0
        self._starts = 0
        self._started_s = asyncio.get_running_loop().time()

    @classmethod
    async def start(cls, source: str, patience: Patience) -> Self:
        """Return the signer of `exec:COMMAND ARGS`; no shell reads the command.

        Raises:
            SettingsError: there is no such program, or it does not say its public key in time.
        """
        words = _command(source)
        no_core_dumps()
        child, address = await _started(words, patience)
        return cls(words, child, address, patience)

    @property
    def address(self) -> str:
        """The public key in base58, as the program told it when it was first started."""
        return self._address

    def __repr__(self) -> str:
        """Show the public key alone."""
        return f"ExternalSigner({self._address})"

    async def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of the message, verified.

        Raises:
            SignerRefused: the program says no.
            GuardError: it is silent, keeps dying, breaks the protocol, or the signature is wrong.
        """
        async with self._turn:
            for _ in range(_TRIES):
                try:
                    return await self._signed(message)
                except _Ended:
                    log.warning("signer_ended", signer=_name(self._words), starts=self._starts)
        raise GuardError(f"{_name(self._words)} ended twice instead of signing")

    async def close(self) -> None:
        """End the program."""
        async with self._turn:
            await self._child.end()

    async def _signed(self, message: bytes) -> bytes:
        child = await self._running()
        self._asked += 1
        usable = False
        try:
            async with asyncio.timeout(self._patience.sign_s):
                answer = await child.answer(self._asked, message)
            usable = answer.error is not None  # it may say no, and go on
            signature = self._verified(answer, message)
            usable = True
        except TimeoutError:
            raise GuardError(
                f"{_name(self._words)} gave no answer within {self._patience.sign_s:g} s"
            ) from None
        except _Unfit as fault:
            raise GuardError(f"{_name(self._words)} {fault}") from None
        finally:
            if not usable:  # also when cancelled: a late answer must not meet the next question
                child.kill()
        self._starts = 0
        return signature

    def _verified(self, answer: _Answer, message: bytes) -> bytes:
        if answer.error is not None:
            raise SignerRefused(f"{_name(self._words)} refuses to sign: {_shown(answer.error)}")
        signature = _signature(answer.signature or "")
        if signature is None:
            raise _Unfit("answered with something that is no signature")
        if not signature.verify(Pubkey.from_string(self._address), message):
            raise _Unfit(f"gave a signature that is not of {self._address} over the message")
        return bytes(signature)

    async def _running(self) -> "_Child":
        """Return the program, started again where it has ended."""
        if self._child.lives():
            return self._child
        await self._child.end()
        now_s = asyncio.get_running_loop().time()
        patience = self._patience
        if self._starts >= patience.starts_max and now_s - self._started_s < patience.pause_s:
            raise GuardError(
                f"{_name(self._words)} was started {self._starts} times and never signed;"
                f" the next try is after {patience.pause_s:g} s"
            )
        self._starts += 1
        self._started_s = now_s
        try:
            self._child, address = await _started(self._words, patience)
        except SettingsError as error:
            raise GuardError(str(error)) from error
        if address != self._address:
            self._child.kill()
            raise GuardError(
                f"{_name(self._words)} came back with another key, {address}"
                f" instead of {self._address}"
            )
        return self._child


class _Child:
    """A running program and its three pipes."""

    def __init__(self, process: asyncio.subprocess.Process, patience: Patience) -> None:
        self._process = process
        self._patience = patience
        self._killed = False
        self._listening = asyncio.create_task(self._listen(), name="signer stderr")

    def lives(self) -> bool:
        return self._process.returncode is None and not self._killed

    async def hello(self) -> str:
        """Return the address that the program says it signs for."""
        try:
            hello = msgspec.json.decode(await self._line(), type=_Hello)
        except (msgspec.MsgspecError, RecursionError):
            raise _Unfit('did not begin with {"type":"signer","pubkey":...}') from None
        if not is_address(hello.pubkey):
            raise _Unfit("gave no public key in base58")
        return hello.pubkey

    async def answer(self, number: int, message: bytes) -> _Answer:
        """Return what the program answers to the question of this number."""
        question = _Question(id=number, message=base64.b64encode(message).decode())
        stdin = self._process.stdin
        if stdin is None:
            raise _Ended
        try:
            stdin.write(msgspec.json.encode(question) + b"\n")
            await stdin.drain()
        except ConnectionError:
            raise _Ended from None
        try:
            answer = msgspec.json.decode(await self._line(), type=_Answer)
        except (msgspec.MsgspecError, RecursionError):
            raise _Unfit("answered with something that is no answer") from None
        if answer.id != number:
            raise _Unfit("answered another question than it was asked")
        return answer

    async def _line(self) -> bytes:
        stdout = self._process.stdout
        if stdout is None:
            raise _Ended
        try:
            return await stdout.readuntil(b"\n")
        except asyncio.IncompleteReadError:
            raise _Ended from None
        except asyncio.LimitOverrunError:
            raise _Unfit(f"wrote a line of more than {LINE_BYTES_MAX} bytes") from None

    async def _listen(self) -> None:
        """Log what the program says on stderr; it must not stand still on a full pipe."""
        stderr, whole, line = self._process.stderr, True, b"\n"
        while stderr is not None and line.endswith(b"\n"):
            try:
                line = await stderr.readuntil(b"\n")
            except asyncio.IncompleteReadError as end:
                line = end.partial
            except asyncio.LimitOverrunError as overrun:  # left out to its end
                await stderr.readexactly(overrun.consumed)
                whole = False
                continue
            if whole and line:
                log.debug("signer_said", text=_shown(line.decode(errors="replace").rstrip()))
            whole = True

    def kill(self) -> None:
        """End the program and what it has started, at once."""
        self._killed = True
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self) -> None:
        """Close its input, which tells it to end, and insist where it does not."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            if not await self._gone():
                self.kill()
                await self._gone()
        finally:
            self.kill()
            self._listening.cancel()

    async def _gone(self) -> bool:
        """Return whether it has ended within the time for that, and closed its pipes.

        They are read to their ends: a full one would keep even a killed program from being seen
        to end. Something that it left behind may hold them open.
        """
        try:
            async with asyncio.timeout(self._patience.end_s):
                stdout = self._process.stdout
                while stdout is not None and await stdout.read(LINE_BYTES_MAX):
                    pass
                await asyncio.wait({self._listening})
                await self._process.wait()
        except TimeoutError:
            return False
        return True


async def _started(words: Sequence[str], patience: Patience) -> tuple[_Child, str]:
    """Return a started program and its address.

    Raises:
        SettingsError: it cannot be started, or does not say in time whom it signs for.
    """
    name = _name(words)
    try:
        process = await asyncio.create_subprocess_exec(
            *words,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=LINE_BYTES_MAX,
            start_new_session=True,  # Ctrl-C is for the keeper, which ends its signer last
        )
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "its name or an argument is not possible"
        raise SettingsError(f"{name} cannot be started: {reason}; see --keypair") from error
    child = _Child(process, patience)
    fault = "ended"
    try:
        async with asyncio.timeout(patience.start_s):
            return child, await child.hello()
    except TimeoutError:
        fault = f"said nothing within {patience.start_s:g} s"
    except _Unfit as error:
        fault = str(error)
    except _Ended:
        pass
    except BaseException:
        child.kill()
        raise
    child.kill()
    await child.end()
    raise SettingsError(
        f"{name} {fault} before it said whom it signs for; with -vv the log shows its stderr"
    )


def _command(source: str) -> list[str]:
    refuse_inline_key(source)
    try:
        words = shlex.split(source.removeprefix(SCHEME))
    except ValueError as error:
        raise SettingsError(f"the command of exec: cannot be read: {error}".lower()) from error
    if not words:
        raise SettingsError("exec: names no program; give exec:COMMAND ARGS")
    words[0] = os.path.expanduser(words[0])  # noqa: PTH111 - a bare name must stay one, for PATH
    return words


def _name(words: Sequence[str]) -> str:
    """Return how a program is called in messages; its arguments are its own affair."""
    return f"the external signer {one_line(Path(words[0]).name)}"


def _shown(text: str) -> str:
    """Return words of a program without anything that has the shape of a secret, on one line."""
    return one_line(_SECRET_SHAPES.sub("…", text))


def _signature(text: str) -> Signature | None:
    """Return the signature that a text is in base58 or, which ends in ==, in base64."""
    try:
        if text.endswith("=="):
            return Signature.from_bytes(base64.b64decode(text, validate=True))
        return Signature.from_string(text)
    except ValueError:
        return None
