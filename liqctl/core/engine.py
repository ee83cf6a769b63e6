"""The engine: accounts and outcomes in, decisions out. Synchronous, pure, the only owner of state."""

from collections import Counter
from collections.abc import Mapping
from typing import Protocol, assert_never

from liqctl.core.account import Decoded, Gone, Refusal, Seen, Undecodable, VenueState
from liqctl.core.book import Book
from liqctl.core.cluster_time import ClusterTime, Reading
from liqctl.core.events import (
    AccountsSeen,
    Cause,
    CheckDue,
    ClockSeen,
    Coverage,
    Decision,
    Dequeued,
    Event,
    ExclusionsSeen,
    FundMoved,
    Notice,
    Ordered,
    OutcomeSeen,
    PriceMoved,
    Queued,
    Result,
    SnapshotSeen,
    Wanted,
)
from liqctl.core.health import Assessment
from liqctl.core.insurance import InsuranceState
from liqctl.core.jump import Trail
from liqctl.core.position import Market, Position
from liqctl.core.price import PriceReading
from liqctl.core.queue import NEVER_MS, Queue
from liqctl.core.record import DROPPED, Exclusion, QueueOrder

JUMP_BPS_MAX = 1_000
FOREIGN = frozenset({Refusal.WRONG_OWNER, Refusal.WRONG_DISCRIMINATOR})
# What the position itself is to blame for; money that was paid in vain counts as well.
OWN_FAULTS = frozenset(
    {Cause.NONE, Cause.SETUP, Cause.LAYOUT, Cause.RETRY, Cause.BUG, Cause.EXPIRED}
)


class Judge(Protocol):
    """What the engine asks a venue."""

    def assess(self, position: Position, view: Mapping[str, Seen], now_s: int) -> Assessment:
        """Return the exact verdict."""
        ...

    def mark_price(self, market: Market, view: Mapping[str, Seen], now_s: int) -> int | str:
        """Return the price that verdicts of the market use, or the word why there is none."""
        ...

    def bound_price_e6(self, position: Position, view: Mapping[str, Seen]) -> int | None:
        """Return a price that the liquidation price cannot lie beyond; None: always look."""
        ...

    def dependencies(self, position: Position, view: Mapping[str, Seen]) -> tuple[str, ...]:
        """Return the addresses that the verdict depends on, as far as known."""
        ...


