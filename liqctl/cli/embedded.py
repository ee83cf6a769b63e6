"""An embedded chain as a child process, for `watch --localnet`."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from liqctl.errors import LiqctlError, SettingsError

READY_S_MAX = 120.0
END_S_MAX = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Embedded:
    """A running chain, ready to be worked on."""

    rpc_url: str
    ws_url: str
    program_id: str
    child: asyncio.subprocess.Process

    async def watched(self) -> None:
        """Return never; a keeper must not go on without its chain.

        Raises:
            LiqctlError: the chain ended.
        """
        code = await self.child.wait()
        raise LiqctlError(f"the embedded chain ended by itself (exit code {code}); start again")

    async def rest(self) -> None:
        """Let prices stand still from now on."""
        if self.child.stdin is not None:
            self.child.stdin.write(b"hold\n")
            await self.child.stdin.drain()


@asynccontextmanager
async def embedded_chain(
    keypair: Path, *, positions: int, markets: int, seed: int, path: str
) -> AsyncIterator[Embedded]:
    """Start `liqctl localnet` on free ports; it ends with this process, however that ends.

    Raises:
        Exit: it did not start, and has said why on stderr.
        SettingsError: it did not start, or not in time.
    """
    options = {
        "--port": "0",
        "--positions": str(positions),
        "--markets": str(markets),
        "--seed": str(seed),
        "--path": path,
        "--keypair-out": str(keypair),
    }
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "liqctl",
        "localnet",
        "--json",
        "--exit-with-stdin",
        *(word for pair in options.items() for word in pair),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    try:
        ready = json.loads(await _first_line(child))
        yield Embedded(
            rpc_url=ready["rpc_url"],
            ws_url=ready["ws_url"],
            program_id=ready["program_id"],
            child=child,
        )
    finally:
        await _end(child)


async def _first_line(child: asyncio.subprocess.Process) -> bytes:
    line = b""
    if child.stdout is not None:
        try:
            async with asyncio.timeout(READY_S_MAX):
                line = await child.stdout.readline()
        except TimeoutError:
            raise SettingsError(
                f"the embedded chain was not ready after {READY_S_MAX:.0f} seconds; "
                "try fewer --positions"
            ) from None
    if line:
        return line
    code = await child.wait()
    if code > 0:
        raise typer.Exit(code)
    raise SettingsError("the embedded chain did not start")


async def _end(child: asyncio.subprocess.Process) -> None:
    if child.stdin is not None:
        child.stdin.close()
    try:
        async with asyncio.timeout(END_S_MAX):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()
