"""What happens to the keepers: death at any point, signals, a stopped host, clocks, disks."""

import asyncio
import math
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

from liqctl.core.record import Exclusion
from liqctl.sim.checks_decision import STATUS
from liqctl.sim.evidence import Excluded, Switched
from liqctl.sim.faults import STORE_KINDS
from liqctl.sim.life import Life
from liqctl.sim.network import Link
from liqctl.sim.swarm import Dice, rng_for
from liqctl.store.switch import write_switch

if TYPE_CHECKING:
    from liqctl.sim.evidence import Books
    from liqctl.sim.life import Seat
    from liqctl.sim.stage import Stage

# Around these calls lie the edges that matter; a kill comes so much more often there.
COMMITS = frozenset({"record_attempt", "end_attempt"})
NEAR_COMMITS = frozenset({"claim", "mark_sent", "mark_seen", "mark_unseen", "adopt", "release"})
COMMIT_WEIGHT, NEAR_WEIGHT = 30.0, 8.0
KILL_MAX = 0.6
OFFSETS_MS = (-3_600_000, 3_600_000, -30_000, 30_000, -700, 700, 0)
AWAITS_MAX = 400
FREEZE_S = 40.0
# The signal is often not possible, and becomes a row then.
SWITCHES = ("row", "file", "signal", "signal")


