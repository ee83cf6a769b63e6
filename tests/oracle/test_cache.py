"""The price cache: two seconds, the newest slot, the rules of each market, and no default."""

from dataclasses import replace

import pytest

from liqctl.core.price import PriceReading, PriceRules
from liqctl.errors import PriceError
from liqctl.oracle.cache import PriceCache

NOW = 1_790_000_000
READING = PriceReading(
    address="account",
    owner="receiver",
    feed_id="ef",
    mantissa=15_000_000_000,
    exponent=-8,
    confidence=15_000_000,
    publish_time=NOW - 7,
    fully_verified=True,
    posted_slot=1,
)
RULES = PriceRules(owner="receiver", feed_id="ef", age_s_max=60, confidence_bps_max=100)


class HandClock:
    """A clock moved by the test."""

    def __init__(self) -> None:
        self.ms = 5_000

    def unix_ms(self) -> int:
        return NOW * 1_000

    def monotonic_ns(self) -> int:
        return self.ms * 1_000_000

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError


@pytest.fixture
def clock():
    return HandClock()


@pytest.fixture
def cache(clock):
    cache = PriceCache(clock)
    cache.follow("SOL-PERP", "account", RULES)
    return cache


def test_a_stored_price_is_served_with_slot_and_age(cache, clock):
    cache.put(READING, slot=100)
    clock.ms += 1_999

    price = cache.price("SOL-PERP", NOW)

    assert (price.price_e6, price.slot, price.age_s) == (150_000_000, 100, 7)
    assert (price.cached_ms, price.confidence_bps) == (1_999, 10)
    assert list(cache.usable(NOW)) == [price]


def test_after_two_seconds_nothing_is_served(cache, clock):
    cache.put(READING, slot=100)
    clock.ms += 2_000

    with pytest.raises(PriceError, match="price_expired"):
        cache.price("SOL-PERP", NOW)
    assert list(cache.usable(NOW)) == []


def test_a_price_that_ages_in_the_cache_is_refused_by_the_rules(cache):
    cache.put(replace(READING, publish_time=NOW - 60), slot=100)

    assert cache.price("SOL-PERP", NOW).age_s == 60
    with pytest.raises(PriceError, match="price_stale"):
        cache.price("SOL-PERP", NOW + 1)


def test_a_refused_reading_replaces_the_good_one(cache):
    cache.put(READING, slot=100)
    cache.put(replace(READING, fully_verified=False), slot=101)

    with pytest.raises(PriceError, match="price_not_fully_verified"):
        cache.price("SOL-PERP", NOW)


def test_an_older_slot_does_not_replace_a_newer_one(cache):
    assert cache.put(READING, slot=100)
    assert not cache.put(replace(READING, mantissa=1), slot=99)

    assert cache.price("SOL-PERP", NOW).price_e6 == 150_000_000


def test_an_unknown_symbol_has_no_price(cache):
    cache.put(READING, slot=100)

    with pytest.raises(PriceError, match="unknown_symbol"):
        cache.price("BTC-PERP", NOW)


def test_an_account_never_read_or_gone_has_no_price(cache):
    with pytest.raises(PriceError, match="price_missing"):
        cache.price("SOL-PERP", NOW)
    cache.put(READING, slot=100)
    cache.forget("account")
    with pytest.raises(PriceError, match="price_missing"):
        cache.price("SOL-PERP", NOW)


def test_two_markets_on_one_account_each_have_their_rules(cache):
    cache.follow("SOL-STRICT", "account", replace(RULES, confidence_bps_max=9))
    cache.put(READING, slot=100)

    assert [price.symbol for price in cache.usable(NOW)] == ["SOL-PERP"]
