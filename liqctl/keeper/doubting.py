"""The guard of prices for a venue, and one look at what it compares a price with."""

from collections.abc import Mapping
from dataclasses import dataclass

import structlog

from liqctl.chain.client import Chain
from liqctl.core.account import Seen
from liqctl.core.guards import Limits
from liqctl.core.position import Market, Position
from liqctl.core.price import PriceReading
from liqctl.core.price_guard import PriceGuard
from liqctl.core.status import SourceStatus
from liqctl.errors import HermesError
from liqctl.keeper.decode import decode
from liqctl.keeper.markets import sources_of
from liqctl.oracle.hermes_client import FEEDS_MAX, HermesClient
from liqctl.oracle.push_feed import push_feed_accounts
from liqctl.ports import Venue
from liqctl.venues.confirming import facts_for

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubts:
    """Every source of a position's price, and what they say against liquidating it, if anything."""

    sources: tuple[SourceStatus, ...] = ()
    doubt: str | None = None


def guard_of(venue: Venue, limits: Limits) -> PriceGuard:
    """Return a guard that knows the venue's own rule for the confidence, and every push feed."""
    return PriceGuard(
        venue,
        limits,
        program_decides=facts_for(venue).decides_confidence,
        push_feeds=push_feed_accounts,
    )


async def look_beside(
    guard: PriceGuard,
    venue: Venue,
    chain: Chain,
    hermes: HermesClient | None,
    view: Mapping[str, Seen],
    now_s: int,
) -> None:
    """Take in once what the terms of the markets in a view name beside the program's accounts.

    Raises:
        RpcError: the node did not answer. A price service that does not is only logged.
    """
    guard.attend([one.value for one in view.values() if isinstance(one.value, Market)], view)
    if guard.push_accounts:
        answer = await chain.accounts(sorted(guard.push_accounts))
        for address, account in answer.by_address.items():
            value = decode(venue, address, account, answer.slot).value
            if isinstance(value, PriceReading):
                guard.push(value, now_s)
    wanted = guard.wanted()[:FEEDS_MAX]
    if hermes is None or not wanted:
        return
    try:
        for reading in (await hermes.latest(wanted)).readings:
            guard.hear(reading, now_s)
    except HermesError as error:
        log.warning("hermes_down", reason=str(error))


def doubts_of(
    guard: PriceGuard, position: Position, view: Mapping[str, Seen], now_s: int
) -> Doubts:
    """Return what the sources of a position's price say, taken to be liquidatable in the view."""
    seen = view.get(position.market)
    if seen is None or not isinstance(seen.value, Market):
        return Doubts()
    return Doubts(
        sources=sources_of(guard.choice(seen.value, view, now_s)),
        doubt=guard.objection(position, view, now_s),
    )
