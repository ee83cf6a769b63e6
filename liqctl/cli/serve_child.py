"""The API as a child of the keeper, for `watch --serve`: started again whenever it ends or hangs."""

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress

import msgspec
import structlog

from liqctl.cli.options import Session
from liqctl.cli.serve import OPTIONS, serve_options
from liqctl.config import Settings
from liqctl.keeper.context import Context

log = structlog.get_logger(__name__)

READY_S_MAX = 60.0
SILENT_S_MAX = 15.0
END_S_MAX = 1.5
PAUSE_S_MIN, PAUSE_S_MAX = 0.5, 30.0
STEADY_NS = 60 * 1_000_000_000
NUDGE_S = 0.002

TOLD = (*OPTIONS, "database_url", "log_format")
# Nothing else of the environment: what a signer or an endpoint needs is not for the API to know.
KEPT = frozenset({"HOME", "LANG", "NO_COLOR", "PATH", "SYSTEMROOT", "TERM", "TMPDIR", "TZ"})
KEPT_PREFIXES = ("LC_", "LD_", "PG", "PYTHON", "XDG_")


class _Ready(msgspec.Struct):
    url: str


def check_serving(settings: Settings) -> None:
    """Refuse at once what would keep the API from ever starting.

    Raises:
        SettingsError: the token or the certificate cannot be used.
    """
    from liqctl.ports import SystemClock, SystemRng  # noqa: PLC0415 - 30 ms, not for --help
    from liqctl.server.tls import tls_context  # noqa: PLC0415 - with --serve only
    from liqctl.server.token import open_tokens  # noqa: PLC0415 - with --serve only

    options = serve_options(settings)
    public_host = options.host if options.is_public else None
    open_tokens(options.token_file, public_host=public_host, clock=SystemClock(), rng=SystemRng())
    tls_context(options.tls_cert, options.tls_key)


class ServeChild:
    """Keeps one `liqctl serve` running, and tells it when the keeper has recorded something.

    The child ends with this process, however that ends: it reads the pipe on its standard input.
    It gets the database and the server's own settings, no key and no endpoint, and no argument
    that is secret.
    """

    def __init__(self, session: Session, context: Context) -> None:
        """Listen to the keeper's store; nothing is started yet."""
        self._session = session
        self._clock = context.clock
        self._rng = context.rng
        context.store.after_call = self.nudge
        self._stdin: asyncio.StreamWriter | None = None
        self._nudging: asyncio.TimerHandle | None = None
        self.url: str | None = None
        self.starts = 0

    async def run(self) -> None:
        """Start the child again and again until cancelled; the keeper never waits for it."""
        pause_s = PAUSE_S_MIN
        while True:
            started_ns = self._clock.monotonic_ns()
            self.starts += 1
            reason = await self._live()
            lived_ns = self._clock.monotonic_ns() - started_ns
            if lived_ns >= STEADY_NS:
                pause_s = PAUSE_S_MIN
            log.error(
                "api_ended",
                reason=reason,
                lived_s=lived_ns // 1_000_000_000,
                starts=self.starts,
                again_in_s=pause_s,
            )
            await self._clock.sleep(pause_s * (1 + self._rng.random() / 4))
            pause_s = min(2 * pause_s, PAUSE_S_MAX)

    def nudge(self) -> None:
        """Say that there may be news: one byte for all calls within two milliseconds."""
        if self._nudging is None and self._stdin is not None:
            self._nudging = asyncio.get_running_loop().call_later(NUDGE_S, self._write_nudge)

    def _write_nudge(self) -> None:
        self._nudging = None
        pipe = None if self._stdin is None else self._stdin.transport
        # With bytes that it has not even read, the child needs no further one.
        if pipe is not None and not pipe.is_closing() and not pipe.get_write_buffer_size():
            pipe.write(b"\n")

    async def _live(self) -> str:
        """Return why one life of the child has ended."""
        try:
            child = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "liqctl", "serve", "--json", "--exit-with-stdin"),
                *("--config", os.devnull),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=self._environment(),
                # Out of reach of the terminal's signals, but in the keeper's session: between sessions
                # Linux shares the processors out evenly, whatever the priorities within them.
                process_group=0,
            )
        except OSError as error:
            return f"it cannot be started: {error.strerror}"
        self._stdin = child.stdin
        try:
            return await self._heard(child)
        finally:
            self.url = self._stdin = None
            await _end(child)

    async def _heard(self, child: asyncio.subprocess.Process) -> str:
        """Return when the child says nothing any more."""
        patience_s = READY_S_MAX
        while child.stdout is not None:
            try:
                async with asyncio.timeout(patience_s):
                    line = await child.stdout.readline()
                self._note(line)
            except TimeoutError:
                return f"it said nothing for {patience_s:.0f} seconds"
            except ValueError:
                return "it said what is no word of ours"
            if not line:
                break
            patience_s = SILENT_S_MAX
        with suppress(TimeoutError):
            async with asyncio.timeout(END_S_MAX):
                return f"exit code {await child.wait()}"
        return "it closed its output"

    def _note(self, line: bytes) -> None:
        """Take the one line that says where it serves; the others are empty and say: I live."""
        if line.strip():
            self.url = msgspec.json.decode(line, type=_Ready).url
            log.info("api_serving", url=self.url)

    def _environment(self) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if name in KEPT or name.startswith(KEPT_PREFIXES)
        }
        return kept | dict(_variables(self._session))


def _variables(session: Session) -> Mapping[str, str]:
    """Return the settings of the child as variables, which unlike arguments nobody else can see."""
    settings, told = session.settings, {}
    for name in TOLD:
        value = getattr(settings, name)
        if value is not None:
            told[f"LIQCTL_{name.upper()}"] = (
                ",".join(value) if isinstance(value, tuple) else str(value)
            )
    quiet = session.screen.err.is_terminal and session.origins["log_level"] == "default"
    return told | {"LIQCTL_LOG_LEVEL": "warn" if quiet else settings.log_level}


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.stdin is not None:
        child.stdin.close()
    try:
        async with asyncio.timeout(END_S_MAX):
            await child.wait()
    except TimeoutError:
        with suppress(ProcessLookupError):
            child.kill()
        await child.wait()
