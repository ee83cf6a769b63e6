"""Whether a program on the chain is the one that its venue was written for."""

from liqctl.chain.client import Chain
from liqctl.core.account import Gone, Undecodable
from liqctl.errors import LayoutError
from liqctl.keeper.decode import decode
from liqctl.ports import Venue
from liqctl.venues.confirming import DemandsAccounts


async def check_version(chain: Chain, venue: Venue) -> None:
    """Refuse a program of another version than the venue was written for, where it can tell.

    Raises:
        LayoutError: which account is not as it should be.
        RpcError: the node did not answer.
    """
    if not isinstance(venue, DemandsAccounts):
        return
    answer = await chain.accounts(venue.demanded())
    for address, account in answer.by_address.items():
        value = decode(venue, address, account, answer.slot).value
        if isinstance(value, Undecodable | Gone):
            what = value.detail if isinstance(value, Undecodable) else "there is none"
            raise LayoutError(
                f"the program {venue.program_id} is of another version than the {venue.id} venue "
                f"was written for: account {address}, {what}; look for a newer liqctl"
            )
