"""The consistent fresh read before a decision is carried out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from liqctl.chain.client import Chain
from liqctl.core.account import Account, Seen
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
    *,
    min_context_slot: int = 0,
) -> FreshRead:
    """Return the position and all it depends on as one slot shows them, with the verdict.

    The slot is not before `min_context_slot`, nor before what the view shows.

    Raises:
        RpcError: the node did not answer, or without the Clock sysvar.
    """
    known = view.get(position.address)
    addresses = [position.address, *venue.dependencies(position, view)]
    answer = await chain.accounts(
        [*addresses, CLOCK_SYSVAR, *beside],
        min_context_slot=max(min_context_slot, known.slot if known is not None else 0) or None,
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
