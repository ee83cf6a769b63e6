"""What the API shows: one struct a kind of row, with integers beyond 2^53 as strings."""

import json
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import msgspec

from liqctl.core.alert import Alert
from liqctl.core.record import (
    AttemptRow,
    DaySum,
    Exclusion,
    FailureRow,
    InsuranceSample,
    Liquidation,
    PositionRow,
    PriceRow,
    QueueRow,
)

V = TypeVar("V", bound=msgspec.Struct)

# What JavaScript and many other readers of JSON keep exactly.
SAFE = 2**53 - 1
BPS = 10_000
Amount = int | str


class LiquidationView(msgspec.Struct, frozen=True, kw_only=True):
    """One finalized liquidation.

    Sizes in the venue's size unit, prices and money in 1e-6 quote, `timestamp` in unix seconds of
    the chain, `created_at` in unix milliseconds of the keeper's host.
    """

    id: int
    position_pubkey: str
    owner_pubkey: str
    symbol: str
    liquidated_size: Amount
    liquidation_price: Amount
    liquidator_pubkey: str
    liquidator_reward: Amount
    bad_debt: Amount
    health_factor_before: float | None
    is_full_liquidation: bool
    timestamp: int
    created_at: int
    venue: str
    signature: str
    slot: Amount
    fee_lamports: Amount | None
    fund_delta: Amount
    bad_debt_uncovered: Amount
    generation: Amount
    decision_latency_us: Amount | None


class FailureView(msgspec.Struct, frozen=True, kw_only=True):
    """One liquidation that did not happen, with the class of the failure."""

    id: int | None
    position_pubkey: str
    symbol: str
    failure_class: str
    detail: str
    signature: str | None
    slot: Amount | None
    at_ms: int


class AttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One signed transaction and what became of it; `error` is what the chain said, if it did."""

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
    max_cost_lamports: Amount
    fee_lamports: Amount | None
    seen_slot: Amount | None
    final_slot: Amount | None
    error: Any


class PositionView(msgspec.Struct, frozen=True, kw_only=True):
    """One position as the keeper last judged it.

    Money and prices in 1e-6 quote. `liquidatable` is null, and so are the figures, when the
    verdict is unknown for `reason`. `distance_bps` is how far the mark price may go against the
    position, in hundredths of a per cent of it, rounded down; negative beyond the line.
    """

    position: str
    owner: str
    venue: str
    market: str
    symbol: str
    side: str
    size: Amount
    collateral: Amount
    entry_price: Amount
    liquidatable: bool | None
    reason: str
    health: float | None
    equity: Amount | None
    maintenance_margin: Amount | None
    liquidation_price: Amount | None
    mark_price: Amount | None
    distance_bps: Amount | None
    slot: Amount
    at_ms: int


class PriceView(msgspec.Struct, frozen=True, kw_only=True):
    """The latest price of one market in 1e-6 quote, or the word why there is none.

    `age_s` counts from `publish_time` to this answer.
    """

    venue: str
    market: str
    symbol: str
    price: Amount | None
    confidence: Amount | None
    publish_time: int | None
    age_s: int | None
    source: str | None
    refusal: str | None
    max_age_s: int
    slot: Amount
    at_ms: int


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """One candidate: waiting, in_flight or quarantined; `order` waits for the keeper to take it."""

    position: str
    owner: str
    venue: str
    symbol: str
    side: str
    size: Amount
    health: float | None
    state: str
    reason: str
    tries: int
    next_try_ms: Amount
    since_ms: int
    order: str | None


class ExclusionView(msgspec.Struct, frozen=True, kw_only=True):
    """A position that a person set aside; without `until_ms` until a person takes it back."""

    position: str
    reason: str
    since_ms: int
    until_ms: Amount | None


class InsuranceView(msgspec.Struct, frozen=True, kw_only=True):
    """The balance of one insurance fund at one time, in 1e-6 quote."""

    venue: str
    address: str
    balance: Amount
    bad_debt_covered: Amount
    bad_debt_uncovered: Amount
    slot: Amount
    at_ms: int


class DayView(msgspec.Struct, frozen=True, kw_only=True):
    """What one market brought on one day (UTC); money in 1e-6 quote.

    `size` is what was liquidated, in the venue's size unit.
    """

    day: str
    venue: str
    symbol: str
    full: int
    partial: int
    size: Amount
    rewards: Amount
    bad_debt: Amount
    bad_debt_uncovered: Amount
    fees_lamports: Amount


class AlertView(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of one subject, from the time it began to hold to the time it ended."""

    id: int
    rule: str
    subject: str
    severity: str
    state: str
    title: str
    body: str
    raised_ms: int
    resolved_ms: int | None
    notified_ms: int | None


