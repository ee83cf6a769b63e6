"""Prices as Pyth leaves them on chain: PriceUpdateV2 accounts of the classic receiver."""

import struct
from functools import cache

from solders.pubkey import Pubkey

from liqctl.localnet.account import AccountState
from liqctl.localnet.paths import Quote
from liqctl.localnet.world import World
from liqctl.oracle.price_update import DISCRIMINATOR, RECEIVER_CLASSIC

EXPONENT = -8
_RECEIVER = Pubkey.from_string(RECEIVER_CLASSIC)
_PUSH_PROGRAM = Pubkey.from_string("pythWSnswVUd12oZpeFP8e9CVaEqJg25g1Vtc2biRsT")
_SHARD = bytes(2)
_FULLY_VERIFIED = 1
# Behind discriminator and write authority: verification, feed, price, confidence, exponent,
# publish time, previous publish time, EMA price, EMA confidence, slot; then one unused byte,
# because the account has room for the longer, partially verified form.
_BODY = struct.Struct("<B32sqQiqqqQQx")
_EMA_WEIGHT = 64


@cache
def price_account_of(feed: bytes) -> Pubkey:
    """Return the address of a feed's price account on mainnet (push program, shard 0)."""
    return Pubkey.find_program_address([_SHARD, feed], _PUSH_PROGRAM)[0]


class Publisher:
    """Writes the price account of one feed."""

    def __init__(self, world: World, feed: bytes) -> None:
        """Publish to this chain; nothing is written yet."""
        self._world = world
        self._feed = feed
        self._published_at = world.unix_ms // 1000
        self._ema_price_e8 = 0
        self._lamports = world.minimum_balance(len(DISCRIMINATOR) + 32 + _BODY.size)
        self.address = price_account_of(feed)

    def publish(self, quote: Quote) -> None:
        """Write a fully verified price of the cluster's present time and slot."""
        now_s = self._world.unix_ms // 1000
        previous_ema = self._ema_price_e8 or quote.price_e8
        self._ema_price_e8 = previous_ema + (quote.price_e8 - previous_ema) // _EMA_WEIGHT
        body = _BODY.pack(
            _FULLY_VERIFIED,
            self._feed,
            quote.price_e8,
            quote.confidence_e8,
            EXPONENT,
            now_s,
            self._published_at,
            self._ema_price_e8,
            quote.confidence_e8,
            self._world.slot,
        )
        self._published_at = now_s
        state = AccountState(
            lamports=self._lamports,
            data=DISCRIMINATOR + bytes(self.address) + body,
            owner=_RECEIVER,
        )
        self._world.set_account(self.address, state)
