"""Accepted prices by symbol, for two seconds; an expired or refused price is never served."""

from collections.abc import Iterator
from dataclasses import dataclass

from liqctl.core.price import PriceReading, PriceRefusal, PriceRules, confidence_bps, price_e6
from liqctl.core.price import refusal as refusal_of
from liqctl.errors import PriceError
from liqctl.ports import Clock

TTL_MS = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedPrice:
    """An accepted price: value in 1e-6 quote, and the slot at which its account was read.

    `age_s` is cluster time since publication, negative for a publish time ahead of the cluster;
    `cached_ms` is how long ago this host stored it.
    """

    symbol: str
    price_account: str
    price_e6: int
    confidence_bps: int
    publish_time: int
    age_s: int
    slot: int
    cached_ms: int


@dataclass(frozen=True, slots=True)
class _Stored:
    reading: PriceReading
    slot: int
    at_ns: int


class PriceCache:
    """The latest reading of each price account, judged anew whenever it is asked for.

    Several symbols may share an account; each has the rules of its own market.
    """

    def __init__(self, clock: Clock, *, ttl_ms: int = TTL_MS) -> None:
        """Keep readings for `ttl_ms`."""
        self._clock = clock
        self._ttl_ns = ttl_ms * 1_000_000
        self._followed: dict[str, tuple[str, PriceRules]] = {}
        self._stored: dict[str, _Stored] = {}

    def follow(self, symbol: str, price_account: str, rules: PriceRules) -> None:
        """Say which account prices a symbol, and under which rules; replaces what was said."""
        self._followed[symbol] = (price_account, rules)

    def put(self, reading: PriceReading, slot: int) -> bool:
        """Store a reading of its account; False when a newer slot is stored already."""
        known = self._stored.get(reading.address)
        if known is not None and known.slot > slot:
            return False
        self._stored[reading.address] = _Stored(reading, slot, self._clock.monotonic_ns())
        return True

    def forget(self, price_account: str) -> None:
        """Drop what is stored of an account that is gone or undecodable."""
        self._stored.pop(price_account, None)

    def price(self, symbol: str, now_s: int) -> CachedPrice:
        """Return the price of the symbol at the cluster time `now_s`.

        Raises:
            PriceError: an unknown symbol, nothing stored, expired, or refused by the rules; the
                message starts with the word of the reason.
        """
        if symbol not in self._followed:
            raise PriceError(f"unknown_symbol: no market prices {symbol}")
        address, rules = self._followed[symbol]
        stored = self._stored.get(address)
        if stored is None:
            raise PriceError(f"{PriceRefusal.MISSING}: nothing read from {address} for {symbol}")
        cached_ns = self._clock.monotonic_ns() - stored.at_ns
        if cached_ns >= self._ttl_ns:
            raise PriceError(f"price_expired: {symbol} was read {cached_ns // 1_000_000} ms ago")
        reading = stored.reading
        refused = refusal_of(reading, rules, now_s)
        if refused is not None:
            raise PriceError(f"{refused}: {symbol}, published at {reading.publish_time}")
        return CachedPrice(
            symbol=symbol,
            price_account=address,
            price_e6=price_e6(reading.mantissa, reading.exponent),
            confidence_bps=confidence_bps(reading),
            publish_time=reading.publish_time,
            age_s=now_s - reading.publish_time,
            slot=stored.slot,
            cached_ms=cached_ns // 1_000_000,
        )

    def usable(self, now_s: int) -> Iterator[CachedPrice]:
        """Yield every followed symbol's price that may be served now."""
        for symbol in self._followed:
            try:
                yield self.price(symbol, now_s)
            except PriceError:
                continue
