"""The lease on an attempt that is on record already, and what the record says under it."""

from liqctl.core.intent import Attempt, Claim
from liqctl.keeper.context import Context


async def take_up(
    context: Context, attempt: Attempt, lease_ms: int
) -> tuple[Claim, Attempt] | None:
    """Return a lease on a live attempt and its row as it is by then; None where there is none.

    What was read before the lease proves nothing: whoever had it may have moved the attempt on,
    or ended it. The lease on one that is over is given back.

    Raises:
        StoreError: the store cannot be read or written.
    """
    store, run, now_ms = context.store.store, context.store.run, context.clock.unix_ms()
    claim = await run(store.adopt, attempt.intent_id, context.owner, now_ms, lease_ms)
    if claim is None:
        return None
    for row in await run(store.live_attempts, context.venue.program_id):
        if row.signature == attempt.signature:
            return claim, row
    await run(store.release, claim, now_ms)
    return None
