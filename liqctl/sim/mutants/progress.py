"""Mutants of progress: work that is lost, repeated without end or never looked for again."""

from dataclasses import replace

from liqctl.chain import member, stream
from liqctl.chain.notice import StreamUp
from liqctl.core import breaker, cluster_time, engine, queue
from liqctl.core.account import Gone, Seen
from liqctl.core.events import Coverage, SnapshotSeen
from liqctl.core.queue import NEVER_MS
from liqctl.core.record import QueueState
from liqctl.keeper import feeds, service, settle
from liqctl.sim.mutants.registry import Mutant, Part, Patches
from liqctl.sim.mutants.worlds import world
from liqctl.sim.swarm import ClusterFaults, MarketFaults, NodeFaults, OwnFaults

FOREVER_S = 1e6
BUSY_MS = 5


def _short_list_deletes(patches: Patches) -> None:
    def apply(self: Part, event: SnapshotSeen) -> Part:
        wanted = applied(self, event)
        notices: list[Part] = []
        for notice in wanted:
            for address in notice.addresses:
                notices += self._lose(Seen(address=address, slot=event.slot, value=Gone()))
                del self.view[address]
        return notices

    applied = patches.set(engine.Engine, "_apply_snapshot", apply)


def _leaves_too_soon(patches: Patches) -> None:
    async def work(self: Part, decision: Part) -> None:
        entry = self.engine.queue.get(decision.position.address)
        if entry is not None:
            waiting = replace(entry, state=QueueState.WAITING, next_try_ms=0)
            self.engine.queue._store(waiting)  # noqa: SLF001 - as if it had never been taken
        self._working.discard(decision.position.address)
        await worked(self, decision)

    worked = patches.set(service.Keeper, "_work", work)
    patches.set(settle.Settler, "positions", lambda _self: set())


def _no_pause_when_busy(patches: Patches) -> None:
    def postpone(self: Part, position: str, reason: str, now_ms: int, **named: Part) -> None:
        before(self, position, reason, now_ms, **named)
        entry = self._entries.get(position)
        if entry is not None and reason == "held_by_another":
            self._store(replace(entry, next_try_ms=now_ms + BUSY_MS, tries=0))

    before = patches.set(queue.Queue, "postpone", postpone)


def _no_watchdog(patches: Patches) -> None:
    def limits(*_: object, **named: object) -> Part:
        return before(**{"silence_s": FOREVER_S, **named})

    before = patches.set(stream, "StreamLimits", limits)


def _no_allowance(patches: Patches) -> None:
    def postpone(self: Part, position: str, reason: str, now_ms: int, **_: object) -> None:
        entry = self._entries.get(position)
        if entry is not None:
            # Not in the same millisecond, in which the loop would go round for ever.
            due_ms = now_ms + 1
            self._store(replace(entry, state=QueueState.WAITING, reason=reason, next_try_ms=due_ms))

    patches.set(queue.Queue, "postpone", postpone)


def _no_rescue(patches: Patches) -> None:
    async def rescue(_self: Part) -> None:
        return

    patches.set(settle.Settler, "_rescue", rescue)


def _retry_after_ignored(patches: Patches) -> None:
    patches.set(member.Member, "_pause", lambda *_: None)


def _quarantine_for_ever(patches: Patches) -> None:
    def postpone(self: Part, position: str, reason: str, now_ms: int, **named: Part) -> None:
        before(self, position, reason, now_ms, **named)
        entry = self._entries.get(position)
        if entry is not None and entry.state is QueueState.QUARANTINED:
            self._store(replace(entry, next_try_ms=NEVER_MS))

    before = patches.set(queue.Queue, "postpone", postpone)


def _unknown_left_out(patches: Patches) -> None:
    def coverage(self: Part) -> Coverage:
        found = before(self)
        return Coverage(positions=found.evaluated, evaluated=found.evaluated, unknown={})

    before = patches.set(engine.Engine, "coverage", coverage)


