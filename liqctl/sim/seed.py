"""One seed from its first step to the verdict: chaos, healing, a while of peace, the checks."""

import asyncio
import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from liqctl.sim.checkers import Violation, judge
from liqctl.sim.checks_decision import uncovered
from liqctl.sim.checks_progress import BROKEN, ENDED, KILLED, standing
from liqctl.sim.evidence import Decided, Ending, Evidence
from liqctl.sim.journal import Move
from liqctl.sim.life import Life, Seat, bug_in
from liqctl.sim.lookout import Lookout
from liqctl.sim.loop import Deadlock, Livelock
from liqctl.sim.report import SeedReport
from liqctl.sim.shortcuts import shortcuts
from liqctl.sim.stage import Stage, serve, set_up
from liqctl.sim.swarm import SLOT_MS, Dice, Swarm, rng_for
from liqctl.sim.trouble import Trouble

if TYPE_CHECKING:
    from liqctl.sim.mutants.registry import Variant

RESTART_S = (0.1, 15.0)
CALM_RESTART_S = (0.1, 2.0)
START_S = 2.0
LAST_S = 16.0
# Longer than from one reconciliation to the next, and time to see whether a resume was heard.
PEACE_S = 8.0
LOOK_S = 1.0
DECISION_AGE_S_MAX = 45.0


def run_seed(
    seed: int,
    *,
    mutant: str | None = None,
    trace: Callable[[str], None] | None = None,
    faults_until_s: float | None = None,
) -> SeedReport:
    """Return what became of a seed; `trace` is told every step, `mutant` names a faulty variant.

    The faults end at `faults_until_s` where that is sooner than the seed wants.
    """
    swarm = Swarm.of(seed)
    if faults_until_s is not None:
        swarm = replace(swarm, chaos_s=min(swarm.chaos_s, faults_until_s))
    return run_swarm(swarm, mutant=mutant, trace=trace)


def run_swarm(
    swarm: Swarm,
    *,
    mutant: str | None = None,
    trace: Callable[[str], None] | None = None,
) -> SeedReport:
    """Return what became of a configuration, drawn from a seed or made by hand."""
    chosen = None if mutant is None else _variant(mutant)
    faulty = nullcontext() if chosen is None else chosen()
    with shortcuts(snapshots=swarm.snapshots_hot), faulty, _logs(trace):
        report = _played(swarm if chosen is None else chosen.swarm(swarm), trace)
    # What it left has survived one collection at most, and nothing refers to it any more.
    gc.collect(1)
    return report


def _played(swarm: Swarm, trace: Callable[[str], None] | None) -> SeedReport:
    with set_up(swarm) as stage:
        return Play(stage, trace).run()


def _variant(name: str) -> "Variant":
    from liqctl.sim.mutants import variant  # noqa: PLC0415 - it runs seeds

    return variant(name)


