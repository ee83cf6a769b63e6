"""Records with everything filled in, for the tests of the store."""

from typing import Any

from liqctl.core.intent import Attempt, AttemptState, Claim, Ending, IntentRequest
from liqctl.core.record import (
    FailureRow,
    InsuranceSample,
    Liquidation,
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
