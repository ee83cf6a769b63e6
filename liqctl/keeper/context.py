"""What every part of the keeper works with."""

from dataclasses import dataclass, field

from liqctl.chain.client import Chain
from liqctl.chain.transaction import BUDGET_INSTRUCTIONS
from liqctl.core.events import Cause, OutcomeSeen, Result
from liqctl.core.instruction import Failure, Outcome, budget_exceeded
from liqctl.core.sending_events import Stop
from liqctl.errors import GuardError, LiqctlError, RpcError, StoreError, invariant
from liqctl.keeper.fleet import Fleet
from liqctl.keeper.storage import StoreThread
from liqctl.oracle.hermes_client import HermesClient
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
    """One venue on one chain, one store, and the name under which leases are held.

    Keepers that share a gate share a fleet. Without `hermes` every price is from the chain.
    """

    venue: Venue
    chain: Chain
    store: StoreThread
    clock: Clock
    rng: Rng
    owner: str
    fleet: Fleet = field(default_factory=Fleet)
    hermes: HermesClient | None = None
    steady: SteadyTime = field(init=False)

    def __post_init__(self) -> None:
        """Begin to count time."""
        object.__setattr__(self, "steady", SteadyTime(self.clock))

    def outcome_of(self, failure: Failure, liquidate_index: int) -> Outcome:
        """Return what a failed transaction of the context's venue means."""
        return outcome_of(self.venue, failure, liquidate_index)

    def broken_off(self, position: str, error: LiqctlError) -> OutcomeSeen:
        """Return the end of a decision that an error of ours cut short."""
        stop = Stop(
            result=Result.FAILED, cause=_cause_of(error), reason=f"{_word_for(error)}:{error}"
        )
        return self.outcome_seen(position, stop)

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


def _cause_of(error: LiqctlError) -> Cause:
    match error:
        case StoreError():
            return Cause.STORE
        case RpcError():
            return Cause.RPC
        case _:
            return Cause.GUARD


def _word_for(error: LiqctlError) -> str:
    """Return one word for what kind of thing failed."""
    match error:
        case StoreError():
            return "store"
        case GuardError():
            return "guard"
        case _:
            return type(error).__name__.lower().removesuffix("error")
