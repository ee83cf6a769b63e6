"""What every part of the keeper works with."""

from dataclasses import dataclass, field

from liqctl.chain.client import Chain
from liqctl.chain.transaction import BUDGET_INSTRUCTIONS
from liqctl.core.events import OutcomeSeen
from liqctl.core.instruction import Failure, Outcome, budget_exceeded
from liqctl.core.sending_events import Stop
from liqctl.errors import LiqctlError, invariant
from liqctl.keeper.storage import StoreThread
from liqctl.ports import Clock, Rng, Venue


def failure_text(failure: Failure) -> str:
    """Return a failure in one word, with its code where it has one."""
    return failure.name if failure.code is None else f"{failure.name}({failure.code})"


def first_error(errors: BaseExceptionGroup[LiqctlError]) -> LiqctlError:
    """Return the first error of a group, however deep; all of them must be ours."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    invariant(isinstance(error, LiqctlError), "a group of foreign errors")
    return error if isinstance(error, LiqctlError) else LiqctlError()


def outcome_of(venue: Venue, failure: Failure, liquidate_index: int) -> Outcome:
    """Return what a failed transaction means; set-up instructions fail with foreign codes."""
    of_venue = liquidate_index + BUDGET_INSTRUCTIONS
    if failure.instruction is not None and failure.instruction != of_venue:
        return Outcome.SETUP
    if budget_exceeded(failure):
        return Outcome.RETRY
    return venue.classify(failure)


class SteadyTime:
    """Wall time as it was at the start, moved on by the monotonic clock: it never steps.

    Pauses are measured by it, so that setting the host's clock neither ends nor prolongs one.
    """

    def __init__(self, clock: Clock) -> None:
        """Start now."""
        self._clock = clock
        self._start_ms = clock.unix_ms()
        self._start_ns = clock.monotonic_ns()

    def ms(self) -> int:
        """Return unix milliseconds."""
        return self._start_ms + (self._clock.monotonic_ns() - self._start_ns) // 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One venue on one chain, one store, and the name under which leases are held."""

    venue: Venue
    chain: Chain
    store: StoreThread
    clock: Clock
    rng: Rng
    owner: str
    steady: SteadyTime = field(init=False)

    def __post_init__(self) -> None:
        """Begin to count time."""
        object.__setattr__(self, "steady", SteadyTime(self.clock))

    def outcome_of(self, failure: Failure, liquidate_index: int) -> Outcome:
        """Return what a failed transaction of the context's venue means."""
        return outcome_of(self.venue, failure, liquidate_index)

    def outcome_seen(self, position: str, stop: Stop, *, at_loss: bool = False) -> OutcomeSeen:
        """Return the end of a decision as the engine takes it, with its share of jitter."""
        return OutcomeSeen(
            position=position,
            result=stop.result,
            cause=stop.cause,
            reason=stop.reason,
            slot=stop.slot,
            at_loss=at_loss,
            jitter_permille=int(self.rng.random() * 1_000),
        )
