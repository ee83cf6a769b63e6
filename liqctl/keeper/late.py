"""What the ledger did not tell when an attempt ended, asked for again until some node tells it."""

from dataclasses import replace

import structlog

from liqctl.chain.answers import Landed
from liqctl.core.intent import Attempt, AttemptState
from liqctl.core.record import Liquidation
from liqctl.errors import RpcError
from liqctl.keeper.context import Context
from liqctl.keeper.ledger import passes, read_landed
from liqctl.keeper.rows import liquidation_row

log = structlog.get_logger(__name__)

ATTEMPTS_MAX = 20


async def fill_in(context: Context) -> int:
    """Write fees and figures of the venue's final attempts that are still without; how many.

    The newest come first, a bounded number a time; a node that is away ends the round.

    Raises:
        StoreError: the store cannot be read or written.
    """
    store, filled = context.store.store, 0
    program = context.venue.program_id
    for attempt in await context.store.run(store.unpriced_attempts, ATTEMPTS_MAX, program):
        try:
            failed = attempt.state is AttemptState.FINALIZED_ERR
            landed = await read_landed(
                context.chain, attempt, attempt.final_slot or 0, failed=failed
            )
        except RpcError as error:
            log.debug("ledger_silent", signature=attempt.signature, error=str(error))
            if passes(error):
                return filled
            continue
        if landed is None or landed.fee_lamports is None:
            continue
        fee, cost = landed.fee_lamports, landed.cost_lamports
        row = await _liquidation(context, attempt, landed)
        await context.store.run(store.price_attempt, attempt.signature, fee, cost, row)
        log.info("ledger_told", signature=attempt.signature)
        filled += 1
    return filled


async def _liquidation(context: Context, attempt: Attempt, landed: Landed) -> Liquidation | None:
    known = await context.store.run(context.store.store.intent_of, attempt.signature)
    if attempt.state is not AttemptState.FINALIZED_OK or known is None:
        return None
    return liquidation_row(
        replace(attempt, seen_slot=landed.slot),
        known[0],
        landed,
        context.venue.effects(landed.logs),
        now_ms=context.clock.unix_ms(),
        latency_us=None,
    )