class Trouble:
    """Makes trouble for the keepers until the faults end."""

    def __init__(self, stage: "Stage", until_s: float) -> None:
        """Make none yet."""
        self._stage = stage
        self._until_s = until_s
        self._own = stage.swarm.own
        self._dice = rng_for(stage.swarm.seed, "trouble")
        self.lives: dict[str, Life] = {}
        self.kills = 0
        self.kills_in_flight = 0
        self.switches: list[Switched] = []
        self.exclusions: list[Excluded] = []
        self._excluded: dict[tuple[str, str], Callable[[], None]] = {}
        self.resumed: dict[str, list[float]] = {}
        self._switched_on: dict[str, float] = {}
        self._signalled: dict[str, Life] = {}

    @property
    def over(self) -> bool:
        """Whether the faults have ended."""
        return self._stage.now_s() >= self._until_s

    def born(self, life: Life) -> None:
        """Take a new life into view."""
        self.lives[life.seat.name] = life
        self._stage.log.born(life.seat.name)
        life.process.crash_at = self._crash_point(life)
        life.process.at_death.append(lambda: self._died(life))

    def gone(self, life: Life) -> None:
        """Lose a life that is over from view; nothing can happen to it any more."""
        del self.lives[life.seat.name]
        life.process.at_death.clear()
        # It has forgotten the signal: what holds until then is its own life.
        if self._signalled.pop(life.seat.name, None) is not None:
            self._lift(life.seat)

    def at_send(self, caller: str, when: str) -> None:
        """Perhaps kill a keeper just before or after a node takes its transaction."""
        life = self.lives.get(caller)
        if life is not None and not self.over and self._dice.chance(self._own.kill_at_send / 2):
            self.kill(life, f"kill_{when}_send")

    def kill(self, life: Life, kind: str) -> None:
        """Kill a keeper as `kill -9` does."""
        if not life.process.dead:
            life.cause = kind
            life.process.kill()

    def _died(self, life: Life) -> None:
        self.kills += 1
        self.kills_in_flight += bool(life.seat.journal.live)
        self._stage.tally.fault(life.cause)

    def _crash_point(self, life: Life) -> Callable[[str, str], bool]:
        dice = rng_for(self._stage.swarm.seed, f"crash {life.owner}")

        def dies(point: str, name: str) -> bool:
            if self.over or life.process.dead:
                return False
            rate = self._own.kill
            if name in COMMITS:
                rate *= COMMIT_WEIGHT
            elif name in NEAR_COMMITS:
                rate *= NEAR_WEIGHT
            if not dice.chance(min(rate / 2, KILL_MAX)):
                return False
            where = point if name not in COMMITS else point.replace("store", "commit")
            life.cause = f"kill_{where}"
            return True

        return dies

    def start(self) -> list[asyncio.Task[None]]:
        """Return the tasks that make the trouble of all kinds."""
        own, stage = self._own, self._stage
        tasks = []
        for seat in stage.seats:
            for name, rate, act in (
                ("await", own.kill_at_await, self._kill_at_await),
                ("terminate", own.terminate, self._terminate),
                ("freeze", own.freeze, self._freeze),
                ("clock", own.clock, self._clock),
                ("link", own.link, self._link),
            ):
                tasks += self._repeated(f"{name} {seat.name}", rate, act, seat)
        for books in stage.books:
            seat = next(one for one in stage.seats if one.journal is books.journal)
            tasks += self._repeated(f"switch {seat.name}", own.switch, self._switch, seat)
            tasks += self._repeated(f"exclude {seat.name}", own.exclude, self._exclude, seat)
            tasks += self._repeated(f"disk {seat.name}", own.store_outage, self._disk, seat)
        return tasks

    def _repeated(
        self,
        name: str,
        per_minute: float,
        act: "Callable[[Seat, Dice], object]",
        seat: "Seat",
    ) -> list[asyncio.Task[None]]:
        if per_minute <= 0:
            return []
        dice = rng_for(self._stage.swarm.seed, name)

        async def repeat() -> None:
            while True:
                await asyncio.sleep(-math.log(1.0 - dice.random()) * 60.0 / per_minute)
                if self.over:
                    return
                act(seat, dice)

        return [asyncio.create_task(repeat(), name=name)]

    def _last(self, kind: str, seconds: float) -> None:
        """Count a fault that goes on for so long."""
        tally = self._stage.tally
        tally.begin(kind)
        asyncio.get_running_loop().call_later(seconds, tally.end, kind)

    def _kill_at_await(self, seat: "Seat", dice: Dice) -> None:
        life = self.lives.get(seat.name)
        if life is not None and not life.process.dead:
            life.cause = "kill_at_await"
            life.process.kill_after_steps(dice.whole(1, AWAITS_MAX))

    def _terminate(self, seat: "Seat", _dice: Dice) -> None:
        life = self.lives.get(seat.name)
        if life is not None and not life.process.dead:
            life.cause = "kill_by_sigterm"
            self._stage.tally.fault("sigterm")
            life.terminate()

    def _freeze(self, seat: "Seat", _dice: Dice) -> None:
        life = self.lives.get(seat.name)
        if life is None or life.process.dead or life.process.paused:
            return
        now_s = self._stage.now_s()
        seconds = min(FREEZE_S, self._until_s - now_s)
        self._last("sigstop", seconds)
        life.frozen_s += seconds
        self.resumed.setdefault(seat.name, []).append(now_s + seconds)
        life.process.pause(seconds)

    def _clock(self, seat: "Seat", dice: Dice) -> None:
        self._stage.tally.fault("clock_step")
        seat.clock.offset_ms = dice.pick(OFFSETS_MS)

    def _link(self, seat: "Seat", dice: Dice) -> None:
        """Cut or silence the way to one host for a while."""
        host = dice.pick(seat.urls).rpartition(":")[0].rpartition("/")[2]
        link = self._stage.network.link(seat.name, host)
        kind, seconds = dice.pick(("mute", "refuse")), dice.between(1.0, 60.0)
        self._last(f"link_{kind}", seconds)
        setattr(link, kind, True)
        asyncio.get_running_loop().call_later(seconds, _mended, link, kind)

    def _disk(self, seat: "Seat", dice: Dice) -> None:
        """Let the database of a seat fail for a while, for everybody who writes to it."""
        kind, seconds = dice.pick(STORE_KINDS), dice.between(1.0, 25.0)
        self._last(f"outage_{kind}", seconds)
        sharing = [one for one in self._stage.seats if one.journal is seat.journal]
        for one in sharing:
            one.faults.outage = kind

        def mend() -> None:
            for one in sharing:
                one.faults.outage = None

        asyncio.get_running_loop().call_later(seconds, mend)

    def _switch(self, seat: "Seat", dice: Dice) -> None:
        """Set the kill switch of a database in one of its forms, and lift it after a while."""
        path = str(seat.database)
        if path in self._switched_on:
            return
        form = dice.pick(SWITCHES)
        life = self.lives.get(seat.name)
        alone = sum(one.journal is seat.journal for one in self._stage.seats) == 1
        ready = (
            life is not None
            and not life.process.dead
            and not life.process.paused
            and signal.SIGUSR1 in life.process.signals
        )
        if form == "signal" and not (alone and ready):
            form = "row"
        seconds = dice.between(5.0, 30.0)
        self._last(f"kill_switch_{form}", seconds)
        if form == "signal" and life is not None:
            self._signalled[seat.name] = life
            life.process.signal(signal.SIGUSR1)
        elif form == "file":
            seat.stop_file.touch()
        else:
            self._write_switch(seat, stop=True)
        self._switched_on[path] = self._stage.now_s()
        asyncio.get_running_loop().call_later(seconds, self._lift, seat)

    def _exclude(self, seat: "Seat", dice: Dice) -> None:
        """Set a position aside for a while, as an operator does."""
        stage = self._stage
        position = dice.pick(stage.cluster.genesis.positions).position.address
        place = (str(seat.database), position)
        if place in self._excluded:
            return
        store = stage.operators[seat.database]
        now_ms = seat.clock.unix_ms()
        store.exclude(Exclusion(position=position, reason="operator", since_ms=now_ms))
        on_s, lasts_s = stage.now_s(), dice.between(5.0, 60.0)
        self._last("excluded", lasts_s)

        def include() -> None:
            if self._excluded.pop(place, None) is None:
                return
            store.include(position)
            self.exclusions.append(
                Excluded(
                    path=str(seat.database),
                    position=position,
                    on_at_s=on_s,
                    off_at_s=stage.now_s(),
                )
            )

        self._excluded[place] = include
        asyncio.get_running_loop().call_later(lasts_s, include)

    def _lift(self, seat: "Seat") -> None:
        path = str(seat.database)
        on_s = self._switched_on.pop(path, None)
        if on_s is None:
            return
        self._signalled.pop(seat.name, None)
        self.switches.append(Switched(path=path, on_at_s=on_s, off_at_s=self._stage.now_s()))
        seat.stop_file.unlink(missing_ok=True)
        self._write_switch(seat, stop=False)

    def _write_switch(self, seat: "Seat", *, stop: bool) -> None:
        operator = self._stage.operators[seat.database]
        write_switch(operator, seat.clock.unix_ms(), stop=stop)

    def heal(self) -> None:
        """End everything that lasts, as an operator who repairs it does."""
        stage = self._stage
        for seat in stage.seats:
            seat.faults.calm()
            seat.clock.offset_ms = 0
            for number in range(stage.swarm.endpoints):
                link = stage.network.link(seat.name, f"127.0.0.{11 + number}")
                link.mute = link.refuse = False
                link.reset_rate = 0.0
        for include in tuple(self._excluded.values()):
            include()
        for books in stage.books:
            seat = self._seat_of(books)
            self._lift(seat)
            self._write_switch(seat, stop=False)

    def resume_again(self) -> None:
        """Resume once more where the status says that a signal still holds, as an operator does.

        A keeper that could not read its database when the signal came does not know whether the
        first resume was written before or after it.
        """
        for books in self._stage.books:
            books.read()
            status, _ = books.states.get(STATUS, ({"held": None}, 0))
            if status["held"] == "kill_switch_signal":
                self._write_switch(self._seat_of(books), stop=False)

    def _seat_of(self, books: "Books") -> "Seat":
        return next(one for one in self._stage.seats if one.journal is books.journal)


def _mended(link: Link, kind: str) -> None:
    setattr(link, kind, False)
