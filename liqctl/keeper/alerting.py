"""The task that looks at the keepers once a second and puts what is wrong on record."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

import structlog

from liqctl.alerts.digest import Digest, digest_deliveries, due_day
from liqctl.alerts.outbox import deliveries_of, event_json
from liqctl.alerts.policy import Change, Findings, Key, Pacing, Turn, Watched, step, taken_up
from liqctl.alerts.routes import Route, heard_by
from liqctl.alerts.rule import Look, Thresholds
from liqctl.alerts.rules import channels_judged, judged
from liqctl.alerts.trail import Trail
from liqctl.core.alert import Alert, AlertState, Delivery, Severity
from liqctl.core.record import Totals
from liqctl.core.status import Status
from liqctl.errors import StoreError
from liqctl.keeper.alert_claims import Claims
from liqctl.keeper.context import SteadyTime
from liqctl.keeper.outbox import Outbox, Tag, tag_of
from liqctl.keeper.storage import StoreThread
from liqctl.ports import Clock, Store

log = structlog.get_logger(__name__)

LOOK_S = 1.0
UNRECORDED_MAX = 100
LOOKED_BACK_MAX = 500
SELDOM_MS = 60_000
KEPT_MS = 90 * 86_400_000
DIGEST = "alert_digest"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRules:
    """Everything about alerts that people set; without a digest hour (UTC) there is no digest."""

    thresholds: Thresholds = field(default_factory=Thresholds)
    pacing: Pacing = field(default_factory=Pacing)
    routes: Sequence[Route] = ()
    digest_hour: int | None = None


@dataclass(slots=True, kw_only=True)
class _Unrecorded:
    """An alert that the store did not take, with its latest change and all its messages."""

    change: Change
    deliveries: list[Delivery]


class Alerting:
    """Judges, records and hands over; the outbox delivers. Nothing here holds up a keeper.

    Alerts are recorded whether there is a channel or not. While the database is lost they are
    kept in bounded memory, told directly, and recorded afterwards.
    """

    def __init__(
        self,
        store: StoreThread,
        clock: Clock,
        statuses: Sequence[Callable[[], Status]],
        *,
        owner: str,
        rules: AlertRules,
        outbox: Outbox | None = None,
    ) -> None:
        """Look at the keepers of one process, which share the store; nothing runs yet."""
        self._store = store
        self._clock = clock
        self._steady = SteadyTime(clock)
        window_ms = rules.thresholds.window_ms
        self._keepers = [(status, Trail(window_ms)) for status in statuses]
        self._rules = rules
        self._outbox = outbox
        self._claims = Claims(store, owner=owner)
        self._watched: dict[Key, Watched] = {}
        self._is_taken_up = False
        self._unrecorded: dict[Key, _Unrecorded] = {}
        self._seldom_ms = 0

    async def run(self) -> None:
        """Look again and again, and deliver; ends only by cancellation."""
        async with asyncio.TaskGroup() as tasks:
            if self._outbox is not None:
                tasks.create_task(self._outbox.run(), name="outbox")
            while True:
                await self._clock.sleep(LOOK_S)
                await self.look()

    async def look(self) -> None:
        """Judge once and record what changed; a failing store is one of the things to tell."""
        now_ms = self._steady.ms()
        await self._take_up(now_ms)
        await self._record_late()
        self._watched, changes = step(
            self._watched, self._found(now_ms), now_ms, self._rules.pacing
        )
        # First, so that no other process ends an alert while it is being taken up here.
        await self._claims.put(self._seen(), now_ms)
        for change in changes:
            await self._tell(change, now_ms)
        await self._do_seldom(now_ms)

    def firing(self) -> list[Alert]:
        """Return what holds now."""
        return [each.alert for each in self._watched.values() if each.alert is not None]

    def _seen(self) -> frozenset[Key]:
        """Return the alerts whose conditions hold here."""
        watched = self._watched.items()
        return frozenset(key for key, each in watched if each.holds and each.alert is not None)

    def _found(self, now_ms: int) -> Findings:
        found = channels_judged(self._outbox.failing() if self._outbox is not None else {})
        for status_of, trail in self._keepers:
            status = status_of()
            look = Look(status=status, growth=trail.grown(status, now_ms))
            found = found.joined(judged(look, self._rules.thresholds))
        return found

    async def _take_up(self, now_ms: int) -> None:
        """Once, take up the alerts that an earlier run left firing."""
        if self._is_taken_up:
            return
        try:
            left = await self._store.run(self._store.store.firing)
        except StoreError as error:
            log.debug("alerts_not_read", error=str(error))
            return
        self._watched = taken_up(left, now_ms) | self._watched
        self._is_taken_up = True

    async def _tell(self, change: Change, now_ms: int) -> None:
        alert = change.alert
        if await self._is_left_to_others(change, now_ms):
            return
        level = log.info if change.turn is Turn.RESOLVED else log.warning
        level(
            "alert",
            turn=change.turn.value,
            rule=alert.rule,
            subject=alert.subject,
            severity=alert.severity.value,
            title=alert.title,
        )
        heard: set[str] | None = None
        if (alert.rule, alert.subject) in self._unrecorded:
            self._keep(change, deliveries_of(change, self._rules.routes, heard, now_ms))
            return
        try:
            if change.turn is Turn.RESOLVED and alert.id is not None:
                heard = await self._store.run(_heard, self._store.store, alert.id)
            deliveries = deliveries_of(change, self._rules.routes, heard, now_ms)
            await self._record(change, deliveries)
        except StoreError as error:
            if not await self._is_told_by_another(alert):
                log.debug("alert_not_recorded", error=str(error))
                self._keep(change, deliveries_of(change, self._rules.routes, heard, now_ms))

    async def _is_left_to_others(self, change: Change, now_ms: int) -> bool:
        """Whether there is nothing to tell: another process sees the same, or has told it."""
        alert, key = change.alert, (change.alert.rule, change.alert.subject)
        if alert.id is None or key in self._unrecorded:
            return False
        try:
            kept = await self._store.run(_firing, self._store.store, alert.id)
            claimed = await self._claims.of_others(now_ms)
        except StoreError:
            return False
        if change.turn is Turn.RESOLVED:
            if kept is not None and key in claimed:
                self._watched[key] = Watched(holds=False, since_ms=now_ms, alert=kept)
                return True
            return kept is None
        if kept is None:  # ended by another process before this one claimed it
            self._watched[key] = replace(self._watched[key], alert=None)
            return True
        is_told = now_ms - (kept.notified_ms or 0) < self._rules.pacing.repeat_ms
        if is_told:
            self._watched[key] = replace(self._watched[key], alert=kept)
        return is_told

    async def _record(self, change: Change, deliveries: Sequence[Delivery]) -> None:
        put = self._store.store.put_alert
        number = await self._store.run(put, change.alert, deliveries, event_json(change))
        self._know(replace(change.alert, id=number))

    def _know(self, alert: Alert) -> None:
        """Keep an alert as the store has it, unless it is over."""
        key = alert.rule, alert.subject
        watched = self._watched.get(key)
        if watched is not None and watched.alert is not None:
            self._watched[key] = replace(watched, alert=replace(watched.alert, id=alert.id))

    async def _is_recorded_by_another(self, alert: Alert) -> bool:
        """Whether another process on the store has recorded the beginning or the end meanwhile."""
        if alert.id is None:
            return await self._is_told_by_another(alert)
        try:
            return await self._store.run(_firing, self._store.store, alert.id) is None
        except StoreError:
            return False

    async def _is_told_by_another(self, alert: Alert) -> bool:
        """Whether another process on the store has the same alert firing; then it is ours too."""
        if alert.id is not None:
            return False
        try:
            firing = await self._store.run(self._store.store.firing)
        except StoreError:
            return False
        same = [one for one in firing if (one.rule, one.subject) == (alert.rule, alert.subject)]
        if same:
            self._watched[alert.rule, alert.subject] = Watched(
                holds=True, since_ms=alert.raised_ms, alert=same[0]
            )
        return bool(same)

    def _keep(self, change: Change, deliveries: list[Delivery]) -> None:
        """Keep in memory what the store did not take, and hand its messages over directly."""
        key = change.alert.rule, change.alert.subject
        kept = self._unrecorded.get(key)
        if kept is not None:
            kept.change = change
            kept.deliveries += deliveries
        elif len(self._unrecorded) < UNRECORDED_MAX:
            self._unrecorded[key] = _Unrecorded(change=change, deliveries=deliveries)
        if self._outbox is not None:
            for delivery in deliveries:
                self._outbox.hand(delivery)

    async def _record_late(self) -> None:
        """Record what the store did not take before; what channels took meanwhile stays taken."""
        for key, kept in list(self._unrecorded.items()):
            now_ms = self._steady.ms()
            taken = self._outbox.direct_taken() if self._outbox is not None else frozenset[Tag]()
            deliveries = [
                replace(each, delivered_ms=now_ms) if tag_of(each) in taken else each
                for each in kept.deliveries
            ]
            try:
                await self._record(kept.change, deliveries)
            except StoreError as error:
                if not await self._is_recorded_by_another(kept.change.alert):
                    log.debug("alert_not_recorded", error=str(error))
                    return
            del self._unrecorded[key]
            if self._outbox is not None:
                self._outbox.withdraw(kept.deliveries)

    async def _do_seldom(self, now_ms: int) -> None:
        """Once a minute see whether a digest is due, and forget what is old."""
        if now_ms - self._seldom_ms < SELDOM_MS:
            return
        self._seldom_ms = now_ms
        try:
            await self._store.run(self._store.store.prune_alerts, now_ms - KEPT_MS)
            await self._claims.forget(now_ms)
            await self._send_digest()
        except StoreError as error:
            log.debug("digest_not_sent", error=str(error))

    async def _send_digest(self) -> None:
        hour, channels = self._rules.digest_hour, heard_by(self._rules.routes, Severity.INFO)
        if hour is None or not channels or self._outbox is None:
            return
        statuses = [status_of() for status_of, _ in self._keepers]
        await self._store.run(
            _put_digest, self._store.store, statuses, channels, hour, self._clock.unix_ms()
        )


def _firing(store: Store, alert_id: int) -> Alert | None:
    """Return an alert unless it is over."""
    found = store.alerts(before_id=alert_id + 1, limit=1)
    return next((a for a in found if a.id == alert_id and a.state is AlertState.FIRING), None)


def _heard(store: Store, alert_id: int) -> set[str] | None:
    """Return the channels for which there is a message about the alert; None: it is too long ago."""
    outbox = store.deliveries(limit=LOOKED_BACK_MAX)
    told = {each.channel for each in outbox if each.alert_id == alert_id and not each.resolves}
    return told if told or len(outbox) < LOOKED_BACK_MAX else None


def _put_digest(
    store: Store, statuses: Sequence[Status], channels: Sequence[str], hour: int, now_ms: int
) -> None:
    """Put the digest into the outbox unless it was; the first one is that of the next hour."""
    day, totals = due_day(now_ms, hour), store.totals()
    found = store.state(DIGEST)
    last = None if found is None else json.loads(found[0])
    if last is not None and last["day"] >= day:
        return
    if last is not None:
        digest = Digest(
            statuses=statuses,
            totals=totals,
            before=Totals(**last["totals"]),
            firing=store.firing(),
        )
        for delivery in digest_deliveries(digest, channels, now_ms):
            store.put_delivery(delivery)
    store.put_state(DIGEST, json.dumps({"day": day, "totals": asdict(totals)}), now_ms)
