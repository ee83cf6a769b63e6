"""Between the records and the columns: pure, one place for what SQL cannot hold as it is."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import msgspec

from liqctl.core.intent import Attempt, AttemptState, IntentRequest
from liqctl.core.record import (
    EventRow,
    Exclusion,
    FailureRow,
    InsuranceSample,
    Liquidation,
    QueueOrder,
    QueueRow,
    QueueState,
)
from liqctl.errors import StoreError

SQL_INTEGER_MAX = 2**63 - 1
JSON_INTEGER_MAX = 2**53 - 1
HEALTH_MAX = sys.float_info.max

LIQUIDATION_AMOUNTS = (
    "liquidated_size",
    "liquidation_price",
    "liquidator_reward",
    "bad_debt",
    "fund_delta",
    "bad_debt_uncovered",
    "generation",
)
INSURANCE_AMOUNTS = ("balance", "bad_debt_covered", "bad_debt_uncovered")
EXCLUDED = "excluded:"

Row = Mapping[str, Any]


def stored_amount(value: int) -> int | str:
    """Return an integer as a column takes it: its decimal digits where 63 bits are too few.

    >>> stored_amount(2**63 - 1), stored_amount(2**63)
    (9223372036854775807, '9223372036854775808')
    """
    return value if -SQL_INTEGER_MAX - 1 <= value <= SQL_INTEGER_MAX else str(value)


def amounts(record: object, names: Sequence[str]) -> SimpleNamespace:
    """Return the amounts of a record as columns take them, by name."""
    return SimpleNamespace(**{name: stored_amount(getattr(record, name)) for name in names})


def stored_health(health: float) -> float | None:
    """Return a health as a column takes it: infinities as the largest float, NaN as None.

    What comes back from the store can therefore always be compared and, but for NaN, be written
    as JSON. Zero has no sign: not every engine keeps it.

    >>> stored_health(float("-inf")) == -HEALTH_MAX, stored_health(float("nan")), stored_health(-0.0)
    (True, None, 0.0)
    """
    return None if math.isnan(health) else max(-HEALTH_MAX, min(HEALTH_MAX, health)) + 0.0


def read_health(column: float | None) -> float:
    """Return the health in a column; NaN where there was none."""
    return math.nan if column is None else column


def _json_amount(value: int) -> int | str:
    """Return an integer for JSON: as a string where JavaScript would round it."""
    return value if abs(value) <= JSON_INTEGER_MAX else str(value)


def liquidation_event(row: Liquidation) -> str:
    """Return the body of the event `liquidation`.

    Amounts are integers in the units of the row, beyond 2^53 strings; `health_before` is null
    when it is not finite.
    """
    health = row.health_factor_before
    body = {
        "type": "liquidation",
        "venue": row.venue,
        "position_id": row.position_pubkey,
        "symbol": row.symbol,
        "amount": _json_amount(row.liquidated_size),
        "price": _json_amount(row.liquidation_price),
        "reward": _json_amount(row.liquidator_reward),
        "bad_debt": _json_amount(row.bad_debt),
        "is_full": row.is_full_liquidation,
        "health_before": health if math.isfinite(health) else None,
        "signature": row.signature,
        "slot": row.slot,
        "timestamp": row.timestamp,
    }
    return json.dumps(body, allow_nan=False)


def intent_key(request: IntentRequest, step: int) -> str:
    """Return program:position:generation:step."""
    return f"{request.program}:{request.position}:{request.generation}:{step}"


def attempt_of(row: Row) -> Attempt:
    """Return the attempt in a row of `live_attempts`."""
    return Attempt(
        signature=row["sig"],
        intent_id=row["intent_id"],
        n=row["n"],
        position=row["position"],
        symbol=row["symbol"],
        raw=row["raw"],
        blockhash=row["blockhash"],
        last_valid_block_height=row["lvbh"],
        min_context_slot=row["min_ctx_slot"],
        compute_unit_limit=row["cu_limit"],
        compute_unit_price_micro_lamports=row["cu_price"],
        max_cost_lamports=row["max_cost_lamports"],
        state=AttemptState(row["state"]),
        signed_ms=row["signed_ms"],
        sends=row["sends"],
        seen_slot=row["seen_slot"],
        final_slot=row["final_slot"],
    )


def request_of(row: Row) -> IntentRequest:
    """Return the request in a row of `intent`."""
    return IntentRequest(
        venue=row["venue"],
        program=row["program"],
        position=row["position"],
        generation=int(row["generation"]),
        decision_slot=row["decision_slot"],
        snapshot_json=row["snapshot_json"],
    )


def liquidation_of(row: Row) -> Liquidation:
    """Return the liquidation in a row of `liquidations`."""
    columns = dict(row)
    columns.update({name: int(columns[name]) for name in LIQUIDATION_AMOUNTS})
    columns["health_factor_before"] = read_health(columns["health_factor_before"])
    columns["is_full_liquidation"] = bool(columns["is_full_liquidation"])
    return Liquidation(**columns)


def failure_of(row: Row) -> FailureRow:
    """Return the failure in a row of `failed_liquidations`."""
    return FailureRow(**dict(row))


def sample_of(row: Row) -> InsuranceSample:
    """Return the sample in a row of `insurance_balance`."""
    columns = dict(row)
    del columns["id"]
    columns.update({name: int(columns[name]) for name in INSURANCE_AMOUNTS})
    return InsuranceSample(**columns)


def queue_row_of(row: Row) -> QueueRow:
    """Return the candidate in a row of `queue`."""
    columns = dict(row)
    order = columns.pop("order_waiting")
    columns["size"] = int(columns["size"])
    columns["health"] = read_health(columns["health"])
    columns["state"] = QueueState(columns["state"])
    return QueueRow(**columns, order=None if order is None else QueueOrder(order))


def event_of(row: Row) -> EventRow:
    """Return the entry in a row of `events`."""
    return EventRow(**dict(row))


def last_name(prefix: str) -> str:
    """Return what no name with this prefix comes after, compared by code points."""
    return f"{prefix}\U0010ffff"


def exclusion_name(position: str) -> str:
    """Return the name of the state that holds the exclusion of a position."""
    return f"{EXCLUDED}{position}"


def exclusion_json(exclusion: Exclusion) -> str:
    """Return an exclusion as the state holds it."""
    return json.dumps({"reason": exclusion.reason, "until_ms": exclusion.until_ms})


def exclusion_of(row: Row) -> Exclusion:
    """Return the exclusion in a row of `state`.

    Raises:
        StoreError: somebody wrote a row that holds none: what it set aside is not known.
    """
    try:
        held = msgspec.json.decode(row["value_json"], type=_Excluded)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise StoreError(
            f"the row {row['name']} of the table state holds no exclusion; remove the row, then use"
            " `liqctl queue exclude`"
        ) from error
    return Exclusion(
        position=row["name"].removeprefix(EXCLUDED),
        reason=held.reason,
        since_ms=row["at_ms"],
        until_ms=held.until_ms,
    )


class _Excluded(msgspec.Struct):
    reason: str
    until_ms: int | None
