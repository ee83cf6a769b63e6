"""One decision from the command line to its end, through the keeper's own executor."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from liqctl.core.account import Seen
from liqctl.core.events import Decision, OutcomeSeen, Result
from liqctl.core.health import Assessment
from liqctl.core.position import Position
from liqctl.errors import GuardError, PriceError, TransactionError
from liqctl.keeper.service import Keeper

ENDING_S_MAX = 180.0

TEXTS = {
    Result.LANDED: "liquidated",
    Result.RECOVERED: "healthy again; nothing was sent",
    Result.GONE: "closed or liquidated by somebody else; nothing was sent",
    Result.LOST_RACE: "somebody else was first; the transaction failed and cost its fee",
    Result.REFUSED: "refused",
    Result.FAILED: "failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How a decision ended, in words and for scripts."""

    position: str
    result: Result
    reason: str
    signature: str | None
    slot: int | None
    reward: int | None

    @property
    def text(self) -> str:
        """One line for a person."""
        told = f"{TEXTS[self.result]}"
        if self.result in {Result.REFUSED, Result.FAILED}:
            told = f"{told}: {self.reason}"
        return told + (f" (signature {self.signature})" if self.signature else "")

    def as_json(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)

    def raise_for_result(self) -> None:
        """Return when the position is liquidated or needs no liquidation any more.

        Raises:
            PriceError: there is no usable price.
            GuardError: a limit of ours refused.
            TransactionError: it was rejected, lost the race or was not confirmed.
        """
        match self.result:
            case Result.LANDED | Result.RECOVERED | Result.GONE:
                return
            case Result.REFUSED if self.reason.startswith("price_"):
                raise PriceError(f"{self.text}; the program would refuse as well")
            case Result.REFUSED:
                raise GuardError(self.text)
            case _:
                raise TransactionError(self.text)


async def carry_out(
    keeper: Keeper,
    position: Position,
    assessment: Assessment,
    view: Mapping[str, Seen],
    *,
    max_size: int | None = None,
) -> Finish:
    """Liquidate one position and wait for the end of its attempt.

    Raises:
        RpcError: the node could not be read; nothing was sent.
        StoreError: nothing was sent that is not recorded.
        TransactionError: it is still not final after three minutes; it stays on record.
    """
    await keeper.holds.look()
    decision = Decision(position=position, assessment=assessment, tick_ns=0, tries=0)
    execution = await keeper.executor.run(decision, view, max_size=max_size)
    if execution.live is None:
        return _finish(execution.outcome, decision, None)
    live = execution.live
    settling = asyncio.create_task(keeper.settler.run(), name="settler")
    ending = asyncio.create_task(live.ended.wait(), name="ending")
    try:
        done, _ = await asyncio.wait(
            {settling, ending}, timeout=ENDING_S_MAX, return_when=asyncio.FIRST_COMPLETED
        )
        if settling in done:
            await settling
        if ending not in done:
            raise TransactionError(
                f"{live.attempt.signature} is not final after {ENDING_S_MAX:.0f} seconds; it is on "
                "record, and `liqctl watch` on the same database will settle it"
            )
    finally:
        settling.cancel()
        ending.cancel()
    return _finish(live.outcome, decision, live.attempt.signature)


def _finish(outcome: OutcomeSeen | None, decision: Decision, signature: str | None) -> Finish:
    ended = outcome or OutcomeSeen(position=decision.position.address, result=Result.FAILED)
    landed = ended.result is Result.LANDED
    return Finish(
        position=ended.position,
        result=ended.result,
        reason=ended.reason,
        signature=signature,
        slot=ended.slot or None,
        reward=decision.assessment.reward if landed else None,
    )
