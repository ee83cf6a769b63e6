"""Push feeds: where the push programs keep the price account of a feed."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from functools import lru_cache

from solders.pubkey import Pubkey

from liqctl.core.price import PriceReading, PriceSource
from liqctl.oracle.price_update import RECEIVER_CLASSIC, RECEIVER_UPGRADED

PUSH_CLASSIC = "pythWSnswVUd12oZpeFP8e9CVaEqJg25g1Vtc2biRsT"
PUSH_UPGRADED = "pyt2F414BA6dPttK6RddPZUdHfapoBN24GL5wbrPCou"
# The owner of an account to the program that keeps it up to date.
PUSH_PROGRAM_OF = {RECEIVER_CLASSIC: PUSH_CLASSIC, RECEIVER_UPGRADED: PUSH_UPGRADED}

SPONSORED_SHARDS = (0,)


@lru_cache(maxsize=4096)
def push_feed_address(feed_id: str, *, push_program: str = PUSH_CLASSIC, shard: int = 0) -> str:
    """Return the address of a feed's price account.

    `feed_id` is 64 hexadecimal digits, `shard` fits 16 bits.

    >>> push_feed_address("ef0d8b6fda2ceba41da15d4095d1da392a0d2f8ed0c6c7bc0f4cfac8c280b56d")
    '7UVimffxr9ow1uXYxsr4LHAcV58mLzhmwaeKvJ1pjLiE'
    """
    seeds = [shard.to_bytes(2, "little"), bytes.fromhex(feed_id)]
    return str(Pubkey.find_program_address(seeds, Pubkey.from_string(push_program))[0])


@lru_cache(maxsize=4096)
def push_feed_accounts(feed_id: str) -> Mapping[str, str]:
    """Return the accounts where the sponsored push feeds keep a feed, each with its owner."""
    return {
        push_feed_address(feed_id, push_program=program, shard=shard): owner
        for owner, program in PUSH_PROGRAM_OF.items()
        for shard in SPONSORED_SHARDS
    }


def with_push_source(
    reading: PriceReading, *, shards: Collection[int] = SPONSORED_SHARDS
) -> PriceReading:
    """Return a price update as a push feed if it stands where its push program keeps the feed.

    What the account says about itself is not asked: anybody can write that, and only the push
    program can sign for the address.
    """
    program = PUSH_PROGRAM_OF.get(reading.owner)
    if reading.source is not PriceSource.PRICE_UPDATE or program is None:
        return reading
    feed = reading.feed_id
    addresses = (push_feed_address(feed, push_program=program, shard=each) for each in shards)
    if reading.address not in addresses:
        return reading
    return replace(reading, source=PriceSource.PUSH_FEED)
