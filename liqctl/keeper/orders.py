"""What people order through the store while the keeper runs: the switch, single positions, exclusions."""

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import NamedTuple

from liqctl.core.events import ExclusionsSeen, Ordered
from liqctl.core.record import Exclusion, QueueRow
from liqctl.errors import StoreError
from liqctl.keeper.context import Context
from liqctl.keeper.holds import Holds, Switch
from liqctl.keeper.mailbox import Mailbox
from liqctl.ports import Store

LOOK_S = 0.5


class Found(NamedTuple):
    """What a look found: the orders are taken, whatever became of reading the exclusions."""

    version: int
    orders: list[QueueRow]
    exclusions: list[Exclusion] | StoreError


class Orders:
    """Looks into the store twice a second and at a signal; without news it is one short query."""

    def __init__(
        self, context: Context, holds: Holds, mailbox: Mailbox, counts: Counter[str]
    ) -> None:
        """Tell switch and mailbox; a store that fails is counted as `store_errors`."""
        self._context = context
        self._holds = holds
        self._mailbox = mailbox
        self._counts = counts
        self._version: int | None = None

    async def run(self) -> None:
        """Look again and again; a failing store is reported by the recorder."""
        await self._repeat(self.take)

    async def heed_switch(self) -> None:
        """Look at the kill switch alone, again and again: for a keeper that only starts yet.

        What lifts a switch that was set by a signal is a row that changes after it.
        """
        await self._repeat(self._holds.look)

    async def _repeat(self, look: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._holds.pulled(LOOK_S)
            try:
                await look()
            except StoreError:
                self._counts["store_errors"] += 1

    async def take(self) -> None:
        """Do what others wrote since the last look; the kill switch counts whatever else fails.

        Raises:
            StoreError: the store cannot be read; what was known stays.
        """
        store, venue = self._context.store, self._context.venue.id
        now_ms = self._context.clock.unix_ms()
        switch, orders = await store.run(
            _look, store.store, self._holds, venue, self._version, now_ms
        )
        self._holds.note(switch)
        if isinstance(orders, StoreError):
            raise orders
        if orders is None:
            return
        for row in orders.orders:
            if row.order is not None:
                self._mailbox.put(Ordered(position=row.position, order=row.order))
        exclusions = orders.exclusions
        if isinstance(exclusions, StoreError):
            raise exclusions
        self._version = orders.version
        ahead_ms = self._context.steady.ms() - now_ms
        kept = tuple(_in_steady_time(exclusion, ahead_ms) for exclusion in exclusions)
        self._mailbox.put(ExclusionsSeen(exclusions=kept))


def _in_steady_time(exclusion: Exclusion, ahead_ms: int) -> Exclusion:
    """Return an exclusion that ends as soon as it was written to, whatever steps our clock made.

    Whole seconds, so that the moments of two looks make no difference.
    """
    if exclusion.until_ms is None:
        return exclusion
    return replace(exclusion, until_ms=exclusion.until_ms + round(ahead_ms / 1_000) * 1_000)


def _look(
    store: Store, holds: Holds, venue: str, known_version: int | None, now_ms: int
) -> tuple[Switch, Found | StoreError | None]:
    """Return the switch, and the orders unless nobody has written since that version."""
    switch = holds.read(store)
    try:
        version = store.version()
        if version == known_version:
            return switch, None
        rows = store.take_orders(now_ms, venue)
    except StoreError as error:
        return switch, error
    try:
        exclusions: list[Exclusion] | StoreError = store.exclusions()
    except StoreError as error:
        exclusions = error
    return switch, Found(version, rows, exclusions)
