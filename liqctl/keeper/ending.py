"""What is written down when an attempt ends: its last state, and what it did or why it failed."""

import json
from dataclasses import replace

from liqctl.core.events import Cause
from liqctl.core.guards import landed_at_loss
from liqctl.core.intent import Attempt, AttemptState, Ending
from liqctl.core.record import FailureRow, Liquidation
from liqctl.core.sending_events import Stop
from liqctl.errors import present
from liqctl.keeper.context import Context
from liqctl.keeper.live import Live
from liqctl.keeper.rows import failure_row, liquidation_row


def ending_of(live: Live, state: AttemptState) -> Ending:
    """Return the end in this state as the attempt's row has it; what expired cost nothing."""
    status, landed = live.status, live.landed
    error_json = None
    if state is AttemptState.FINALIZED_ERR:
        failure = live.failure_on_chain(present(status, "a failure without a status"))
        error_json = json.dumps({"name": failure.name, "code": failure.code})
    expired = state in {AttemptState.EXPIRED, AttemptState.VOID}
    return Ending(
        state=state,
        final_slot=live.state.final_slot,
        fee_lamports=None if expired or landed is None else landed.fee_lamports,
        cost_lamports=None if expired or landed is None else landed.cost_lamports,
        error_json=error_json,
        proof_json=present(live.proof, "expired without a proof").json if expired else None,
    )


def liquidation_of(context: Context, live: Live, slot: int) -> Liquidation:
    """Return what an attempt that was finalized in `slot` did.

    Raises:
        StoreError: the snapshot of the intent cannot be read.
    """
    landed = live.landed
    told = context.venue.effects(landed.logs) if landed is not None else None
    return liquidation_row(
        replace(live.attempt, seen_slot=slot),
        live.request,
        landed,
        told,
        now_ms=context.clock.unix_ms(),
        latency_us=live.latency_us,
    )


def at_loss(attempt: Attempt, liquidation: Liquidation, sol_price_e6: int | None) -> bool:
    """Return whether it cost more than it brought; a fee that is not known yet is at its most."""
    cost_lamports = liquidation.fee_lamports
    if cost_lamports is None:
        cost_lamports = attempt.max_cost_lamports
    return landed_at_loss(liquidation.liquidator_reward, cost_lamports, sol_price_e6)


def failure_of(attempt: Attempt, stop: Stop, *, now_ms: int) -> FailureRow:
    """Return why an attempt did not liquidate."""
    detail = stop.reason
    if stop.cause is Cause.EXPIRED:
        detail = "the blockhash expired before it landed"
    return failure_row(attempt, stop.cause.value, detail, slot=stop.slot or None, now_ms=now_ms)
