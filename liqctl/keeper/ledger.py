"""What the ledger tells of an attempt that was seen finalized, as far as it can be believed."""

from dataclasses import replace

import structlog

from liqctl.chain.answers import Landed
from liqctl.chain.client import Chain
from liqctl.chain.fees import max_cost_lamports
from liqctl.chain.member import kind_of
from liqctl.core.intent import Attempt
from liqctl.errors import RpcError

log = structlog.get_logger(__name__)

_PASSING = frozenset({"unreachable", "failing", "busy", "too_early"})


async def read_landed(chain: Chain, attempt: Attempt, slot: int, *, failed: bool) -> Landed | None:
    """Return what the ledger tells of an attempt that is final in `slot`, None while nothing.

    A node that shows another slot, or another end than the one in `failed`, tells of a fork of
    its own, where the transaction has done something else. A fee of nothing, or above the most that the attempt can cost, is none: sums
    are never handed a number that a node made up. Nor are the caps: a cost above that most is
    none, and one below the fee that was signed for is that fee.

    Raises:
        RpcError: the node does not show it, or not now.
    """
    landed = await chain.transaction(attempt.signature)
    if landed is None or (landed.slot, landed.failure is not None) != (slot, failed):
        return None
    fee, cost, most = landed.fee_lamports, landed.cost_lamports, attempt.max_cost_lamports
    fee_believed = fee is not None and 0 < fee <= most
    cost_believed = cost is None or cost <= most
    if not (fee_believed and cost_believed):
        log.warning(
            "cost_not_believed",
            signature=attempt.signature,
            fee_lamports=fee,
            cost_lamports=cost,
            cost_lamports_max=most,
        )
    if cost is not None:
        cost = max(cost, _signed_fee_lamports(attempt)) if cost_believed else None
    return replace(landed, fee_lamports=fee if fee_believed else None, cost_lamports=cost)


def passes(error: RpcError) -> bool:
    """Whether a node is away, ill, busy or behind, so that it may answer the same question later."""
    return kind_of(error) in _PASSING


def _signed_fee_lamports(attempt: Attempt) -> int:
    return max_cost_lamports(
        1, attempt.compute_unit_limit, attempt.compute_unit_price_micro_lamports
    )
