"""Prices of Hermes into the mailbox: a stream of every feed that the markets' terms name."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from liqctl.core.events import PricesSeen
from liqctl.errors import HermesError
from liqctl.keeper.mailbox import Mailbox
from liqctl.oracle.hermes_client import (
    FEEDS_MAX,
    HermesClient,
    HermesDown,
    HermesItem,
    HermesPrices,
)
from liqctl.ports import Clock

log = structlog.get_logger(__name__)

LOOK_S = 2.0


@dataclass(slots=True, kw_only=True)
class HermesState:
    """How the service does: when it last gave a price (monotonic nanoseconds, 0 for never).

    `down` is why there is no stream now, None while there is one or none is wanted.
    """

    prices_ns: int = 0
    down: str | None = None


class HermesFeed:
    """Keeps streams on the feeds that are wanted now; what fails is told and tried again.

    A service that is gone takes no price away but its own, which grow too old to be used.
    """

    def __init__(
        self,
        client: HermesClient,
        mailbox: Mailbox,
        clock: Clock,
        feeds: Callable[[], tuple[str, ...]],
    ) -> None:
        """Wire the parts; `feeds` tells which feeds are wanted, by id."""
        self.client = client
        self._mailbox = mailbox
        self._clock = clock
        self._feeds = feeds
        self.state = HermesState()

    async def once(self) -> None:
        """Ask for every wanted price once; a service that fails is logged, and then there is none."""
        for group in _groups(self._feeds()):
            try:
                self._take(await self.client.latest(group))
            except HermesError as error:
                self.state.down = str(error)
                log.warning("hermes_down", reason=str(error))

    async def run(self) -> None:
        """Keep the streams open; ends only by cancellation."""
        while True:
            feeds = self._feeds()
            streams = [
                asyncio.create_task(self.client.run(group, self._take), name="hermes stream")
                for group in _groups(feeds)
            ]
            try:
                while self._feeds() == feeds:
                    await self._clock.sleep(LOOK_S)
                    for stream in streams:
                        if stream.done():
                            stream.result()
            finally:
                for stream in streams:
                    stream.cancel()
                if streams:
                    await asyncio.wait(streams)

    def _take(self, item: HermesItem) -> None:
        match item:
            case HermesPrices():
                self.state.down = None
                self.state.prices_ns = item.received_ns
                self._mailbox.put(
                    PricesSeen(
                        readings=item.readings, lost=item.unknown, received_ns=item.received_ns
                    )
                )
            case HermesDown():
                self.state.down = item.reason


def _groups(feeds: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the feeds in as few groups as requests can hold."""
    return [feeds[at : at + FEEDS_MAX] for at in range(0, len(feeds), FEEDS_MAX)]
