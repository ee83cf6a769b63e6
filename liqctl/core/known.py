"""What has been seen of a venue: positions, markets and prices, and what there is to ask of them."""

from collections import Counter
from collections.abc import Sequence

from liqctl.core.account import Decoded, Refusal, Seen
from liqctl.core.book import Book
from liqctl.core.cluster_time import ClusterTime
from liqctl.core.events import Coverage
from liqctl.core.health import Assessment
from liqctl.core.judge import Judge
from liqctl.core.position import Market, Position
from liqctl.core.price_guard import PriceGuard


class Known:
    """Holds what was seen; a position is in the book by its bound as soon as its market is known."""

    def __init__(self, judge: Judge, book: Book, prices: PriceGuard) -> None:
        """Know nothing; nothing is judged before the first clock."""
        self.view: dict[str, Seen] = {}
        self.prices = prices
        self.collateral_total = 0
        self._judge = judge
        self._book = book
        self._time = ClusterTime()
        self._positions: dict[str, Position] = {}
        self._members: dict[str, set[str]] = {}
        self._markets_of: dict[str, set[str]] = {}
        self._unjudged: dict[str, str] = {}
        self._undecodable: dict[str, str] = {}
        self._nameless = 0

    @property
    def slot(self) -> int:
        """The newest slot of the cluster that is believed."""
        return self._time.slot

    @property
    def now_s(self) -> int:
        """The cluster's own time in unix seconds."""
        return self._time.unix_s

    def coverage(self) -> Coverage:
        """Return how many of the known positions can be judged, and why the others cannot."""
        unknown: Counter[str] = Counter(self._undecodable.values())
        if self._nameless:
            unknown[Refusal.MALFORMED.value] += self._nameless
        evaluated, blind = 0, set[str]()
        for market, members in self._members.items():
            price = self._price(market)
            if isinstance(price, str):
                unknown[price] += len(members)
                blind.add(market)
            else:
                evaluated += len(members)
        for address, reason in self._unjudged.items():
            if self._positions[address].market not in blind:
                unknown[reason] += 1
                evaluated -= 1
        total = evaluated + sum(unknown.values())
        return Coverage(positions=total, evaluated=evaluated, unknown=dict(unknown))

    @property
    def positions(self) -> int:
        """How many positions are held."""
        return len(self._positions)

    def position(self, address: str) -> Position | None:
        """Return a held position."""
        return self._positions.get(address)

    def addresses(self) -> list[str]:
        """Return the addresses of all held positions."""
        return list(self._positions)

    def assess(self, position: Position) -> Assessment:
        """Return the verdict on a held position with what is known now."""
        return self._judge.assess(position, self.view, self.now_s)

    def closest(self, limit: int) -> list[Assessment]:
        """Return the verdicts of the positions nearest to their line, least health first."""
        found: list[Assessment] = []
        for market in self._members:
            state, price = self._market(market), self._price(market)
            if state is None or isinstance(price, str):
                continue
            for address in self._book.closest(state.price_account, price, limit):
                position = self._positions.get(address)
                if position is not None and position.market == market:
                    found.append(self.assess(position))
        return sorted(found, key=lambda a: (a.health, a.position))[:limit]

    def nearest(self, limit: int) -> list[str]:
        """Return positions near their line, each price account with an equal share of the limit."""
        priced = self._priced()
        share = -(-limit // max(len(priced), 1))
        return [
            address
            for account, price in priced.items()
            for address in self._book.closest(account, price, share)
        ]

    def near(self, within_bps: Sequence[int]) -> list[int]:
        """Return how many positions have their bound at most so far from the price, or behind it."""
        counts = [self._book.near(*priced, within_bps) for priced in self._priced().items()]
        return [sum(count) for count in zip(*counts, strict=True)] or [0] * len(within_bps)

    def _priced(self) -> dict[str, int]:
        """Return the price accounts that a market can use, with the price."""
        found: dict[str, int] = {}
        for account, markets in self._markets_of.items():
            usable = [p for m in sorted(markets) if not isinstance(p := self._price(m), str)]
            if usable:
                found[account] = usable[0]
        return found

    def markets(self) -> list[tuple[Market, int | str]]:
        """Return every market seen with its mark price or the word why there is none."""
        linked = sorted(market for markets in self._markets_of.values() for market in markets)
        known = [market for each in linked if (market := self._market(each)) is not None]
        return [(market, self._price(market.address)) for market in known]

    def mark_prices_e6(self) -> dict[str, int]:
        """Return the usable mark prices by symbol."""
        found: dict[str, int] = {}
        for address in (market for markets in self._markets_of.values() for market in markets):
            market, price = self._market(address), self._price(address)
            if market is not None and not isinstance(price, str):
                found[market.symbol] = price
        return found

    def _hold(self, position: Position) -> None:
        old = self._positions.get(position.address)
        if old is not None and old.market != position.market:
            self._members[old.market].discard(position.address)
        self.collateral_total += position.collateral - (old.collateral if old is not None else 0)
        self._positions[position.address] = position
        self._members.setdefault(position.market, set()).add(position.address)
        self._index(position)

    def _index(self, position: Position) -> None:
        market = self._market(position.market)
        if market is not None:
            bound = self._judge.bound_price_e6(position, self.view)
            self._book.put(position.address, market.price_account, position.side, bound)

    def _link(self, market: Market, before: Decoded | None) -> None:
        """Follow a market's price account and move its bounds, where these can have changed."""
        if isinstance(before, Market) and (before.price_account, before.bound_terms) == (
            market.price_account,
            market.bound_terms,
        ):
            return
        for markets in self._markets_of.values():
            markets.discard(market.address)
        self._markets_of.setdefault(market.price_account, set()).add(market.address)
        self.prices.link(market)
        for address in self._members.get(market.address, ()):
            self._index(self._positions[address])

    def _market(self, address: str) -> Market | None:
        seen = self.view.get(address)
        return seen.value if seen is not None and isinstance(seen.value, Market) else None

    def _price(self, market: str) -> int | str:
        state = self._market(market)
        if state is None:
            return "market_missing"
        return self._judge.mark_price(state, self.view, self.now_s)
