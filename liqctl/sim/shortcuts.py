"""What libraries build anew for every life of a keeper although it is always the same."""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

import aiosql

T = TypeVar("T")
SOUGHT = ("sniffio", "trio")

_transport: Any = importlib.import_module("httpx._transports.default")


@contextmanager
def shortcuts() -> Iterator[None]:
    """Keep one of each while the block runs; nothing that a keeper can see is different.

    They are TLS contexts (35 ms each, and the simulated network has no TLS), parsed SQL (10 ms),
    and the search for modules that are not installed, at every request.
    """
    made, parsed = _transport.create_ssl_context, aiosql.from_str
    absent = [name for name in SOUGHT if name not in sys.modules and find_spec(name) is None]
    _transport.create_ssl_context = _kept(made)
    aiosql.from_str = _kept(parsed)
    # As importlib marks what is known not to be there.
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]
    try:
        yield
    finally:
        _transport.create_ssl_context, aiosql.from_str = made, parsed
        for name in absent:
            del sys.modules[name]


@functools.cache
def _kept(make: Callable[..., T]) -> Callable[..., T]:
    return functools.cache(make)
