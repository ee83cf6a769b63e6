"""Rows for the store about attempts that ended: the program's own figures, else the decision's."""

import json
from collections.abc import Mapping
from dataclasses import asdict

import msgspec

from liqctl.chain.answers import Landed
from liqctl.core.events import Decision
from liqctl.core.health import Kind
from liqctl.core.intent import Attempt, IntentRequest
from liqctl.core.record import FailureRow, Liquidation
from liqctl.errors import StoreError

INFINITE = (float("inf"), float("-inf"))


def snapshot_of(decision: Decision, liquidator: str, liquidate_index: int) -> str:
    """Return all that a later process must know of a decision to settle its attempt, as JSON.

    Infinite health, which JSON cannot say, is null.
    """
    position = decision.position
    figures = {
        name: None if value in INFINITE else value
        for name, value in asdict(decision.assessment).items()
    }
    return json.dumps(
        {
            "liquidator": liquidator,
            "liquidate_index": liquidate_index,
            "owner": position.owner,
            "side": position.side,
            "size": position.size,
            **figures,
        }
    )


class _Snapshot(msgspec.Struct):
    """What was written by `snapshot_of`, as far as the end of an attempt needs it."""

    liquidator: str
    liquidate_index: int
    owner: str
    symbol: str
    close_size: int
    price_e6: int
    reward: int
    fund_delta: int
    bad_debt_covered: int
    bad_debt_uncovered: int
    kind: Kind | None
    health: float | None


_SNAPSHOT = msgspec.json.Decoder(_Snapshot)


def _snapshot(request: IntentRequest) -> _Snapshot:
    """Return the decision that an intent was last claimed for.

    Raises:
        StoreError: the row does not hold one.
    """
    try:
        return _SNAPSHOT.decode(request.snapshot_json)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise StoreError(
            f"the intent for {request.position} has a snapshot that cannot be read: {error}"
        ) from error


def liquidate_index_of(request: IntentRequest) -> int:
    """Return how many set-up instructions stand before the venue's own.

    Raises:
        StoreError: the snapshot of the intent cannot be read.
    """
    return _snapshot(request).liquidate_index


def liquidation_row(
    attempt: Attempt,
    request: IntentRequest,
    landed: Landed | None,
    told: Mapping[str, int] | None,
    *,
    now_ms: int,
    latency_us: int | None,
) -> Liquidation:
    """Return the row of an attempt that was seen finalized.

    `told` is what the program said that it did. Where the node gave no logs the figures are those
    of the decision, which the fresh read before the send had confirmed.

    Raises:
        StoreError: the snapshot of the intent cannot be read.
    """
    decided = _snapshot(request)
    figures: dict[str, int] = {
        "closed_size": decided.close_size,
        "price": decided.price_e6,
        "reward": decided.reward,
        "is_full": decided.kind is Kind.FULL,
        "fund_delta": decided.fund_delta,
        "bad_debt_covered": decided.bad_debt_covered,
        "bad_debt_uncovered": decided.bad_debt_uncovered,
        **(told or {}),
    }
    block_time_s = landed.block_time_s if landed is not None else None
    return Liquidation(
        position_pubkey=attempt.position,
        owner_pubkey=decided.owner,
        symbol=decided.symbol,
        liquidated_size=figures["closed_size"],
        liquidation_price=figures["price"],
        liquidator_pubkey=decided.liquidator,
        liquidator_reward=figures["reward"],
        bad_debt=figures["bad_debt_covered"] + figures["bad_debt_uncovered"],
        health_factor_before=float("-inf") if decided.health is None else decided.health,
        is_full_liquidation=bool(figures["is_full"]),
        timestamp=block_time_s if block_time_s is not None else now_ms // 1_000,
        created_at=now_ms,
        venue=request.venue,
        signature=attempt.signature,
        slot=attempt.seen_slot or 0,
        fee_lamports=landed.fee_lamports if landed is not None else None,
        fund_delta=figures["fund_delta"],
        bad_debt_uncovered=figures["bad_debt_uncovered"],
        generation=request.generation,
        decision_latency_us=latency_us,
    )


def failure_row(
    attempt: Attempt, failure_class: str, detail: str, *, slot: int | None, now_ms: int
) -> FailureRow:
    """Return the row of an attempt that did not liquidate."""
    return FailureRow(
        position_pubkey=attempt.position,
        symbol=attempt.symbol,
        failure_class=failure_class,
        detail=detail,
        signature=attempt.signature,
        slot=slot,
        at_ms=now_ms,
    )
