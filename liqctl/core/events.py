"""What goes into the engine and what comes out of it."""

from dataclasses import dataclass
from enum import StrEnum

from liqctl.core.account import Seen
from liqctl.core.health import Assessment
from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Position
from liqctl.core.price import PriceReading
from liqctl.core.record import Exclusion, QueueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountsSeen:
    """Accounts as one answer or notice showed them; `received_ns` is when its bytes arrived."""

    seen: tuple[Seen, ...]
    received_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PricesSeen:
    """Prices that a service sent, none of them on the chain; of `lost` feeds it has none."""

    readings: tuple[PriceReading, ...]
    lost: tuple[str, ...] = ()
    received_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSeen:
    """The cluster's own time."""

    slot: int
    unix_timestamp: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotSeen:
    """The addresses that a full read found; what is held but absent is to be read again.

    `nameless` entries did not even say which account they are.
    """

    slot: int
    addresses: frozenset[str]
    nameless: int = 0


class Result(StrEnum):
    """How a decision ended, by what the queue does with the position."""

    LANDED = "landed"
    RECOVERED = "recovered"
    GONE = "gone"
    LOST_RACE = "lost_race"
    REFUSED = "refused"
    FAILED = "failed"


class Cause(StrEnum):
    """Whose doing the end of a decision is; it decides when the position is tried again.

    The names that a venue's Outcome has too mean the same.
    """

    NONE = "none"
    LOST_RACE = "lost_race"
    HEALTHY = "healthy"
    GONE = "gone"
    ORACLE = "oracle"
    PAUSED = "paused"
    NO_FUNDS = "no_funds"
    SETUP = "setup"
    LAYOUT = "layout"
    RETRY = "retry"
    BUG = "bug"
    EXPIRED = "expired"
    BUSY = "busy"
    GUARD = "guard"
    RPC = "rpc"
    STORE = "store"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeSeen:
    """The end of a decision; `slot` is where it took effect, below which the state is old.

    `at_loss`: it landed, and its fee was worth more than the reward.
    """

    position: str
    result: Result
    cause: Cause = Cause.NONE
    reason: str = ""
    slot: int = 0
    jitter_permille: int = 0
    at_loss: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """A person's order about one position."""

    position: str
    order: QueueOrder


@dataclass(frozen=True, slots=True, kw_only=True)
class ExclusionsSeen:
    """Every position that people have set aside, as the store has them."""

    exclusions: tuple[Exclusion, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckDue:
    """The interval of the periodic check of all positions has passed."""


Event = (
    AccountsSeen
    | PricesSeen
    | ClockSeen
    | SnapshotSeen
    | OutcomeSeen
    | Ordered
    | ExclusionsSeen
    | CheckDue
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceMoved:
    """A market's mark price, or the reason why there is none (`price_e6` is 0 then)."""

    market: str
    symbol: str
    price_e6: int
    slot: int
    refusal: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Queued:
    """A position became liquidatable."""

    position: Position
    assessment: Assessment


@dataclass(frozen=True, slots=True, kw_only=True)
class Dequeued:
    """A waiting position recovered, closed or cannot be judged any more."""

    position: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FundMoved:
    """The insurance fund changed."""

    fund: InsuranceState
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Addresses to read, and why is one of these.

    Not seen yet, seen at no possible slot, missing from a snapshot, about to turn by a newer price.
    """

    addresses: tuple[str, ...]


Notice = PriceMoved | Queued | Dequeued | FundMoved | Wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Liquidate this position; `tick_ns` is when the notice that caused it arrived.

    With a `doubt` about its price nothing may be sent, whatever the verdict.
    """

    position: Position
    assessment: Assessment
    tick_ns: int
    tries: int
    doubt: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How many positions are known, how many could be judged, and why the others could not."""

    positions: int
    evaluated: int
    unknown: dict[str, int]
