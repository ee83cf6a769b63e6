"""The consistent fresh read before a decision is carried out, and what speaks against it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from liqctl.chain.client import Chain
from liqctl.core.account import Account, Gone, Seen
from liqctl.core.events import Decision, OutcomeSeen, Result
from liqctl.core.guards import Limits, blocker
from liqctl.core.health import Assessment
from liqctl.core.position import Position
from liqctl.errors import RpcMalformed
from liqctl.keeper.decode import CLOCK_SYSVAR, decode, decode_clock
from liqctl.ports import Venue


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshRead:
    """Position, dependencies and cluster time of one slot, with the verdict on them.

    `position` and `assessment` are None when the address holds no position any more. `beside`
    are the accounts that were asked for beside these.
    """

    slot: int
    now_s: int
    view: Mapping[str, Seen]
    position: Position | None
    assessment: Assessment | None
    beside: Mapping[str, Account | None]


async def read_fresh(
    venue: Venue,
    chain: Chain,
    position: Position,
    view: Mapping[str, Seen],
    beside: Sequence[str] = (),
) -> FreshRead:
    """Return the position and all it depends on as one slot shows them, with the verdict.

    Raises:
        RpcError: the node did not answer, or without the Clock sysvar.
    """
    known = view.get(position.address)
    addresses = [position.address, *venue.dependencies(position, view)]
    answer = await chain.accounts(
        [*addresses, CLOCK_SYSVAR, *beside],
        min_context_slot=known.slot if known is not None else None,
    )
    time = decode_clock(answer.by_address.get(CLOCK_SYSVAR))
    if time is None:
        raise RpcMalformed("the node did not return the Clock sysvar; try another node")
    fresh = {
        address: decode(venue, address, answer.by_address.get(address), answer.slot)
        for address in addresses
    }
    held = fresh[position.address].value
    current = held if isinstance(held, Position) else None
    return FreshRead(
        slot=answer.slot,
        now_s=time.unix_timestamp,
        view=fresh,
        position=current,
        assessment=venue.assess(current, fresh, time.unix_timestamp) if current else None,
        beside={address: answer.by_address.get(address) for address in beside},
    )


def objection(decision: Decision, read: FreshRead, limits: Limits) -> OutcomeSeen | None:
    """Return the outcome when the fresh read does not confirm the decision, else None."""
    address = decision.position.address

    def stop(result: Result, reason: str) -> OutcomeSeen:
        return OutcomeSeen(position=address, result=result, reason=reason, slot=read.slot)

    if read.position is None or read.assessment is None:
        gone = isinstance(read.view[address].value, Gone)
        return stop(Result.GONE, "gone") if gone else stop(Result.REFUSED, "layout")
    if read.position.generation != decision.position.generation:
        return stop(Result.GONE, "reopened")
    verdict = read.assessment
    if verdict.liquidatable is False:
        return stop(Result.RECOVERED, "healthy")
    if verdict.liquidatable is None:
        return stop(Result.REFUSED, verdict.unknown_reason or "unknown")
    blocked = blocker(verdict, limits)
    return stop(Result.REFUSED, blocked) if blocked is not None else None