def _reconnects_blindly(patches: Patches) -> None:
    def put(self: Part, item: Part, *, timed: bool) -> None:
        if not isinstance(item, StreamUp):
            before(self, item, timed=timed)

    before = patches.set(feeds.Feeds, "_put", put)


def _never_reconciles(patches: Patches) -> None:
    def built(self: Part, *parts: Part, intervals: Part, **named: Part) -> None:
        before(self, *parts, intervals=replace(intervals, reconcile_ms=10**9), **named)

    before = patches.set(feeds.Feeds, "__init__", built)


def _breaker_stays_open(patches: Patches) -> None:
    def holds(self: Part, _now_ms: int) -> str | None:
        return self.reason if self.open_until_ms else None

    patches.set(breaker.Breaker, "holds", holds)


def _any_slot(patches: Patches) -> None:
    patches.set(cluster_time.ClusterTime, "reaches", lambda *_: True)


PROGRESS: tuple[Mutant, ...] = (
    Mutant(
        name="M48",
        text="a position that a list of accounts leaves out is forgotten",
        caught_by=("COVERAGE", "NOT_LIVE"),
        patch=_short_list_deletes,
        swarm=world(node=NodeFaults(lie=0.5, lies_about=("getProgramAccounts",))),
    ),
    Mutant(
        name="M49",
        text="a candidate may be taken again before its execution has ended; no pause when busy",
        caught_by=("RATE", "DOUBLE_LIVE"),
        patch=_leaves_too_soon,
        unmask=_no_pause_when_busy,
        swarm=world(cluster=ClusterFaults(dropped=0.9), positions=12, chaos_s=40.0),
    ),
    Mutant(
        name="M50",
        text="nobody notices that a stream has gone silent",
        caught_by=("STALL",),
        patch=_no_watchdog,
        swarm=world(own=OwnFaults(link=4.0)),
        fast=True,
    ),
    Mutant(
        name="M51",
        text="a position that fails is tried again at once, for ever",
        caught_by=("NOT_LIVE", "RATE"),
        patch=_no_allowance,
        swarm=world(market=MarketFaults(accounts=("handed_over",)), in_flight_max=1),
    ),
    Mutant(
        name="M52",
        text="attempts whose lease ended are not taken up",
        caught_by=("NOT_LIVE",),
        patch=_no_rescue,
        swarm=world(own=OwnFaults(kill_at_send=0.3)),
        fast=True,
    ),
    Mutant(
        name="M54",
        text="Retry-After is ignored",
        caught_by=("RATE",),
        patch=_retry_after_ignored,
        swarm=world(node=NodeFaults(refused_429=0.1)),
        fast=True,
    ),
    Mutant(
        name="X48",
        text="a reconnection reads nothing again; no periodic reconciliation",
        caught_by=("COVERAGE", "NOT_LIVE"),
        patch=_reconnects_blindly,
        unmask=_never_reconciles,
        swarm=world(own=OwnFaults(link=4.0)),
    ),
    Mutant(
        name="X46",
        text="positions that cannot be judged are left out of the coverage",
        caught_by=("COVERAGE",),
        patch=_unknown_left_out,
        swarm=world(market=MarketFaults(accounts=("truncated",))),
    ),
    Mutant(
        name="X51",
        text="a quarantine never ends",
        caught_by=("NOT_LIVE",),
        patch=_quarantine_for_ever,
        swarm=world(cluster=ClusterFaults(dropped=0.95), chaos_s=170.0),
    ),
    Mutant(
        name="X70",
        text="the breaker never closes again",
        caught_by=("NOT_LIVE",),
        patch=_breaker_stays_open,
        swarm=world(market=MarketFaults(pauses=0.05)),
    ),
    Mutant(
        name="X71",
        text="a slot that the cluster cannot have come to is believed",
        caught_by=("COVERAGE", "NOT_LIVE"),
        patch=_any_slot,
        swarm=world(node=NodeFaults(push=0.5)),
    ),
)
