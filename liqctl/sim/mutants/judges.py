"""Ways to make the keeper alone judge wrongly; the bench and the checkers go on judging rightly."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial

from liqctl.core.account import Decoded, Seen
from liqctl.core.health import Assessment
from liqctl.core.position import Market, Position
from liqctl.core.price import PriceReading
from liqctl.core.price_guard import PriceGuard
from liqctl.core.sending_events import Tried
from liqctl.keeper import executor
from liqctl.ports import Clock, Venue
from liqctl.sim import life
from liqctl.sim.mutants.registry import Part, Patches
from liqctl.venues.reference import ReferenceVenue

Change = Callable[[PriceReading], PriceReading]


class Lens(Mapping[str, Seen]):
    """A view in which every value is changed when it is looked at."""

    def __init__(self, view: Mapping[str, Seen], change: Callable[[Seen], Seen]) -> None:
        """Look at `view` through `change`."""
        self._view = view
        self._change = change

    def __getitem__(self, address: str) -> Seen:
        """Return what is at an address, changed."""
        return self._change(self._view[address])

    def __iter__(self) -> Iterator[str]:
        """Yield the addresses."""
        return iter(self._view)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._view)


class Judge(ReferenceVenue):
    """The venue of one keeper; the methods that judge are for mutants to change."""

    def __init__(self, venue: Venue, clock: Clock) -> None:
        """Judge in place of `venue`, on a host with this clock."""
        super().__init__(venue.program_id)
        self.clock = clock

    def lens(self, view: Mapping[str, Seen], now_s: int) -> Mapping[str, Seen]:
        """Return what the judge takes for the view."""
        return Lens(view, lambda seen: replace(seen, value=self.taken_for(seen, now_s)))

    def taken_for(self, seen: Seen, now_s: int) -> Decoded:  # noqa: ARG002 - for those who need it
        """Return what the judge takes an account for."""
        return seen.value

    def time(self, now_s: int) -> int:
        """Return what the judge takes for the cluster's time."""
        return now_s

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the verdict on what the judge sees."""
        now_s = self.time(now_s)
        return super().assess(position, self.lens(view, now_s), now_s)

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the price that the judge sees."""
        now_s = self.time(now_s)
        return super().mark_price(market, self.lens(view, now_s), now_s)


class PriceJudge(Judge):
    """A judge who takes every published price for another one."""

    def __init__(self, venue: Venue, clock: Clock, change: Change) -> None:
        """Take a reading for `change(reading)`."""
        super().__init__(venue, clock)
        self._change = change

    def taken_for(self, seen: Seen, now_s: int) -> Decoded:
        """Return the price that this one is taken for, and everything else as it is."""
        if isinstance(seen.value, PriceReading):
            return self._change(seen.value)
        return super().taken_for(seen, now_s)


def prices_taken_for(change: Change) -> Callable[[Patches], None]:
    """Return the patch that gives every keeper a judge who sees prices through `change`."""
    return judged_by(partial(PriceJudge, change=change))


def judged_by(judge: Callable[[Venue, Clock], Judge]) -> Callable[[Patches], None]:
    """Return the patch that gives every keeper such a judge for a venue."""

    def patch(patches: Patches) -> None:
        def context(**parts: Part) -> object:
            return before(**{**parts, "venue": judge(parts["venue"], parts["clock"])})

        before = patches.set(life, "Context", context)

    return patch


def no_trial(patches: Patches) -> None:
    """Take every transaction for one that a node simulated with success."""

    async def simulate(_self: object, work: Part, min_context_slot: int) -> Tried:
        return Tried(slot=max(min_context_slot, work.decision.assessment.slot))

    patches.set(executor.Executor, "_simulate", simulate)


def no_guard(patches: Patches) -> None:
    """Ask neither our own terms for prices nor any trial: the judge's word alone counts."""
    no_trial(patches)
    patches.set(PriceGuard, "objection", lambda *_, **__: None)
