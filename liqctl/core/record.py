"""Rows that the store keeps and others read: plain values, one class a table."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True, kw_only=True)
class Liquidation:
    """One finalized liquidation of ours; names and order of the first 13 are a contract.

    Size in the venue's size unit (reference: 1e-9 base), money and price in 1e-6 quote,
    `timestamp` in unix seconds of the chain, `created_at` in unix milliseconds of this host.
    """

    id: int | None = None
    position_pubkey: str
    owner_pubkey: str
    symbol: str
    liquidated_size: int
    liquidation_price: int
    liquidator_pubkey: str
    liquidator_reward: int
    bad_debt: int
    health_factor_before: float
    is_full_liquidation: bool
    timestamp: int
    created_at: int
    venue: str
    signature: str
    slot: int
    fee_lamports: int | None
    fund_delta: int
    bad_debt_uncovered: int
    generation: int
    decision_latency_us: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureRow:
    """One liquidation that did not happen, with the class that decides the reaction."""

    id: int | None = None
    position_pubkey: str
    symbol: str
    failure_class: str
    detail: str
    signature: str | None
    slot: int | None
    at_ms: int


class QueueState(StrEnum):
    """Where a candidate stands."""

    WAITING = "waiting"
    IN_FLIGHT = "in_flight"
    QUARANTINED = "quarantined"


class QueueOrder(StrEnum):
    """What a person asked the running keeper to do with a row."""

    DROP = "drop"
    RETRY = "retry"
    ENQUEUE = "enqueue"


DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclusion:
    """A position that a person set aside; without `until_ms` until a person takes it back."""

    position: str
    reason: str
    since_ms: int
    until_ms: int | None = None

    def holds(self, now_ms: int) -> bool:
        """Return whether it is in force."""
        return self.until_ms is None or now_ms < self.until_ms

    @property
    def text(self) -> str:
        """What the queue shows as the reason."""
        return self.reason if self.reason == DROPPED else f"excluded: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """One candidate as others see it; `order` waits for the keeper to take it."""

    position: str
    owner: str
    venue: str
    symbol: str
    side: str
    size: int
    health: float
    state: QueueState
    reason: str
    tries: int
    next_try_ms: int
    since_ms: int
    order: QueueOrder | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """One entry of the ordered stream; `body_json` is the frame without `seq`."""

    seq: int
    kind: str
    at_ms: int
    body_json: str


@dataclass(frozen=True, slots=True, kw_only=True)
class InsuranceSample:
    """The fund's balance at one time, in 1e-6 quote."""

    venue: str
    address: str
    balance: int
    bad_debt_covered: int
    bad_debt_uncovered: int
    slot: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Counts and sums over all liquidations of a store; money in 1e-6 quote."""

    full: int
    partial: int
    failed: int
    lost_races: int
    rewards: int
    bad_debt: int
    bad_debt_uncovered: int
    fees_lamports: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionRow:
    """One position as the keeper last judged it, for others to read.

    Size in the venue's size unit, money and prices in 1e-6 quote. `liquidatable` is None with a
    `reason` when the verdict is unknown; the figures are None then, and `health` is NaN. `slot` is
    the slot of the verdict, `at_ms` when it was written.
    """

    position: str
    owner: str
    venue: str
    market: str
    symbol: str
    side: str
    size: int
    collateral: int
    entry_price: int
    liquidatable: bool | None
    reason: str
    health: float
    equity: int | None
    maintenance_margin: int | None
    liquidation_price: int | None
    mark_price: int | None
    slot: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceRow:
    """One market's price as the keeper last saw it, in 1e-6 quote; None comes with a `refusal`.

    `confidence` has the unit of the price. The age is what readers compute from
    `publish_time` (unix seconds of the chain) and `at_ms`.
    """

    venue: str
    market: str
    symbol: str
    price: int | None
    confidence: int | None
    publish_time: int | None
    source: str | None
    refusal: str | None
    max_age_s: int
    slot: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One signed transaction and what became of it, without its bytes."""

    signature: str
    intent_id: int
    n: int
    venue: str
    position: str
    symbol: str
    state: str
    signed_ms: int
    first_sent_ms: int | None
    ended_ms: int | None
    sends: int
    max_cost_lamports: int
    fee_lamports: int | None
    seen_slot: int | None
    final_slot: int | None
    error_json: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySum:
    """What one market brought on one day (UTC, `2026-11-24`); money in 1e-6 quote.

    `size` is the sum of the liquidated sizes in the venue's size unit.
    """

    day: str
    venue: str
    symbol: str
    full: int
    partial: int
    size: int
    rewards: int
    bad_debt: int
    bad_debt_uncovered: int
    fees_lamports: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LiquidationQuery:
    """Which liquidations are asked for, the newest first; None asks for all.

    `before_id` continues below a row. Times are unix seconds of the chain, `since_s` included and
    `until_s` not.
    """

    symbol: str | None = None
    position: str | None = None
    owner: str | None = None
    venue: str | None = None
    full: bool | None = None
    since_s: int | None = None
    until_s: int | None = None
    before_id: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionQuery:
    """Which positions are asked for, the least healthy first and unknown ones last.

    `after` continues after a row: its health (NaN for unknown) and its address.
    """

    symbol: str | None = None
    owner: str | None = None
    venue: str | None = None
    after: tuple[float, str] | None = None
    limit: int = 50
