"""Mutants of the caps, the kill switch and the dry run."""

from dataclasses import replace
from weakref import WeakKeyDictionary

from liqctl.core import sending
from liqctl.core.exclusions import Exclusions
from liqctl.keeper import draft, executor, holds
from liqctl.sim import life
from liqctl.sim.mutants.registry import Mutant, Part, Patches
from liqctl.sim.mutants.worlds import world
from liqctl.sim.planted import KEEPER_LAMPORTS
from liqctl.sim.swarm import ClusterFaults, MarketFaults, OwnFaults
from liqctl.store.sqlite import SqliteStore

MICRO = 1_000_000


def _caps_in_memory(patches: Patches) -> None:
    spent: WeakKeyDictionary[Part, int] = WeakKeyDictionary()

    def total(store: Part, _now_ms: int) -> tuple[int, int]:
        return spent.get(store, 0), spent.get(store, 0)

    async def record(self: Part, work: Part, effect: Part) -> Part:
        told = await recorded(self, work, effect)
        if told.attempt is not None:
            store = self._store.store
            spent[store] = spent.get(store, 0) + told.attempt.max_cost_lamports
        return told

    recorded = patches.set(executor.Executor, "_record", record)
    patches.set(executor, "spent", total)
    _uncounted_at_commit(patches)


def _uncounted_at_commit(patches: Patches) -> None:
    """Let the store record whatever it is given: another layer would catch the mutant."""
    patches.set(SqliteStore, "_demand_room", lambda *_: None)


def _micro_lamports(patches: Patches) -> None:
    patches.set(
        draft,
        "max_cost_lamports",
        lambda signatures, _limit, price: 5_000 * signatures + price // MICRO,
    )


def _switch_read_once(patches: Patches) -> None:
    def note(self: Part, found: Part) -> None:
        if self not in noted:
            before(self, found)
            noted[self] = True

    noted: WeakKeyDictionary[Part, bool] = WeakKeyDictionary()
    before = patches.set(holds.Holds, "note", note)


def _dry_run_sends(patches: Patches) -> None:
    def keeper(self: Part, context: Part) -> Part:
        seat, self.seat = self.seat, replace(self.seat, dry=False)
        try:
            return wired(self, context)
        finally:
            self.seat = seat

    wired = patches.set(life.Life, "_keeper", keeper)


DROPS = ClusterFaults(dropped=0.9)


def _since_start(patches: Patches) -> None:
    started: WeakKeyDictionary[Part, int] = WeakKeyDictionary()

    def total(store: Part, now_ms: int) -> tuple[int, int]:
        since_ms = started.setdefault(store, now_ms)
        return store.spent_lamports(since_ms), store.spent_lamports(since_ms)

    patches.set(executor, "spent", total)
    _uncounted_at_commit(patches)


def _in_flight_is_free(patches: Patches) -> None:
    patches.set(executor, "in_flight_lamports", lambda *_: 0)


def _file_ignored(patches: Patches) -> None:
    def read(*parts: Part) -> Part:
        return before(*parts)._replace(file_is_there=False)

    before = patches.set(holds.Holds, "read", read)


def _row_ignored(patches: Patches) -> None:
    def read(*parts: Part) -> Part:
        return before(*parts)._replace(row=None, written_ms=0)

    before = patches.set(holds.Holds, "read", read)


def _exclusion_ignored(patches: Patches) -> None:
    patches.set(Exclusions, "become", lambda *_: [])


def _wrong_unit(patches: Patches) -> None:
    def worth(reward_e6: int, cost: int, sol_price_e6: int | None, limits: Part) -> Part:
        in_quote = None if sol_price_e6 is None else sol_price_e6 // MICRO
        return before(reward_e6, cost, in_quote, limits)

    before = patches.set(executor, "unprofitable", worth)


def _trial_ignored(patches: Patches) -> None:
    patches.set(sending, "_failed_trial", lambda *_: None)


CRASHES = OwnFaults(kill=0.005, kill_at_await=4.0)
CAPS: tuple[Mutant, ...] = (
    Mutant(
        name="M38",
        text="the caps count what this process has spent, in memory",
        caught_by=("CAP",),
        patch=_caps_in_memory,
        swarm=world(cluster=DROPS, own=CRASHES, hour_lamports=5_000_000),
        fast=True,
    ),
    Mutant(
        name="M39",
        text="the priority fee is counted in micro-lamports for one compute unit",
        caught_by=("CAP",),
        patch=_micro_lamports,
        swarm=world(),
        fast=True,
    ),
    Mutant(
        name="M40",
        text="the kill switch is read at the start alone",
        caught_by=("KILL",),
        patch=_switch_read_once,
        swarm=world(own=OwnFaults(switch=3.0)),
    ),
    Mutant(
        name="M41",
        text="a dry run sends what was simulated with success",
        caught_by=("KILL",),
        patch=_dry_run_sends,
        swarm=world(dry_keeper=True),
    ),
    Mutant(
        name="X07",
        text="the caps count what was signed since the start of the process",
        caught_by=("CAP",),
        patch=_since_start,
        swarm=world(cluster=DROPS, own=CRASHES, hour_lamports=5_000_000),
    ),
    Mutant(
        name="X08",
        text="the balance guard ignores what is in flight",
        caught_by=("CAP",),
        patch=_in_flight_is_free,
        swarm=world(cluster=DROPS, balance_lamports_min=KEEPER_LAMPORTS - 7_000_000),
    ),
    Mutant(
        name="X09",
        text="the stop file is ignored",
        caught_by=("KILL",),
        patch=_file_ignored,
        swarm=world(own=OwnFaults(switch=4.0)),
    ),
    Mutant(
        name="X10",
        text="the kill switch in the store is ignored",
        caught_by=("KILL",),
        patch=_row_ignored,
        swarm=world(own=OwnFaults(switch=4.0)),
    ),
    Mutant(
        name="X11",
        text="an exclusion is ignored",
        caught_by=("KILL",),
        patch=_exclusion_ignored,
        swarm=world(own=OwnFaults(exclude=12.0)),
    ),
    Mutant(
        name="X12",
        text="the profit floor takes a price of SOL in 1e-6 quote for one in quote",
        caught_by=("WIRE",),
        patch=_wrong_unit,
        swarm=world(profit_floor_permille=500_000),
    ),
    Mutant(
        name="X13",
        text="what the trial says is ignored",
        caught_by=("WIRE",),
        patch=_trial_ignored,
        swarm=world(market=MarketFaults(accounts=("handed_over",), rivals=1)),
    ),
)
