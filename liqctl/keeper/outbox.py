"""Messages out of the store to the channels: at least once, the gravest first, nobody waiting."""

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import groupby

import structlog

from liqctl.alerts.outbox import in_order, must_wait, next_try_ms, unheard
from liqctl.core.alert import GIVEN_UP_MS, Delivery
from liqctl.errors import DeliveryError, StoreError
from liqctl.keeper.context import SteadyTime
from liqctl.keeper.storage import StoreThread
from liqctl.ports import Clock, Notifier, Rng, Store

log = structlog.get_logger(__name__)

ROUND_S = 1.0
DUE_MAX = 200
LOOKED_BACK_MAX = 500
FAILURES_TOLD = 3
REST_MS_MAX = 60_000
REST_MS = 5_000
DIRECT_MAX = 100
DIRECT_TRIES_MAX = 20
LEASE = "alert_outbox"
LEASE_MS = 15_000

Tag = tuple[str, str, int]


def tag_of(delivery: Delivery) -> Tag:
    """Return what tells a message that is not in the store yet from all others."""
    return delivery.channel, delivery.dedup_key, delivery.created_ms


@dataclass(slots=True, kw_only=True)
class Lane:
    """One channel and how it does; it takes one message at a time."""

    name: str
    notifier: Notifier
    failures: int = 0
    error: str = ""
    rests_until_ms: int = 0
    task: asyncio.Task[None] | None = None

    def is_free(self, now_ms: int) -> bool:
        """Return whether the next message may be tried."""
        return now_ms >= self.rests_until_ms and (self.task is None or self.task.done())

    def took(self) -> None:
        """Note that it works."""
        self.failures, self.error, self.rests_until_ms = 0, "", 0

    def failed(self, error: DeliveryError, now_ms: int) -> None:
        """Note that it does not; it rests the longer the more often in a row."""
        rest_ms = min(REST_MS << min(self.failures, 10), REST_MS_MAX)
        self.failures, self.error = self.failures + 1, str(error)
        self.rests_until_ms = 0 if error.refused else now_ms + rest_ms


