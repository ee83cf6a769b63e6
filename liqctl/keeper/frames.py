"""The bodies of the keeper's own events, as clients of the stream get them."""

import json
import math

from liqctl.core.events import FundMoved, PriceMoved, Queued
from liqctl.core.queue import Entry

EXACT_IN_JSON_MAX = 2**53
Frame = tuple[str, str]


def price_frame(venue: str, moved: PriceMoved) -> Frame:
    """Return a `price_update`; without a usable price it is null and `refusal` says why."""
    return _frame(
        "price_update",
        venue,
        symbol=moved.symbol,
        price=moved.price_e6 if moved.refusal is None else None,
        slot=moved.slot,
        refusal=moved.refusal,
    )


def fund_frame(venue: str, moved: FundMoved) -> Frame:
    """Return an `insurance_fund`."""
    fund = moved.fund
    return _frame(
        "insurance_fund",
        venue,
        balance=fund.balance,
        bad_debt_covered=fund.bad_debt_covered,
        bad_debt_uncovered=fund.bad_debt_uncovered,
        slot=moved.slot,
    )


def queued_frame(venue: str, queued: Queued) -> Frame:
    """Return the `queue` event of a position that became liquidatable."""
    position, verdict = queued.position, queued.assessment
    return _frame(
        "queue",
        venue,
        change="added",
        position_id=position.address,
        symbol=verdict.symbol,
        side=position.side.value,
        size=position.size,
        health=verdict.health if math.isfinite(verdict.health) else None,
        kind=verdict.kind,
        equity=verdict.equity,
        maintenance_margin=verdict.maintenance_margin,
    )


def state_frame(venue: str, entry: Entry) -> Frame:
    """Return the `queue` event of a candidate that waits, is in flight or quarantined now."""
    return _frame(
        "queue",
        venue,
        change="state",
        position_id=entry.position,
        state=entry.state.value,
        reason=entry.reason,
        tries=entry.tries,
    )


def left_frame(venue: str, position: str, reason: str) -> Frame:
    """Return the `queue` event of a candidate that recovered, closed or cannot be judged."""
    return _frame("queue", venue, change="removed", position_id=position, reason=reason)


def _frame(frame_type: str, venue: str, **body: object) -> Frame:
    """Return type and JSON; integers beyond 2^53 are strings, which every reader keeps exactly."""
    plain = {name: _exact(value) for name, value in body.items()}
    return frame_type, json.dumps({"type": frame_type, "venue": venue, **plain}, allow_nan=False)


def _exact(value: object) -> object:
    return str(value) if isinstance(value, int) and abs(value) > EXACT_IN_JSON_MAX else value
