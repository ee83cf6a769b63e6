"""PriceUpdateV2 accounts of the Pyth receiver: bytes to a reading, or the reason why not."""

import struct

from liqctl.core.account import Account, Refusal, Undecodable
from liqctl.core.price import PriceReading

RECEIVER_CLASSIC = "rec5EKMGg6MxZYaMdyBfgwp4d5rB9T1VQH5pJv5LtFJ"
RECEIVER_UPGRADED = "rec2HHDDnjLfj4kE7VyEtFA1HPGQLK33259532cRyHp"
RECEIVERS = frozenset({RECEIVER_CLASSIC, RECEIVER_UPGRADED})

DISCRIMINATOR = bytes.fromhex("22f123639d7ef4cd")

_TAG_AT = 40
_PARTIAL, _FULL = 0, 1
# price, confidence, exponent, publish time, previous publish time, EMA, EMA confidence, slot
_BODY = struct.Struct("<32sqQiqqqQQ")


def decode_price(account: Account) -> PriceReading | Undecodable:
    """Return the published price of a PriceUpdateV2 account, whoever owns it.

    Whether the owner is the right one is for the rules of the market to say: a program may read
    prices of its own receiver. Bytes that are no price under an owner that is no Pyth receiver
    are reported as a wrong owner.
    """
    found = account.data
    if found[:8] != DISCRIMINATOR:
        return _undecodable(account, Refusal.WRONG_DISCRIMINATOR, "no PriceUpdateV2")
    if len(found) < _TAG_AT + 1 + _BODY.size:
        return _undecodable(account, Refusal.WRONG_LENGTH, f"{len(found)} bytes")
    tag = found[_TAG_AT]
    if tag not in {_PARTIAL, _FULL}:
        return _undecodable(account, Refusal.ABSURD_VALUE, f"verification level {tag}")
    # Partial carries a number of signatures, which moves everything behind it by one byte.
    body_at = _TAG_AT + (1 if tag == _FULL else 2)
    if len(found) < body_at + _BODY.size:
        return _undecodable(account, Refusal.WRONG_LENGTH, f"{len(found)} bytes")
    feed_id, mantissa, confidence, exponent, published, _, _, _, slot = _BODY.unpack_from(
        found, body_at
    )
    return PriceReading(
        address=account.address,
        owner=account.owner,
        feed_id=feed_id.hex(),
        mantissa=mantissa,
        exponent=exponent,
        confidence=confidence,
        publish_time=published,
        fully_verified=tag == _FULL,
        posted_slot=slot,
    )


def _undecodable(account: Account, reason: Refusal, detail: str) -> Undecodable:
    if account.owner not in RECEIVERS:
        reason = Refusal.WRONG_OWNER
    return Undecodable(reason=reason, detail=f"{detail}, owned by {account.owner}")