def amount(value: int) -> Amount:
    """Return an integer as JSON may hold it.

    >>> amount(9007199254740991), amount(-9007199254740992)
    (9007199254740991, '-9007199254740992')
    """
    return value if -SAFE <= value <= SAFE else str(value)


def liquidation_view(row: Liquidation) -> LiquidationView:
    """Return a liquidation as the API shows it."""
    return _filled(LiquidationView, row)


def failure_view(row: FailureRow) -> FailureView:
    """Return a failure as the API shows it."""
    return _filled(FailureView, row)


def attempt_view(row: AttemptRow) -> AttemptView:
    """Return an attempt as the API shows it."""
    return _filled(
        AttemptView, row, error=None if row.error_json is None else plain(decoded(row.error_json))
    )


def position_view(row: PositionRow) -> PositionView:
    """Return a position as the API shows it."""
    return _filled(PositionView, row, distance_bps=_distance_bps(row))


def price_view(row: PriceRow, now_ms: int) -> PriceView:
    """Return a price as the API shows it at a time."""
    published = row.publish_time
    age_s = None if published is None else max(now_ms // 1_000 - published, 0)
    return _filled(PriceView, row, age_s=age_s)


def queue_view(row: QueueRow) -> QueueView:
    """Return a candidate as the API shows it."""
    return _filled(QueueView, row)


def exclusion_view(row: Exclusion) -> ExclusionView:
    """Return an exclusion as the API shows it."""
    return _filled(ExclusionView, row)


def insurance_view(row: InsuranceSample) -> InsuranceView:
    """Return a balance as the API shows it."""
    return _filled(InsuranceView, row)


def day_view(row: DaySum) -> DayView:
    """Return the sums of a day as the API shows them."""
    return _filled(DayView, row)


def alert_view(row: Alert) -> AlertView:
    """Return an alert as the API shows it."""
    return _filled(AlertView, row)


def plain(value: object) -> object:
    """Return a value of any depth for JSON, with integers beyond 2^53 as strings."""
    match value:
        case bool():
            return value
        case int():
            return amount(value)
        case dict():
            return {str(name): plain(inner) for name, inner in value.items()}
        case list() | tuple():
            return [plain(inner) for inner in value]
        case _ if is_dataclass(value):
            return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
        case _:
            return value


def decoded(text: str) -> object:
    """Return what a text of JSON holds, every digit of it; a text that is no JSON as it is."""
    try:
        return json.loads(text)  # msgspec rounds integers beyond 64 bits
    except (ValueError, RecursionError):
        return text


def _filled(kind: type[V], row: object, **computed: object) -> V:
    """Return a view: fields of the same names, and what was computed."""
    for name in kind.__struct_fields__:
        if name not in computed:
            value = getattr(row, name)
            computed[name] = amount(value) if type(value) is int else value
    return kind(**computed)


def _distance_bps(row: PositionRow) -> Amount | None:
    line, mark = row.liquidation_price, row.mark_price
    if line is None or not mark:
        return None
    room = mark - line if row.side == "long" else line - mark
    return amount(room * BPS // mark)
