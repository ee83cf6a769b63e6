"""Accounts to core values: the venue's own, and price accounts of whoever publishes them."""

from liqctl.chain.base58 import SYSTEM_PROGRAM
from liqctl.core.account import Account, Gone, Seen
from liqctl.core.events import ClockSeen
from liqctl.oracle.doves_price import DOVES_PROGRAM, decode_doves_price
from liqctl.oracle.legacy_price import decode_legacy_price, is_legacy_price
from liqctl.oracle.price_update import decode_price
from liqctl.ports import Venue

CLOCK_SYSVAR = "SysvarC1ock11111111111111111111111111111111"


def decode(venue: Venue, address: str, account: Account | None, slot: int) -> Seen:
    """Return what an address holds; an absent, emptied or handed-back account is Gone."""
    if account is None or account.lamports == 0 or account.owner == SYSTEM_PROGRAM:
        return Seen(address=address, slot=slot, value=Gone())
    if account.owner == venue.program_id:
        return Seen(address=address, slot=slot, value=venue.decode(account))
    if account.owner == DOVES_PROGRAM:
        return Seen(address=address, slot=slot, value=decode_doves_price(account))
    reader = decode_legacy_price if is_legacy_price(account.data) else decode_price
    return Seen(address=address, slot=slot, value=reader(account))


def decode_clock(account: Account | None) -> ClockSeen | None:
    """Return the cluster's time from the Clock sysvar, or None when the bytes are not it."""
    if account is None or len(account.data) < 40:
        return None
    slot = int.from_bytes(account.data[0:8], "little")
    timestamp = int.from_bytes(account.data[32:40], "little", signed=True)
    return ClockSeen(slot=slot, unix_timestamp=timestamp)
