"""What libraries build anew for every life of a keeper although it is always the same."""

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar, cast

import aiosql

T = TypeVar("T")
SOUGHT = ("sniffio", "trio")

_transport: Any = importlib.import_module("httpx._transports.default")
_rpc: Any = importlib.import_module("liqctl.chain.rpc")


@contextmanager
def shortcuts(*, snapshots: bool = False) -> Iterator[None]:
    """Keep one of each while the block runs; nothing that a keeper can see is different.

    They are TLS contexts (35 ms each, and the simulated network has no TLS), parsed SQL (10 ms),
    and the search for modules that are not installed, at every request. With `snapshots` those
    take the short way too: the general client costs half as much as all the rest of a seed's calls.
    """
    cold = _rpc._COLD  # noqa: SLF001
    made, parsed = _transport.create_ssl_context, aiosql.from_str
    absent = [name for name in SOUGHT if name not in sys.modules and find_spec(name) is None]
    _transport.create_ssl_context = _kept(made)
    aiosql.from_str = _kept(parsed)
    if snapshots:
        _rpc._COLD = frozenset()  # noqa: SLF001
    # As importlib marks what is known not to be there.
    known = cast("dict[str, object]", sys.modules)
    known.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        _transport.create_ssl_context, aiosql.from_str = made, parsed
        _rpc._COLD = cold  # noqa: SLF001
        for name in absent:
            del sys.modules[name]


@functools.cache
def _kept(make: Callable[..., T]) -> Callable[..., T]:
    return functools.cache(make)
