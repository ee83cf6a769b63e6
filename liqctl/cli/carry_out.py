"""One decision from the command line to its end, through the keeper's own executor."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

from liqctl.cli.arithmetic import PRICE_DIGITS, SIZE_DIGITS, size_digits
from liqctl.cli.reasons import explained, only_rent
from liqctl.cli.render import decimal, quote
from liqctl.core.account import Seen
from liqctl.core.events import Cause, Decision, OutcomeSeen, Result
from liqctl.core.guards import Limits, blocker
from liqctl.core.health import Assessment, Kind
from liqctl.core.instruction import Outcome
from liqctl.core.position import Position
from liqctl.core.price import PriceRefusal
from liqctl.core.record import Liquidation
from liqctl.errors import GuardError, LiqctlError, PriceError, TransactionError
from liqctl.keeper.live import Live
from liqctl.keeper.service import Keeper
from liqctl.keeper.storage import StoreThread
from liqctl.ports import SystemClock

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
    """How a decision ended, in words and for scripts; the figures are those of the chain.

    `kind` to `bad_debt` are None unless it landed: size in the venue's unit, money in 1e-6 quote.
    `returns_lamports` is what the program would have paid beside a reward, where it was asked.
    """

    position: str
    result: Result
    reason: str
    signature: str | None
    slot: int | None
    kind: Kind | None = None
    closed_size: int | None = None
    price_e6: int | None = None
    reward: int | None = None
    bad_debt: int | None = None
    size_digits: int = SIZE_DIGITS
    returns_lamports: int | None = None

    @property
    def text(self) -> str:
        """One line for a person."""
        told = TEXTS[self.result]
        if self.reason == "rent_below_cost" and self.returns_lamports is not None:
            told = f"{told}: the program {only_rent(self.returns_lamports)}, below what it costs"
        elif self.result in {Result.REFUSED, Result.FAILED}:
            told = f"{told}: {explained(self.reason)}"
        elif self.closed_size is not None and self.price_e6 is not None:
            told = (
                f"{told} ({self.kind}): closed {decimal(self.closed_size, self.size_digits)} at "
                f"{decimal(self.price_e6, PRICE_DIGITS)}, reward {quote(self.reward or 0)}, "
                f"bad debt {quote(self.bad_debt or 0)}"
            )
        return told + (f" (signature {self.signature})" if self.signature else "")

    def as_json(self) -> dict[str, object]:
        """Return plain values."""
        return asdict(self)

    def error(self) -> LiqctlError | None:
        """Return None when the position is liquidated or needs no liquidation any more.

        PriceError: there is no usable price; GuardError: a limit of ours refused;
        TransactionError: it was rejected, lost the race or was not confirmed.
        """
        of_price = self.reason in set(PriceRefusal) or self.reason.startswith(f"{Outcome.ORACLE}:")
        match self.result:
            case Result.LANDED | Result.RECOVERED | Result.GONE:
                return None
            case Result.REFUSED | Result.FAILED if of_price and self.signature is None:
                return PriceError(self.text)
            case Result.REFUSED:
                return GuardError(self.text)
            case _:
                return TransactionError(self.text)


def refused(assessment: Assessment, limits: Limits) -> Finish | None:
    """Return the end of a verdict that must not be sent anyway, before anybody is asked."""
    reason = blocker(assessment, limits)
    return None if reason is None else _refusal(assessment, reason)


def _refusal(assessment: Assessment, reason: str) -> Finish:
    return Finish(
        position=assessment.position,
        result=Result.REFUSED,
        reason=reason,
        signature=None,
        slot=assessment.slot,
    )


def failed(position: str, error: LiqctlError) -> Finish:
    """Return the end of a decision that an error kept from being sent."""
    return Finish(
        position=position, result=Result.FAILED, reason=str(error), signature=None, slot=None
    )


async def carry_out(
    keeper: Keeper,
    store: StoreThread,
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
        TransactionError: it is still not final after three minutes, or another keeper settles it
            now; it stays on record.
    """
    exclusions = await store.run(store.store.exclusions)
    now_ms = SystemClock().unix_ms()
    for exclusion in exclusions:
        if exclusion.position == position.address and exclusion.holds(now_ms):
            return _refusal(assessment, exclusion.text)
    await keeper.holds.look()
    decision = Decision(position=position, assessment=assessment, tick_ns=0, tries=0)
    execution = await keeper.executor.run(decision, view, max_size=max_size)
    if execution.live is None:
        trial = execution.trial
        returns = None if trial is None else trial.draft.plan.returns_lamports
        return replace(_finish(execution.outcome, decision, None), returns_lamports=returns)
    live = execution.live
    await _until_ended(keeper, live)
    rows = await store.run(store.store.recent_liquidations, position=position.address)
    signature = live.attempt.signature
    row = next((row for row in rows if row.signature == signature), None)
    outcome = live.outcome
    if outcome is not None and outcome.cause is Cause.BUSY:
        outcome = _settled_elsewhere(live, row)
    return _finish(outcome, decision, signature, row)


def _settled_elsewhere(live: Live, row: Liquidation | None) -> OutcomeSeen:
    """Return the end of an attempt that another keeper took over when its lease had run out.

    Raises:
        TransactionError: it has not liquidated, or not yet.
    """
    if row is None:
        raise TransactionError(
            f"{live.attempt.signature} was sent; another keeper on the same database has taken it "
            "over meanwhile, and `liqctl history --attempts` tells how it ends"
        )
    return OutcomeSeen(
        position=row.position_pubkey, result=Result.LANDED, reason="landed", slot=row.slot
    )


async def _until_ended(keeper: Keeper, live: Live) -> None:
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
        await asyncio.wait({settling, ending})


def _finish(
    outcome: OutcomeSeen | None,
    decision: Decision,
    signature: str | None,
    row: Liquidation | None = None,
) -> Finish:
    ended = outcome or OutcomeSeen(position=decision.position.address, result=Result.FAILED)
    base = Finish(
        position=ended.position,
        result=ended.result,
        reason=ended.reason,
        signature=signature,
        slot=ended.slot or None,
    )
    if row is None:
        return base
    return replace(
        base,
        kind=Kind.FULL if row.is_full_liquidation else Kind.PARTIAL,
        closed_size=row.liquidated_size,
        price_e6=row.liquidation_price,
        reward=row.liquidator_reward,
        bad_debt=row.bad_debt,
        size_digits=size_digits(row.venue),
    )
