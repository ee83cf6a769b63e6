"""Hermes as the settings name it: a client for as long as a command needs one, or none."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from liqctl.config import Settings
from liqctl.oracle.hermes_client import HermesClient
from liqctl.oracle.hermes_key import read_api_key
from liqctl.ports import Clock, Rng


@asynccontextmanager
async def hermes_of(
    settings: Settings, clock: Clock, rng: Rng
) -> AsyncIterator[HermesClient | None]:
    """Open a client of Hermes, or yield None where no URL is set; nothing is sent yet.

    Raises:
        SettingsError: no URL that may be called, or a key file that cannot be used.
    """
    if settings.hermes_url is None:
        yield None
        return
    key = None
    if settings.hermes_api_key_file is not None:
        loop, file = asyncio.get_running_loop(), settings.hermes_api_key_file
        key = await loop.run_in_executor(None, _key_in, file)
    async with HermesClient(settings.hermes_url, clock, rng, api_key=key) as client:
        yield client


def _key_in(file: str) -> str:
    return read_api_key(Path(file).expanduser())
