"""Mutants of the store: what is committed together, under whose lease, and what a failure means."""

from dataclasses import replace

from liqctl.errors import StoreError
from liqctl.keeper.executor import Executor
from liqctl.keeper.storage import StoreThread
from liqctl.sim.mutants.expiry import SLOWLY
from liqctl.sim.mutants.layers import ONE_LIVE, Part, all_of, closes_little, schema, sql
from liqctl.sim.mutants.registry import Mutant, Patches
from liqctl.sim.mutants.worlds import world
from liqctl.sim.swarm import ClusterFaults, OwnFaults
from liqctl.store.sqlite import SqliteStore

_LEASE = """AND (
        owner IS NULL OR owner = :owner OR lease_until <= :now_ms
        -- None is granted for longer: the clock that wrote it has been set back since.
        OR lease_until > :lease_until
    )"""
_FENCE = "AND i.owner = :claim.owner AND i.fence = :claim.fence AND i.lease_until > :now_ms"
_HAS_LIVE = """AND a.state IN ('SIGNED', 'SENT', 'SEEN')
) AS has_live"""
_ANOTHER_LIVE = """AND another.id <> i.id
            AND a.state IN ('SIGNED', 'SENT', 'SEEN')"""
NO_LEASE = sql(
    (_LEASE, ""),
    (_FENCE, ""),
    (_HAS_LIVE, "AND FALSE) AS has_live"),
    (_ANOTHER_LIVE, "AND FALSE"),
)


def _name(call: Part) -> str:
    return str(getattr(call, "__name__", ""))


def _two_commits(patches: Patches) -> None:
    def record(self: Part, claim: Part, attempt: Part, now_ms: int, **_: Part) -> bool:
        with self._writing() as db:
            if attempt is None:
                self._sql.open_intent(db, intent_id=claim.intent_id, now_ms=now_ms)
                return True
            return bool(self._sql.insert_attempt(db, claim=claim, attempt=attempt, now_ms=now_ms))

    async def run(self: Part, call: Part, *parts: Part, **more: Part) -> Part:
        answer = await before(self, call, *parts, **more)
        if _name(call) == "record_attempt" and answer:
            await before(self, call, parts[0], None, parts[2])
        return answer

    before = patches.set(StoreThread, "run", run)
    patches.set(SqliteStore, "record_attempt", record)


def _failed_is_unwritten(patches: Patches) -> None:
    async def record(self: Part, work: Part, effect: Part) -> Part:
        try:
            return await before(self, work, effect)
        except StoreError:
            work.draft = await self._draft(work.decision, work.view, None)
            return await before(self, work, replace(effect, n=effect.n + 1))

    before = patches.set(Executor, "_record", record)


def _error_swallowed(patches: Patches) -> None:
    async def run(self: Part, call: Part, *parts: Part, **more: Part) -> Part:
        try:
            return await before(self, call, *parts, **more)
        except StoreError:
            if _name(call) != "record_attempt":
                raise
            return True

    before = patches.set(StoreThread, "run", run)


def _liquidation_apart(patches: Patches) -> None:
    async def run(self: Part, call: Part, *parts: Part, **more: Part) -> Part:
        if _name(call) == "end_attempt" and more["liquidation"] is not None:
            await before(self, call, *parts, **{**more, "liquidation": None})
        return await before(self, call, *parts, **more)

    before = patches.set(StoreThread, "run", run)


SHARED = OwnFaults(freeze=1.0, clock=2.0, kill=0.002)
CROWD = world(cluster=ClusterFaults(late=0.5), market=SLOWLY, own=SHARED, keepers=3)
STORE: tuple[Mutant, ...] = (
    Mutant(
        name="M06",
        text="the unique index is gone with its trigger; without leases",
        caught_by=("DOUBLE",),
        patch=schema(*ONE_LIVE),
        unmask=all_of(closes_little, NO_LEASE),
        swarm=CROWD,
    ),
    Mutant(
        name="M32",
        text="attempt and intent are written in two commits; without the trigger of the edges",
        caught_by=("EDGE",),
        patch=_two_commits,
        unmask=schema("DROP TRIGGER intent_edges"),
        swarm=world(own=OwnFaults(kill=0.005, store=0.1)),
    ),
    Mutant(
        name="M33",
        text="an attempt is recorded whoever holds the lease",
        caught_by=("FENCE",),
        patch=sql((_FENCE, "")),
        swarm=CROWD,
    ),
    Mutant(
        name="M34",
        text="a lease holds however far ahead it ends, after the clock was set back too",
        caught_by=("NOT_LIVE", "LOST_RECORD"),
        patch=sql(("OR lease_until > :lease_until", "")),
        swarm=world(own=OwnFaults(kill=0.005, clock=4.0)),
    ),
    Mutant(
        name="M35",
        text="a commit that failed was not written, so it is signed anew; without index and trigger",
        caught_by=("DOUBLE", "LOST_RECORD"),
        patch=_failed_is_unwritten,
        unmask=all_of(closes_little, schema(*ONE_LIVE)),
        swarm=world(market=SLOWLY, own=OwnFaults(commit_unknown=0.1)),
    ),
    Mutant(
        name="M36",
        text="what cannot be recorded, as on a full disk, is sent all the same",
        caught_by=("ORPHAN_SIG",),
        patch=_error_swallowed,
        swarm=world(own=OwnFaults(store=0.1, store_outage=2.0)),
    ),
    Mutant(
        name="M37",
        text="the liquidation is written after the commit that ends its attempt",
        caught_by=("LOST_RECORD",),
        patch=_liquidation_apart,
        swarm=world(own=OwnFaults(kill=0.005)),
    ),
)
SAFE = ("DOUBLE", "DOUBLE_LIVE", "ORPHAN_SIG", "LOST_RECORD", "PHANTOM", "LOST_COMMIT", "EDGE")
HARMLESS: tuple[Mutant, ...] = (
    Mutant(
        name="M09",
        text="no leases, but the index: more is refused, and nothing else comes of it",
        caught_by=SAFE,
        patch=NO_LEASE,
        unmask=closes_little,
        swarm=CROWD,
    ),
)
"""Variants that none of their codes may be reported against."""