class Play:
    """The course of one seed."""

    def __init__(self, stage: Stage, trace: Callable[[str], None] | None) -> None:
        """Set everything in place."""
        self.stage = stage
        self.swarm = stage.swarm
        self.trouble = Trouble(stage, self.swarm.chaos_s)
        self.lookout = Lookout(stage, self.trouble.lives)
        self.endings: list[Ending] = []
        self.decided: list[Decided] = []
        self.violations: list[Violation] = []
        self._over = False
        self._evidence: Evidence | None = None
        for books in stage.books:
            books.journal.listeners.append(self._moved)
        if trace is not None:
            stage.loop.trace.listener = lambda now_s, text: trace(f"{now_s:.6f} {text}")

    def run(self) -> SeedReport:
        """Play the seed and return its report."""
        stage = self.stage
        try:
            stage.loop.run_until_complete(self._play())
        except Deadlock as error:
            self._violation("STALL", str(error))
        except Livelock as error:
            self._violation("BOUND", str(error))
        for context in stage.loop.unhandled:
            self._violation(
                "BROKEN", f"unhandled: {context.get('exception') or context['message']}"
            )
        if self._evidence is not None:
            for books in stage.books:
                states = books.states
                books.read()
                books.states = states
            self.violations += judge(self._evidence)
        return self._report()

    async def _play(self) -> None:
        stage, swarm = self.stage, self.swarm
        serve(stage, self.trouble.at_send)
        slots = asyncio.create_task(self._slots(), name="slots")
        keeping = [
            asyncio.create_task(self._keep(seat), name=f"keep {seat.name}") for seat in stage.seats
        ]
        troubles = self.trouble.start()
        troubles.append(asyncio.create_task(self.lookout.look_on(), name="lookout"))
        await asyncio.sleep(swarm.chaos_s)
        self._heal()
        await self._peace()
        self._evidence = self._gather()
        self._over = True
        for life in self.trouble.lives.values():
            if not life.process.dead:
                life.terminate()
        await asyncio.wait(keeping, timeout=LAST_S)
        self._finish(self._evidence)
        for task in (slots, *keeping, *troubles):
            task.cancel()
        await asyncio.wait((slots, *keeping, *troubles))

    async def _peace(self) -> None:
        """Wait until everything is settled, or until all of it must have been."""
        await asyncio.sleep(PEACE_S)
        self.trouble.resume_again()
        looks = int((self.swarm.end_s - self.stage.now_s()) / LOOK_S) + 1
        for _ in range(looks):
            if self._settled() and self._looking():
                return
            await asyncio.sleep(LOOK_S)

    def _settled(self) -> bool:
        """Return whether nothing is in the air and nothing is left to do."""
        in_flight = any(books.journal.live for books in self.stage.books)
        return not in_flight and self.stage.bench.is_done()

    def _looking(self) -> bool:
        """Return whether every database shows that all positions were checked a short while ago."""
        now_ms, positions = self.stage.clock.unix_ms(), self.stage.bench.positions()
        for books in self.stage.books:
            books.read()
            if standing(books, now_ms, self.swarm.check_interval_ms) is not None:
                return False
            if uncovered(books, positions) is not None:
                return False
        return True

    async def _slots(self) -> None:
        """Let the cluster make its slots."""
        cluster, clock = self.stage.cluster, self.stage.clock
        while True:
            await asyncio.sleep(SLOT_MS / 1_000)
            cluster.step(clock.unix_ms())
            self.stage.bench.slot_ended(self.stage.now_s())

    async def _keep(self, seat: Seat) -> None:
        """Start a keeper again and again, as a service manager does."""
        dice = rng_for(self.swarm.seed, f"restarts {seat.name}")
        number = 0
        await asyncio.sleep(dice.between(0.0, START_S))
        while not self._over:
            number += 1
            life = Life(seat, number)
            ended = asyncio.Event()
            life.process.at_death.append(ended.set)
            self.trouble.born(life)
            task = life.start()
            task.add_done_callback(lambda _task, ended=ended: ended.set())  # type: ignore[misc]
            await ended.wait()
            self.endings.append(self._ending(life, task))
            self.trouble.gone(life)
            await asyncio.sleep(self._restart_s(dice))

    def _restart_s(self, dice: Dice) -> float:
        """Return how long a keeper stays down; soon after the faults every one is up again."""
        pause_s = dice.between(*CALM_RESTART_S)
        left_s = self.swarm.chaos_s - self.stage.now_s()
        return pause_s if left_s <= 0 else min(dice.between(*RESTART_S), left_s + pause_s)

    def _ending(self, life: Life, task: asyncio.Task[None]) -> Ending:
        how, error = ENDED, ""
        if life.process.dead:
            how = KILLED
        elif task.cancelled():
            how, error = BROKEN, "cancelled"
        else:
            raised = task.exception()
            bug = None if raised is None else bug_in(raised)
            if bug is not None:
                how, error = BROKEN, bug
            elif raised is not None:
                error = str(raised)
        self.stage.loop.note(f"{life.owner} {how} {error}")
        return Ending(
            keeper=life.owner,
            at_s=self.stage.now_s(),
            how=how,
            asked_at_s=life.asked_at_s,
            frozen_s=life.frozen_s,
            error=error,
        )

    def _heal(self) -> None:
        stage = self.stage
        stage.loop.note("healed")
        self.trouble.heal()
        stage.cluster.config.calm()
        stage.market.calm()
        stage.market.hold()
        for number, node in enumerate(stage.nodes):
            node.calm()
            # An operator heals many things, but a node without history is what it is.
            node.config.no_history = self.swarm.node.no_history and number == 0

    def _moved(self, move: Move) -> None:
        """Ask the cluster about an attempt at the moment of its commit."""
        self.stage.loop.note(f"{move.table} {move.before}->{move.after}")
        if move.table == "attempt" and not move.before:
            tried_slots = self.stage.log.passed.get(move.raw[65:], ())
            self.decided.append(self.stage.bench.decided(move, tried_slots))

    def _gather(self) -> Evidence:
        """Collect what the checkers judge by, while the keepers still run."""
        stage, swarm, trouble = self.stage, self.swarm, self.trouble
        now_s, settled = stage.now_s(), self._settled()
        for books in stage.books:
            books.read()
        return Evidence(
            seed=swarm.seed,
            heal_s=swarm.chaos_s,
            end_s=now_s,
            live_within_s=swarm.live_within_s,
            terminal_within_s=0.0 if settled else swarm.terminal_within_s,
            books=stage.books,
            final={},
            seen={},
            switches=trouble.switches,
            resumed=trouble.resumed,
            endings=self.endings,
            decided=self.decided,
            decision_age_s_max=DECISION_AGE_S_MAX + swarm.behind_s,
            duties=stage.bench.duties(now_s),
            positions=stage.bench.positions(),
            signed=self.lookout.signed,
            glances=self.lookout.glances,
            exclusions=trouble.exclusions,
            impatient=stage.log.impatient,
            dry=frozenset(seat.name for seat in stage.seats if seat.dry),
            check_interval_ms=swarm.check_interval_ms,
            end_unix_ms=stage.clock.unix_ms(),
        )

    def _finish(self, evidence: Evidence) -> None:
        """Add what is known only when everything has ended."""
        stage = self.stage
        liquidators = {books.liquidator for books in stage.books}
        evidence.final = stage.bench.finals(liquidators)
        evidence.seen = stage.log.seen()
        evidence.sends = stage.log.sent
        evidence.tried = stage.log.tried
        evidence.roots = stage.bench.roots
        evidence.calls_per_s = stage.log.calls_per_s()
        evidence.last_heights = stage.bench.last_heights(
            {
                move.key: move.raw
                for books in stage.books
                for move in books.journal.moves
                if move.raw
            }
        )
        for name, life in self.trouble.lives.items():
            if life.process.running and life.asked_at_s is not None and self._unended(life):
                self._violation("STALL", f"{name} did not end within {LAST_S:.0f} s")

    def _unended(self, life: Life) -> bool:
        return all(ending.keeper != life.owner for ending in self.endings)

    def _violation(self, code: str, text: str) -> None:
        self.violations.append(
            Violation(code=code, seed=self.swarm.seed, at_s=self.stage.now_s(), text=text)
        )

    def _report(self) -> SeedReport:
        stage, trouble = self.stage, self.trouble
        recorded = [row for books in stage.books for row in books.attempts]
        rolled_back = stage.cluster.rolled_back
        return SeedReport(
            seed=self.swarm.seed,
            violations=tuple(self.violations),
            trace_hash=stage.loop.trace_hash(),
            simulated_s=stage.now_s(),
            steps=stage.loop.steps,
            faults=dict(stage.tally.kinds),
            edges=dict(stage.tally.edges),
            kills=trouble.kills,
            kills_in_flight=trouble.kills_in_flight,
            attempts=len(recorded),
            landed=sum(row["state"] == "FINALIZED_OK" for row in recorded),
            own_rolled_back=sum(rolled_back[row["sig"]] for row in recorded),
            expired=sum(row["state"] in {"EXPIRED", "VOID"} for row in recorded),
        )


@contextmanager
def _logs(tell: Callable[[str], None] | None) -> Iterator[None]:
    """Silence the keepers' logs, or tell them; afterwards they go where they went before."""
    before = structlog.get_config()
    level = logging.CRITICAL if tell is None else logging.DEBUG
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(level),
        processors=[structlog.processors.KeyValueRenderer(key_order=["event"])],
        logger_factory=lambda *_: _Teller(tell),
        cache_logger_on_first_use=False,
    )
    try:
        yield
    finally:
        structlog.configure(**before)


class _Teller:
    """A logger that tells every line, whatever its level."""

    def __init__(self, tell: Callable[[str], None] | None) -> None:
        self._tell = tell or (lambda _: None)

    def __getattr__(self, _level: str) -> Callable[[str], None]:
        return lambda line: self._tell(f"    log {line}")
