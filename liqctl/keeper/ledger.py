"""What the ledger tells of an attempt that was seen finalized, as far as it can be believed."""

from dataclasses import replace

import structlog

from liqctl.chain.answers import Landed
from liqctl.chain.client import Chain
from liqctl.core.intent import Attempt

log = structlog.get_logger(__name__)


async def read_landed(chain: Chain, attempt: Attempt, slot: int) -> Landed | None:
    """Return what the ledger tells of an attempt that is final in `slot`, None while nothing.

    A node that shows another slot tells of a fork of its own, where the transaction may have done
    something else. A fee of nothing, or above the most that the attempt can cost, is none: caps
    and sums are never handed a number that a node made up.

    Raises:
        RpcError: the node does not show it, or not now.
    """
    landed = await chain.transaction(attempt.signature)
    if landed is None or landed.slot != slot:
        return None
    if landed.fee_lamports is not None and not 0 < landed.fee_lamports <= attempt.max_cost_lamports:
        log.warning(
            "fee_not_believed",
            signature=attempt.signature,
            fee_lamports=landed.fee_lamports,
            cost_lamports_max=attempt.max_cost_lamports,
        )
        return replace(landed, fee_lamports=None)
    return landed
