"""The store from inside the event loop: one thread owns the connection, calls wait their turn."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from liqctl.errors import StoreBusy
from liqctl.ports import Store

P = ParamSpec("P")
R = TypeVar("R")


class StoreThread:
    """Runs the store's blocking calls one after another on a thread of their own."""

    def __init__(self, store: Store) -> None:
        """Take over the store; nobody else may call it while this is open."""
        self.store = store
        self.after_call: Callable[[], None] | None = None  # told in the loop; it may have written
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._hurried = False
        self._given_up: StoreBusy | None = None

    async def run(self, call: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Return what the store's method returns; its errors pass through."""
        loop = asyncio.get_running_loop()
        answer = await loop.run_in_executor(
            self._executor, self._called, partial(call, *args, **kwargs)
        )
        if self.after_call is not None:
            self.after_call()
        return answer

    def hurry(self) -> None:
        """From now on wait for a store that is busy or away once, not for every call that is left."""
        self._hurried = True
        self.store.hurry()

    async def close(self) -> None:
        """Finish the calls under way and close the store."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self.store.close)
        self._executor.shutdown(wait=False)

    def _called(self, call: Callable[[], R]) -> R:
        """On the store's own thread: make the call, unless the store has been given up."""
        if self._given_up is not None:
            raise StoreBusy(str(self._given_up))
        try:
            return call()
        except StoreBusy as error:
            self._given_up = error if self._hurried else None
            raise
