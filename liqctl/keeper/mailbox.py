"""The mailbox between the sources and the engine: newest value per address, bounded by what exists."""

import asyncio
from collections import deque

from liqctl.core.account import Seen
from liqctl.core.events import AccountsSeen, ClockSeen, Event, PricesSeen
from liqctl.core.price import PriceReading


class Mailbox:
    """Sources put and never wait; the keeper drains everything at its own pace.

    Accounts coalesce by address (the newest slot wins), prices of a service by feed (the last one
    wins, and a feed that it lost has none), the clock keeps its newest value, and every other
    event is kept in order: those come one per decision, order or interval.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._accounts: dict[str, Seen] = {}
        self._clock: ClockSeen | None = None
        self._prices: dict[str, PriceReading] = {}
        self._lost: set[str] = set()
        self._others: deque[Event] = deque()
        self._received_ns = 0
        self._prices_received_ns = 0
        self._ready = False
        self._waiting: asyncio.Future[None] | None = None
        self.coalesced = 0

    @property
    def depth(self) -> int:
        """How many values wait."""
        beside = len(self._prices) + len(self._others) + (self._clock is not None)
        return len(self._accounts) + beside

    def put(self, event: Event) -> None:
        """Add an event."""
        match event:
            case AccountsSeen():
                self._put_accounts(event)
            case PricesSeen():
                self._put_prices(event)
            case ClockSeen():
                if self._clock is None or event.slot >= self._clock.slot:
                    self._clock = event
            case _:
                self._others.append(event)
        self._ready = True
        if self._waiting is not None:
            _wake(self._waiting)

    def drain(self) -> list[Event]:
        """Return what has gathered and start afresh: the clock, then accounts and prices in a batch each."""
        events: list[Event] = [] if self._clock is None else [self._clock]
        if self._accounts:
            seen = tuple(self._accounts.values())
            events.append(AccountsSeen(seen=seen, received_ns=self._received_ns))
        if self._prices or self._lost:
            readings, lost = tuple(self._prices.values()), tuple(sorted(self._lost))
            events.append(
                PricesSeen(readings=readings, lost=lost, received_ns=self._prices_received_ns)
            )
        events.extend(self._others)
        self._clock, self._accounts, self._received_ns = None, {}, 0
        self._prices, self._lost, self._prices_received_ns = {}, set(), 0
        self._others.clear()
        self._ready = False
        return events

    async def wait(self, timeout_s: float) -> None:
        """Return when something is there or the time is up; one task at a time may wait."""
        if self._ready:
            return
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        alarm = loop.call_later(timeout_s, _wake, self._waiting)
        try:
            await self._waiting
        finally:
            alarm.cancel()
            self._waiting = None

    def _put_accounts(self, event: AccountsSeen) -> None:
        for seen in event.seen:
            held = self._accounts.get(seen.address)
            if held is not None:
                self.coalesced += 1
            if held is None or seen.slot >= held.slot:
                self._accounts[seen.address] = seen
        if event.received_ns and not self._received_ns:
            self._received_ns = event.received_ns

    def _put_prices(self, event: PricesSeen) -> None:
        for reading in event.readings:
            self._prices[reading.feed_id] = reading
            self._lost.discard(reading.feed_id)
        for feed_id in event.lost:
            self._prices.pop(feed_id, None)
            self._lost.add(feed_id)
        self._prices_received_ns = self._prices_received_ns or event.received_ns


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
