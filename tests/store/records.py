"""Records with everything filled in, for the tests of the store."""

import math
from typing import Any

from liqctl.core.alert import Alert, AlertState, Delivery, Severity
from liqctl.core.intent import Attempt, AttemptState, Claim, Ending, IntentRequest
from liqctl.core.record import (
    FailureRow,
    InsuranceSample,
    Liquidation,
    PositionRow,
    PriceRow,
    QueueRow,
    QueueState,
)

OK = Ending(state=AttemptState.FINALIZED_OK, final_slot=900, fee_lamports=5_000)
ERR = Ending(
    state=AttemptState.FINALIZED_ERR, final_slot=900, fee_lamports=5_000, error_json='{"code":1}'
)
EXPIRED = Ending(state=AttemptState.EXPIRED, proof_json='{"height":1}')
VOID = Ending(state=AttemptState.VOID, proof_json='{"height":1}')


def request(position: str = "pos", generation: int = 7, **changes: Any) -> IntentRequest:
    values: dict[str, Any] = {
        "venue": "reference",
        "program": "prog",
        "position": position,
        "generation": generation,
        "decision_slot": 100,
        "snapshot_json": "{}",
    }
    return IntentRequest(**{**values, **changes})


def attempt(claim: Claim, signature: str = "sig", n: int = 1, **changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "position": "pos",
        "symbol": "SOL-PERP",
        "raw": b"\x01signed",
        "blockhash": "hash",
        "last_valid_block_height": 150,
        "min_context_slot": 90,
        "compute_unit_limit": 200_000,
        "compute_unit_price_micro_lamports": 1_000_000,
        "max_cost_lamports": 205_000,
    }
    values = {**values, **changes}
    return Attempt(signature=signature, intent_id=claim.intent_id, n=n, **values)


def liquidation(signature: str = "sig", **changes: Any) -> Liquidation:
    values: dict[str, Any] = {
        "position_pubkey": "pos",
        "owner_pubkey": "owner",
        "symbol": "SOL-PERP",
        "liquidated_size": 1_500_000_000,
        "liquidation_price": 142_000_000,
        "liquidator_pubkey": "me",
        "liquidator_reward": 2_130_000,
        "bad_debt": 40,
        "health_factor_before": 0.75,
        "is_full_liquidation": True,
        "timestamp": 1_700_000_000,
        "created_at": 1_700_000_000_123,
        "venue": "reference",
        "slot": 900,
        "fee_lamports": 5_000,
        "fund_delta": -40,
        "bad_debt_uncovered": 0,
        "generation": 7,
        "decision_latency_us": 850,
    }
    return Liquidation(signature=signature, **{**values, **changes})


def failure(failure_class: str = "oracle", **changes: Any) -> FailureRow:
    values: dict[str, Any] = {
        "position_pubkey": "pos",
        "symbol": "SOL-PERP",
        "detail": "StalePrice",
        "signature": "sig",
        "slot": 900,
        "at_ms": 1_000,
    }
    return FailureRow(failure_class=failure_class, **{**values, **changes})


def queue_row(position: str = "pos", health: float = 0.5, **changes: Any) -> QueueRow:
    values: dict[str, Any] = {
        "owner": "owner",
        "venue": "reference",
        "symbol": "SOL-PERP",
        "side": "long",
        "size": 10,
        "state": QueueState.WAITING,
        "reason": "",
        "tries": 0,
        "next_try_ms": 0,
        "since_ms": 5,
    }
    return QueueRow(position=position, health=health, **{**values, **changes})


def sample(at_ms: int = 1, **changes: Any) -> InsuranceSample:
    values: dict[str, Any] = {
        "venue": "reference",
        "address": "fund",
        "balance": 1_000,
        "bad_debt_covered": 3,
        "bad_debt_uncovered": 4,
        "slot": 9,
    }
    return InsuranceSample(at_ms=at_ms, **{**values, **changes})


def position_row(position: str = "pos", health: float = 1.5, **changes: Any) -> PositionRow:
    values: dict[str, Any] = {
        "owner": "owner",
        "venue": "reference",
        "market": "market",
        "symbol": "SOL-PERP",
        "side": "long",
        "size": 10,
        "collateral": 20,
        "entry_price": 30,
        "liquidatable": False,
        "reason": "",
        "equity": 40,
        "maintenance_margin": 50,
        "liquidation_price": 60,
        "mark_price": 70,
        "slot": 900,
        "at_ms": 1_000,
    }
    return PositionRow(position=position, health=health, **{**values, **changes})


def unknown_row(position: str, **changes: Any) -> PositionRow:
    values: dict[str, Any] = {
        "liquidatable": None,
        "reason": "stale_price",
        "equity": None,
        "maintenance_margin": None,
        "liquidation_price": None,
        "mark_price": None,
    }
    return position_row(position, math.nan, **{**values, **changes})


def price_row(market: str = "market", **changes: Any) -> PriceRow:
    values: dict[str, Any] = {
        "venue": "reference",
        "symbol": "SOL-PERP",
        "price": 142_000_000,
        "confidence": 50_000,
        "publish_time": 1_700_000_000,
        "source": "account",
        "refusal": None,
        "max_age_s": 60,
        "slot": 900,
        "at_ms": 1_000,
    }
    return PriceRow(market=market, **{**values, **changes})


def alert(rule: str = "no_progress", **changes: Any) -> Alert:
    values: dict[str, Any] = {
        "subject": "reference",
        "severity": Severity.CRITICAL,
        "state": AlertState.FIRING,
        "title": "The keeper stands still",
        "body": "No scan for 60 s.",
        "raised_ms": 1_000,
    }
    return Alert(rule=rule, **{**values, **changes})


def delivery(channel: str = "slack", **changes: Any) -> Delivery:
    values: dict[str, Any] = {
        "alert_id": None,
        "severity": Severity.CRITICAL,
        "dedup_key": "no_progress:reference",
        "resolves": False,
        "title": "The keeper stands still",
        "body": "No scan for 60 s.",
        "created_ms": 1_000,
    }
    return Delivery(channel=channel, **{**values, **changes})
