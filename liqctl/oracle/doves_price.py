"""Price accounts of the Doves program, in both its forms: bytes to a reading, or why not."""

import struct

from liqctl.core.account import Account, Refusal, Undecodable
from liqctl.core.price import PriceReading, PriceSource

DOVES_PROGRAM = "DoVEsk76QybCEHQGzkvYPWLQu9gzNoZZZt3TPiL597e"

_AGGREGATED = bytes.fromhex("70f98bd9d7d0f936")
_SINGLE = bytes.fromhex("bd67fc179823f39c")
# Where the price stands; the aggregated form names its Pyth feed before it.
_PLACES = {_AGGREGATED: 168, _SINGLE: 73}
_FEED_AT = 136
_BODY = struct.Struct("<Qbq")


def decode_doves_price(account: Account) -> PriceReading | Undecodable:
    """Return the published price; these accounts tell no confidence, which is 0 then."""
    blob = account.data
    if account.owner != DOVES_PROGRAM:
        return _undecodable(Refusal.WRONG_OWNER, f"owned by {account.owner}")
    head = blob[:8]
    if head not in _PLACES:
        return _undecodable(Refusal.WRONG_DISCRIMINATOR, f"starts with {head.hex()!r}")
    at = _PLACES[head]
    if len(blob) < at + _BODY.size:
        return _undecodable(Refusal.WRONG_LENGTH, f"{len(blob)} bytes")
    price, exponent, published = _BODY.unpack_from(blob, at)
    return PriceReading(
        address=account.address,
        owner=account.owner,
        feed_id=blob[_FEED_AT : _FEED_AT + 32].hex() if head == _AGGREGATED else "",
        mantissa=price,
        exponent=exponent,
        confidence=0,
        publish_time=published,
        fully_verified=True,
        posted_slot=0,
        source=PriceSource.DOVES,
    )


def _undecodable(reason: Refusal, detail: str) -> Undecodable:
    return Undecodable(reason=reason, detail=f"no Doves price: {detail}")
