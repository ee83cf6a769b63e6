import pytest

from tests.keeper.stage import Stage


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()
