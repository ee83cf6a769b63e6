import gc

import pytest


@pytest.fixture
def small_heap():
    """Keep what is there already out of the garbage collections of the test: they cost 40 ms."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
