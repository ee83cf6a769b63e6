from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.server.world import application, asking, copied, filled


@pytest.fixture(scope="session")
def full_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A filled database that no test changes."""
    return filled(tmp_path_factory.mktemp("api"))


@pytest.fixture
def own_file(full_file: Path, tmp_path: Path) -> Path:
    """A filled database of the test's own."""
    return copied(full_file, tmp_path)


@pytest.fixture
async def client(full_file: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the API over the filled database."""
    async with asking(application(full_file)) as opened:
        yield opened