class Outbox:
    """Delivers for one process; of several on a store one at a time does, by a lease."""

    def __init__(
        self,
        store: StoreThread,
        clock: Clock,
        rng: Rng,
        *,
        owner: str,
        channels: Mapping[str, Notifier],
    ) -> None:
        """Deliver to channels by name; nothing runs yet."""
        self._store = store
        self._clock = clock
        self._rng = rng
        self._owner = owner
        self._steady = SteadyTime(clock)
        self._lanes = {name: Lane(name=name, notifier=each) for name, each in channels.items()}
        self._taken_ms: dict[int, int] = {}
        self._direct: deque[Delivery] = deque(maxlen=DIRECT_MAX)
        self._direct_taken: deque[Tag] = deque(maxlen=DIRECT_MAX)

    async def run(self) -> None:
        """Deliver what is due again and again; ends only by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._clock.sleep(ROUND_S)
                await self._round(tasks)

    def failing(self) -> dict[str, str]:
        """Return the channels that failed several times in a row, with the last error."""
        lanes = self._lanes.values()
        return {lane.name: lane.error for lane in lanes if lane.failures >= FAILURES_TOLD}

    def hand(self, delivery: Delivery) -> None:
        """Take a message that the store does not take now; kept in bounded memory, best effort."""
        self._direct.append(delivery)

    def direct_taken(self) -> frozenset[Tag]:
        """Return which of the messages handed over their channels have taken."""
        return frozenset(self._direct_taken)

    def withdraw(self, deliveries: Iterable[Delivery]) -> None:
        """Forget messages that were handed over: the store has them now."""
        tags = {tag_of(delivery) for delivery in deliveries}
        waiting = [each for each in self._direct if tag_of(each) not in tags]
        self._direct = deque(waiting, maxlen=DIRECT_MAX)

    async def _round(self, tasks: asyncio.TaskGroup) -> None:
        now_ms = self._steady.ms()
        self._start_direct(tasks, now_ms)
        # A lane that ends its work during the read may have taken what the read still shows as due.
        free = {lane.name for lane in self._lanes.values() if lane.is_free(now_ms)}
        try:
            await self._note_taken()
            due = await self._store.run(_due, self._store.store, self._owner, now_ms)
            for name, deliveries in groupby(sorted(due, key=_channel), _channel):
                lane = self._lanes.get(name)
                if lane is None:
                    await self._give_up(list(deliveries), "no channel of this name is configured")
                elif name in free:
                    work = self._work(lane, in_order(deliveries))
                    lane.task = tasks.create_task(work, name=f"alert channel {name}")
        except StoreError as error:
            log.debug("outbox_not_read", error=str(error))  # the recorder reports the database

    def _start_direct(self, tasks: asyncio.TaskGroup, now_ms: int) -> None:
        for delivery in in_order(self._direct):
            lane = self._lanes.get(delivery.channel)
            if lane is not None and lane.is_free(now_ms):
                self._direct.remove(delivery)
                work = self._work_direct(lane, delivery)
                lane.task = tasks.create_task(work, name=f"alert channel {lane.name}")

    async def _work(self, lane: Lane, deliveries: list[Delivery]) -> None:
        """Send one message after another, until the channel fails in earnest."""
        for delivery in deliveries:
            try:
                if not await self._is_in_turn(delivery):
                    continue
                error = await self._tried(lane, delivery)
                if error is None:
                    self._taken_ms[delivery.id or 0] = self._steady.ms()
                    await self._note_taken()
                    continue
                await self._delay(lane, delivery, error)
            except StoreError as trouble:
                log.debug("delivery_not_recorded", channel=lane.name, error=str(trouble))
                return
            if not error.refused:
                return

    async def _work_direct(self, lane: Lane, delivery: Delivery) -> None:
        if await self._tried(lane, delivery) is None:
            self._direct_taken.append(tag_of(delivery))
        elif delivery.tries < DIRECT_TRIES_MAX:
            self._direct.appendleft(replace(delivery, tries=delivery.tries + 1))

    async def _tried(self, lane: Lane, delivery: Delivery) -> DeliveryError | None:
        """Hand a message to its channel; the error, if it did not take it."""
        try:
            await lane.notifier.notify(delivery)
        except DeliveryError as error:
            lane.failed(error, self._steady.ms())
            log.warning(
                "alert_not_delivered",
                channel=lane.name,
                title=delivery.title,
                error=str(error),
                tries=delivery.tries + 1,
            )
            return error
        lane.took()
        log.info("alert_delivered", channel=lane.name, title=delivery.title)
        return None

    async def _is_in_turn(self, delivery: Delivery) -> bool:
        """Whether a message may go now: the end of an alert never before the alert itself."""
        if not delivery.resolves:
            return True
        store = self._store.store
        outbox = await self._store.run(store.deliveries, limit=LOOKED_BACK_MAX)
        if must_wait(delivery, outbox):
            return False
        if unheard(delivery, outbox):
            await self._give_up([delivery], "the channel never took the alert that is over")
            return False
        return True

    async def _delay(self, lane: Lane, delivery: Delivery, error: DeliveryError) -> None:
        """Record a failed try; a channel that is down rests until then, or lesser ones overtake."""
        now_ms = self._steady.ms()
        jitter = int(self._rng.random() * 1_000)
        next_ms = next_try_ms(delivery, now_ms, refused=error.refused, jitter_permille=jitter)
        if next_ms == GIVEN_UP_MS:
            await self._give_up([delivery], str(error))
            return
        if not error.refused:
            lane.rests_until_ms = max(lane.rests_until_ms, min(next_ms, now_ms + REST_MS_MAX))
        delay = self._store.store.delay_delivery
        await self._store.run(delay, delivery.id or 0, str(error), next_ms)

    async def _give_up(self, deliveries: list[Delivery], error: str) -> None:
        for delivery in deliveries:
            log.error("alert_given_up", channel=delivery.channel, title=delivery.title, error=error)
            delay = self._store.store.delay_delivery
            await self._store.run(delay, delivery.id or 0, f"given up: {error}", GIVEN_UP_MS)

    async def _note_taken(self) -> None:
        """Record what channels took; a message is not sent again because the record was late."""
        for number, taken_ms in list(self._taken_ms.items()):
            await self._store.run(self._store.store.end_delivery, number, taken_ms)
            self._taken_ms.pop(number, None)


def _channel(delivery: Delivery) -> str:
    return delivery.channel


def _due(store: Store, owner: str, now_ms: int) -> list[Delivery]:
    """Return what this process has to deliver now; nothing while another one does."""
    ours, found = json.dumps(owner), store.state(LEASE)
    is_fresh = found is not None and found[0] == ours and abs(now_ms - found[1]) < LEASE_MS // 3
    if not (is_fresh or store.take_state(LEASE, ours, now_ms, LEASE_MS)):
        return []
    return store.due_deliveries(now_ms, DUE_MAX)
