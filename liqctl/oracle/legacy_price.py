"""Legacy Pyth price accounts (version 2): bytes to a reading, or the reason why not."""

import struct

from liqctl.core.account import Account, Refusal, Undecodable
from liqctl.core.price import PriceReading, PriceSource

LEGACY_OWNER = "FsJ3A3u2vn5cTVofAjvy6y5kwABJAqYWpe4975bi2epH"
ACCOUNT_SIZE = 3_312

_MAGIC = b"\xd4\xc3\xb2\xa1"
_VERSION, _PRICE_ACCOUNT = 2, 3
_TRADING = 1
# version, account type, exponent, EMA, its confidence, timestamp, product, previous price,
# confidence and timestamp, aggregate price, confidence, status, slot
_BODY = struct.Struct("<4xII8xi24xq16xQ16xq8x32s40xqQqqQI4xQ")


def is_legacy_price(blob: bytes) -> bool:
    """Return whether the bytes start as accounts of the legacy oracle program do."""
    return blob[:4] == _MAGIC


def decode_legacy_price(account: Account) -> PriceReading | Undecodable:
    """Return the published price of a legacy price account, whoever owns it.

    While the aggregate is not trading the price is the previous one, with its confidence and
    time; the moving average is of the same time. `feed_id` is the product's address in hex. The
    moving average's confidence is read as unsigned, as the programs do.
    """
    blob = account.data
    if not is_legacy_price(blob):
        return _undecodable(Refusal.WRONG_DISCRIMINATOR, "no legacy price")
    if len(blob) < ACCOUNT_SIZE:
        return _undecodable(Refusal.WRONG_LENGTH, f"{len(blob)} bytes")
    fields = _BODY.unpack_from(blob)
    version, kind, exponent, ema, ema_confidence, at, product, *published = fields
    if (version, kind) != (_VERSION, _PRICE_ACCOUNT):
        return _undecodable(Refusal.ABSURD_VALUE, f"version {version}, account type {kind}")
    old, old_confidence, old_at, price, confidence, status, slot = published
    if status != _TRADING:
        price, confidence, at = old, old_confidence, old_at
    return PriceReading(
        address=account.address,
        owner=account.owner,
        feed_id=product.hex(),
        mantissa=price,
        exponent=exponent,
        confidence=confidence,
        publish_time=at,
        fully_verified=True,
        posted_slot=slot,
        source=PriceSource.LEGACY,
        ema_mantissa=ema,
        ema_confidence=ema_confidence,
    )


def _undecodable(reason: Refusal, detail: str) -> Undecodable:
    return Undecodable(reason=reason, detail=detail)
