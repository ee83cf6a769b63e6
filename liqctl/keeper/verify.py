"""The books against the chain, read afresh: every liquidation once, none forgotten, none left."""

from collections import Counter
from dataclasses import dataclass

from liqctl.chain.answers import HistoryEntry, Landed
from liqctl.chain.client import HISTORY_PER_CALL, Chain
from liqctl.core.record import Liquidation
from liqctl.errors import RpcMalformed
from liqctl.ports import Venue

COMPARED = {
    "closed_size": "liquidated_size",
    "price": "liquidation_price",
    "reward": "liquidator_reward",
    "is_full": "is_full_liquidation",
    "fund_delta": "fund_delta",
    "bad_debt_uncovered": "bad_debt_uncovered",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """What a comparison of records with the chain found; each list should be empty."""

    recorded: int
    landed: int
    unrecorded: tuple[str, ...]
    not_on_chain: tuple[str, ...]
    different: tuple[str, ...]
    doubled: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether the books and the chain say the same."""
        return not (self.unrecorded or self.not_on_chain or self.different or self.doubled)


async def audit(
    chain: Chain,
    venue: Venue,
    rows: list[Liquidation],
    liquidators: set[str],
    *,
    since_slot: int = 0,
) -> Audit:
    """Return how the recorded liquidations compare with the finalized history of the liquidators.

    What landed before `since_slot` belongs to other books.

    Raises:
        RpcError: the node did not answer.
    """
    told: dict[str, Landed] = {}
    for liquidator in sorted(liquidators):
        for entry in await _history(chain, liquidator):
            if entry.failure is None and entry.slot >= since_slot:
                landed = await chain.transaction(entry.signature)
                if landed is not None and venue.effects(landed.logs) is not None:
                    told[entry.signature] = landed
    by_signature = {row.signature: row for row in rows}
    different = [
        signature
        for signature, landed in told.items()
        if signature in by_signature and not _same(by_signature[signature], venue, landed)
    ]
    return Audit(
        recorded=len(rows),
        landed=len(told),
        unrecorded=tuple(sorted(told.keys() - by_signature.keys())),
        not_on_chain=tuple(sorted(by_signature.keys() - told.keys())),
        different=tuple(sorted(different)),
        doubled=_doubled(rows),
    )


async def _history(chain: Chain, address: str) -> list[HistoryEntry]:
    entries: list[HistoryEntry] = []
    before: str | None = None
    while True:
        page = await chain.signatures_for_address(address, before=before)
        if page and page[-1].signature == before:
            raise RpcMalformed("the node repeats a page of the history; try another node")
        entries += page
        if len(page) < HISTORY_PER_CALL:
            return entries
        before = page[-1].signature


def _same(row: Liquidation, venue: Venue, landed: Landed) -> bool:
    told = venue.effects(landed.logs) or {}
    return landed.slot == row.slot and all(
        int(told[name]) == int(getattr(row, column))
        for name, column in COMPARED.items()
        if name in told
    )


def _doubled(rows: list[Liquidation]) -> tuple[str, ...]:
    """Return positions fully liquidated more than once in one life."""
    full = Counter((r.position_pubkey, r.generation) for r in rows if r.is_full_liquidation)
    return tuple(sorted(position for (position, _), count in full.items() if count > 1))