class Engine:
    """Holds what was seen, keeps the queue in step with it, hands out decisions.

    Values are never applied backwards: an older slot loses. Each `apply` returns what others
    need to know; `next` puts the most urgent candidate in flight.
    """

    def __init__(
        self, judge: Judge, book: Book, queue: Queue, *, price_jump_bps_max: int = JUMP_BPS_MAX
    ) -> None:
        """Start empty; nothing is judged before the first clock."""
        self._jump_bps_max = price_jump_bps_max
        self._trails: dict[str, Trail] = {}
        self._unjudged: dict[str, str] = {}
        self._judge = judge
        self._book = book
        self.queue = queue
        self.view: dict[str, Seen] = {}
        self._time = ClusterTime()
        self._positions: dict[str, Position] = {}
        self._members: dict[str, set[str]] = {}
        self._markets_of: dict[str, set[str]] = {}
        self._undecodable: dict[str, str] = {}
        self._nameless = 0
        self._old_below: dict[str, int] = {}
        self._prices: dict[str, int | str] = {}
        self._asked: set[str] = set()
        self._excluded: dict[str, Exclusion] = {}

    def apply(self, event: Event, now_ms: int) -> list[Notice]:
        """Take one event in and return what follows from it."""
        match event:
            case AccountsSeen():
                return self._apply_accounts(event, now_ms)
            case ClockSeen():
                bank = Reading(slot=event.slot, unix_s=event.unix_timestamp, at_ms=now_ms)
                self._time = self._time.after(bank)
                return []
            case SnapshotSeen():
                return self._apply_snapshot(event)
            case OutcomeSeen():
                return self._apply_outcome(event, now_ms)
            case Ordered() | ExclusionsSeen():
                return self._apply_orders(event, now_ms)
            case CheckDue():
                return self._evaluate_markets(set(self._members), now_ms, 0)
            case _ as unreachable:
                assert_never(unreachable)

    @property
    def slot(self) -> int:
        """The newest slot of the cluster that is believed."""
        return self._time.slot

    @property
    def now_s(self) -> int:
        """The cluster's own time in unix seconds."""
        return self._time.unix_s

    def next(self, now_ms: int) -> Decision | None:
        """Return the most urgent decision; its position is in flight from now on.

        A candidate whose verdict is no longer True leaves the queue instead; one that is excluded
        goes back to wait.
        """
        while (entry := self.queue.take(now_ms)) is not None:
            if self._set_aside(entry.position, now_ms, taken=True):
                continue
            position = self._positions.get(entry.position)
            if position is not None and self._fresh(entry.position):
                verdict = self._judge.assess(position, self.view, self.now_s)
                if verdict.liquidatable is True:
                    return Decision(
                        position=position,
                        assessment=verdict,
                        tick_ns=entry.tick_ns,
                        tries=entry.tries,
                    )
            self.queue.settle(entry.position)
        return None

    def coverage(self) -> Coverage:
        """Return how many of the known positions can be judged, and why the others cannot."""
        unknown: Counter[str] = Counter(self._undecodable.values())
        if self._nameless:
            unknown[Refusal.MALFORMED.value] += self._nameless
        evaluated = 0
        for market, members in self._members.items():
            price = self._price(market)
            if isinstance(price, str):
                unknown[price] += len(members)
                continue
            own = [self._unjudged[address] for address in members if address in self._unjudged]
            unknown.update(own)
            evaluated += len(members) - len(own)
        total = evaluated + sum(unknown.values())
        return Coverage(positions=total, evaluated=evaluated, unknown=dict(unknown))

    @property
    def positions(self) -> int:
        """How many positions are held."""
        return len(self._positions)

    def position(self, address: str) -> Position | None:
        """Return a held position."""
        return self._positions.get(address)

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

    def markets(self) -> list[tuple[Market, int | str]]:
        """Return every market seen with its mark price or the word why there is none."""
        seen = [s.value for s in self.view.values() if isinstance(s.value, Market)]
        return [(market, self._price(market.address)) for market in seen]

    def mark_prices_e6(self) -> dict[str, int]:
        """Return the usable mark prices by symbol."""
        found: dict[str, int] = {}
        for address in (market for markets in self._markets_of.values() for market in markets):
            market, price = self._market(address), self._price(address)
            if market is not None and not isinstance(price, str):
                found[market.symbol] = price
        return found

    def price_jumped(self, view: Mapping[str, Seen]) -> bool:
        """Return whether a price in the view is far from the last and not confirmed by another."""
        return any(
            self._trail_after(seen.address, seen.value).jumped is not None
            for seen in view.values()
            if isinstance(seen.value, PriceReading)
        )

    def _follow(self, account: str, reading: PriceReading) -> None:
        """Lengthen the trail of a price account by a reading that a market can use."""
        markets = self._markets_of.get(account, set())
        if any(not isinstance(self._price(market), str) for market in markets):
            self._trails[account] = self._trail_after(account, reading)

    def _trail_after(self, address: str, reading: PriceReading) -> Trail:
        return self._trails.get(address, Trail()).after(reading, self._jump_bps_max)

    def exclusion(self, position: str, now_ms: int) -> Exclusion | None:
        """Return the exclusion of a position that is in force now."""
        held = self._excluded.get(position)
        return held if held is not None and held.holds(now_ms) else None

    def _apply_accounts(self, event: AccountsSeen, now_ms: int) -> list[Notice]:
        notices: list[Notice] = []
        positions: set[str] = set()
        markets: set[str] = set()
        for seen in event.seen:
            known = self.view.get(seen.address)
            if known is not None and known.slot > seen.slot:
                continue
            self.view[seen.address] = seen
            if self._unchanged(known, seen):
                continue
            self._asked.discard(seen.address)
            self._undecodable.pop(seen.address, None)
            if seen.slot >= self._old_below.get(seen.address, seen.slot):
                self._old_below.pop(seen.address, None)
            notices += self._place(seen, known, positions, markets)
        notices += self._evaluate_markets(markets, now_ms, event.received_ns)
        notices += self._evaluate(positions, now_ms, event.received_ns)
        wanted = self._missing(positions, markets)
        return [*notices, Wanted(addresses=wanted)] if wanted else notices

    def _place(
        self, seen: Seen, known: Seen | None, positions: set[str], markets: set[str]
    ) -> list[Notice]:
        """Put one value where it belongs; positions and markets to look at are added."""
        match seen.value:
            case Position():
                self._hold(seen.value)
                positions.add(seen.address)
            case Market():
                self._link(seen.value, known.value if known is not None else None)
                markets.add(seen.address)
            case PriceReading():
                self._follow(seen.address, seen.value)
                markets |= self._markets_of.get(seen.address, set())
            case InsuranceState():
                return [FundMoved(fund=seen.value, slot=seen.slot)]
            case Undecodable() | Gone():
                markets |= self._markets_of.get(seen.address, set())
                return self._lose(seen)
            case VenueState():
                markets |= set(self._members)
            case _ as unreachable:
                assert_never(unreachable)
        return []

    def _unchanged(self, known: Seen | None, seen: Seen) -> bool:
        """Whether nothing follows from it; after an effect of ours even the same state counts."""
        same = known is not None and known.value == seen.value
        return same and seen.address not in self._old_below

    def _apply_snapshot(self, event: SnapshotSeen) -> list[Notice]:
        self._nameless = event.nameless
        held = {*self._positions, *self._undecodable}
        buried = [
            s.address
            for s in self.view.values()
            if isinstance(s.value, Gone) and s.slot < event.slot
        ]
        for address in buried:
            del self.view[address]
        absent = tuple(sorted(a for a in held - event.addresses if self.view[a].slot < event.slot))
        return [Wanted(addresses=absent)] if absent else []

    def _apply_outcome(self, event: OutcomeSeen, now_ms: int) -> list[Notice]:
        failed = event.result is Result.FAILED
        match event.result:
            case Result.RECOVERED:
                self.queue.settle(event.position)
                return []
            case Result.LANDED | Result.GONE | Result.LOST_RACE:
                self.queue.settle(event.position)
                if not event.slot:
                    return []  # one node's word; the next notice or check looks again
                self._old_below[event.position] = event.slot
                return self._evaluate({event.position}, now_ms, 0)
            case Result.REFUSED | Result.FAILED if event.position not in self._positions:
                self.queue.settle(event.position)
                return []
            case Result.REFUSED | Result.FAILED:
                self.queue.postpone(
                    event.position,
                    event.reason,
                    now_ms,
                    counts=event.cause in OWN_FAULTS or bool(event.slot and failed),
                    jitter_permille=event.jitter_permille,
                )
                self._set_aside(event.position, now_ms)
                return []
            case _ as unreachable:
                assert_never(unreachable)

    def _apply_orders(self, event: Ordered | ExclusionsSeen, now_ms: int) -> list[Notice]:
        if isinstance(event, ExclusionsSeen):
            return self._apply_exclusions(event, now_ms)
        match event.order:
            case QueueOrder.DROP:
                dropped = Exclusion(position=event.position, reason=DROPPED, since_ms=now_ms)
                return self._exclude(dropped, now_ms)
            case QueueOrder.RETRY | QueueOrder.ENQUEUE:
                if event.order is QueueOrder.RETRY:
                    self._excluded.pop(event.position, None)
                if self.exclusion(event.position, now_ms) is None:
                    self.queue.retry(event.position)
                if event.position not in self._positions:
                    return [Wanted(addresses=(event.position,))]
                return self._evaluate({event.position}, now_ms, 0)
            case _ as unreachable:
                assert_never(unreachable)

    def _apply_exclusions(self, event: ExclusionsSeen, now_ms: int) -> list[Notice]:
        """Hold to what is in the store now; what was taken back may be tried at once."""
        now = {each.position: each for each in event.exclusions if each.holds(now_ms)}
        notices: list[Notice] = []
        for position in sorted(self._excluded.keys() - now.keys()):
            # One that has run out waits no longer either, and may have failed since.
            if self.exclusion(position, now_ms) is not None:
                self.queue.retry(position)
            del self._excluded[position]
        for position in sorted(now):
            notices += self._exclude(now[position], now_ms)
        return notices

    def _exclude(self, exclusion: Exclusion, now_ms: int) -> list[Notice]:
        position, before = exclusion.position, self._excluded.get(exclusion.position)
        self._excluded[position] = exclusion
        if before is not None and (before.text, before.until_ms) == (
            exclusion.text,
            exclusion.until_ms,
        ):
            return []
        aside = self._set_aside(position, now_ms)
        return [Dequeued(position=position, reason=exclusion.text)] if aside else []

    def _set_aside(self, position: str, now_ms: int, *, taken: bool = False) -> bool:
        """Keep a candidate from being taken while it is excluded; False when it is not."""
        exclusion = self.exclusion(position, now_ms)
        if exclusion is None:
            return False
        until_ms = NEVER_MS if exclusion.until_ms is None else exclusion.until_ms
        return self.queue.exclude(position, exclusion.text, until_ms=until_ms, taken=taken)

    def _hold(self, position: Position) -> None:
        old = self._positions.get(position.address)
        if old is not None and old.market != position.market:
            self._members[old.market].discard(position.address)
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
        for address in self._members.get(market.address, ()):
            self._index(self._positions[address])

    def _lose(self, seen: Seen) -> list[Notice]:
        """Forget a position that closed; count one that turned undecodable as unknown.

        A price account is no position: what it spoils is counted with its market's positions. An
        account of another program, or of another kind, is none either.
        """
        address = seen.address
        position = self._positions.pop(address, None)
        self._unjudged.pop(address, None)
        if position is not None:
            self._members[position.market].discard(address)
            self._book.remove(address)
        reason = "gone"
        if isinstance(seen.value, Undecodable):
            reason = seen.value.reason.value
            if address not in self._markets_of and seen.value.reason not in FOREIGN:
                self._undecodable[address] = reason
        removed = self.queue.remove(address)
        return [Dequeued(position=address, reason=reason)] if removed else []

    def _evaluate_markets(self, markets: set[str], now_ms: int, tick_ns: int) -> list[Notice]:
        """Look at everything that the markets' present prices may have crossed."""
        notices: list[Notice] = []
        for address in sorted(markets):
            market, price = self._market(address), self._price(address)
            if market is None:
                continue
            if self._prices.get(address) != price:
                self._prices[address] = price
                notices.append(self._moved(market, price))
            members = self._members.get(address, set())
            waiting = {position for position in self.queue.positions() if position in members}
            crossed: list[str] = []
            if not isinstance(price, str):
                crossed = self._book.crossed(market.price_account, price)
            due = waiting | members.intersection(crossed)
            notices += self._evaluate(due, now_ms, tick_ns)
        return notices

    def _moved(self, market: Market, price: int | str) -> PriceMoved:
        seen = self.view.get(market.price_account)
        slot = seen.slot if seen else 0
        value, refusal = (0, price) if isinstance(price, str) else (price, None)
        return PriceMoved(
            market=market.address, symbol=market.symbol, price_e6=value, slot=slot, refusal=refusal
        )

    def _evaluate(self, positions: set[str], now_ms: int, tick_ns: int) -> list[Notice]:
        """Judge each position exactly and keep the queue in step."""
        notices: list[Notice] = []
        for address in sorted(positions):
            position = self._positions.get(address)
            if position is None or not self._fresh(address):
                continue
            verdict = self._judge.assess(position, self.view, self.now_s)
            self._unjudged.pop(address, None)
            if verdict.liquidatable is None and not isinstance(self._price(position.market), str):
                self._unjudged[address] = verdict.unknown_reason or "unknown"
            if verdict.liquidatable is True:
                new = address not in self.queue
                kept = self.queue.put(
                    address,
                    health=verdict.health,
                    size=position.size,
                    now_ms=now_ms,
                    tick_ns=tick_ns,
                )
                if new and kept and not self._set_aside(address, now_ms):
                    notices.append(Queued(position=position, assessment=verdict))
            elif self.queue.remove(address):
                reason = verdict.unknown_reason or "recovered"
                notices.append(Dequeued(position=address, reason=reason))
        return notices

    def _missing(self, positions: set[str], markets: set[str]) -> tuple[str, ...]:
        """Return dependencies that nobody has shown or been asked for yet."""
        wanted: set[str] = set()
        for address in positions:
            position = self._positions.get(address)
            if position is not None:
                wanted.update(self._judge.dependencies(position, self.view))
        for address in markets:
            market = self._market(address)
            if market is not None:
                wanted.add(market.price_account)
        missing = {a for a in wanted if a not in self.view and a not in self._asked}
        self._asked |= missing
        return tuple(sorted(missing))

    def _market(self, address: str) -> Market | None:
        seen = self.view.get(address)
        return seen.value if seen is not None and isinstance(seen.value, Market) else None

    def _price(self, market: str) -> int | str:
        state = self._market(market)
        if state is None:
            return "market_missing"
        return self._judge.mark_price(state, self.view, self.now_s)

    def _fresh(self, address: str) -> bool:
        """Whether the position was read at or after the last effect of ours on it."""
        seen = self.view.get(address)
        return seen is not None and seen.slot >= self._old_below.get(address, 0)
