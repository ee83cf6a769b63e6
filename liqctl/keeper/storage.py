"""The store from inside the event loop: one thread owns the connection, calls wait their turn."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from liqctl.ports import Store

P = ParamSpec("P")
R = TypeVar("R")


class StoreThread:
    """Runs the store's blocking calls one after another on a thread of their own."""

    def __init__(self, store: Store) -> None:
        """Take over the store; nobody else may call it while this is open."""
        self.store = store
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")

    async def run(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the store's method returns; its errors pass through."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(call, *args, **kwargs))

    async def close(self) -> None:
        """Finish the calls under way and close the store."""
        await self.run(self.store.close)
        self._executor.shutdown(wait=False)
