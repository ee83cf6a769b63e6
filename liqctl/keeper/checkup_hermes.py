"""Whether Hermes answers, with this key and for the feeds that the markets name."""

from liqctl.chain.client import Chain
from liqctl.core.account import Seen
from liqctl.core.guards import Limits
from liqctl.core.position import Market
from liqctl.errors import LiqctlError, RpcError
from liqctl.keeper.decode import decode
from liqctl.keeper.doubting import guard_of
from liqctl.keeper.finding import Check, doubtful, passed, refused
from liqctl.oracle.hermes_client import FEEDS_MAX, HermesClient
from liqctl.ports import Venue

# SOL/USD, which every such service has; asked for where no market names a feed.
ANY_FEED = "ef0d8b6fda2ceba41da15d4095d1da392a0d2f8ed0c6c7bc0f4cfac8c280b56d"
NAME = "hermes"


async def hermes_check(client: HermesClient, chain: Chain, venue: Venue, limits: Limits) -> Check:
    """Return how the service answers; where the node does not, it is asked for any feed."""
    try:
        wanted = await _wanted(chain, venue, limits)
    except RpcError:
        wanted = ()
    try:
        told = await client.latest(wanted[:FEEDS_MAX] or (ANY_FEED,))
    except LiqctlError as error:
        return refused(NAME, error, hint="look at hermes_url and hermes_api_key_file")
    if not wanted:
        return passed(NAME, f"{client.shown_url} answers; no market here names a feed of it")
    missing = [*told.unknown, *told.faulty]
    found = f"{client.shown_url} has {len(told.readings)} of {len(wanted)} feeds"
    if missing:
        return doubtful(NAME, found, f"none of {', '.join(missing)}; see feed_id of a market")
    return passed(NAME, found)


async def _wanted(chain: Chain, venue: Venue, limits: Limits) -> tuple[str, ...]:
    """Return the feeds that the markets of the program name, as the chain has them now.

    Raises:
        RpcError: the node did not answer.
    """
    snapshot = await chain.program_accounts(venue.program_id, venue.discriminators()["market"])
    seen = [decode(venue, one.address, one, snapshot.slot) for one in snapshot.accounts]
    markets = [one.value for one in seen if isinstance(one.value, Market)]
    if not markets:
        return ()
    answer = await chain.accounts([*dict.fromkeys(one.price_account for one in markets)])
    view: dict[str, Seen] = {one.address: one for one in seen}
    for address, account in answer.by_address.items():
        view[address] = decode(venue, address, account, answer.slot)
    guard = guard_of(venue, limits)
    guard.attend(markets, view)
    return guard.wanted()
