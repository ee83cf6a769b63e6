"""The engine: accounts and outcomes in, decisions out. Synchronous, pure, the only owner of state."""

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from liqctl.core.account import Gone, Refusal, Seen, Undecodable, VenueState
from liqctl.core.book import Book
from liqctl.core.cluster_time import Reading
from liqctl.core.events import (
    AccountsSeen,
    Cause,
    CheckDue,
    ClockSeen,
    Decision,
    Dequeued,
    Event,
    ExclusionsSeen,
    FundMoved,
    Notice,
    Ordered,
    OutcomeSeen,
    PriceMoved,
    PricesSeen,
    Queued,
    Result,
    SnapshotSeen,
    Wanted,
)
from liqctl.core.exclusions import Exclusions
from liqctl.core.guards import Limits
from liqctl.core.health import Assessment
from liqctl.core.insurance import InsuranceState
from liqctl.core.judge import Judge
from liqctl.core.known import Known
from liqctl.core.position import Market, Position
from liqctl.core.price import PriceReading, price_e6
from liqctl.core.price_guard import PriceGuard
from liqctl.core.queue import Queue
from liqctl.core.record import DROPPED, Exclusion, QueueOrder

AHEAD_MAX = 100
FOREIGN = frozenset({Refusal.WRONG_OWNER, Refusal.WRONG_DISCRIMINATOR})
# What the position itself is to blame for; money that was paid in vain counts as well.
OWN_FAULTS = frozenset(
    {Cause.NONE, Cause.SETUP, Cause.LAYOUT, Cause.RETRY, Cause.BUG, Cause.EXPIRED}
)


class Engine(Known):
    """Takes in what is seen, keeps the queue in step with it, hands out decisions.

    Values are never applied backwards: an older slot loses, and one that the cluster cannot have
    come to is asked for again. Each `apply` returns what others need to know; `next` puts the most
    urgent candidate in flight.
    """

    def __init__(
        self, judge: Judge, book: Book, queue: Queue, prices: PriceGuard | None = None
    ) -> None:
        """Start empty; nothing is judged before the first clock."""
        super().__init__(judge, book, prices or PriceGuard(judge, Limits()))
        self.queue = queue
        self._doubtful: set[str] = set()
        self._foreseen: dict[str, frozenset[str]] = {}
        self._old_below: dict[str, int] = {}
        self._prices: dict[str, int | str] = {}
        self._asked: set[str] = set()
        self._exclusions = Exclusions(queue)

    def apply(self, event: Event, now_ms: int) -> list[Notice]:
        """Take one event in and return what follows from it."""
        match event:
            case AccountsSeen() | PricesSeen():
                return self._apply_seen(event, now_ms)
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

    def next(self, now_ms: int) -> Decision | None:
        """Return the most urgent decision; its position is in flight from now on.

        A candidate whose verdict is no longer True leaves the queue instead; one that is excluded
        goes back to wait.
        """
        while (entry := self.queue.take(now_ms)) is not None:
            if self._exclusions.set_aside(entry.position, now_ms, taken=True):
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
                        doubt=self.objection(entry.position, self.view),
                    )
            self.queue.settle(entry.position)
        return None

    @property
    def undoubted(self) -> int:
        """How many candidates wait for anything else than other prices."""
        return sum(position not in self._doubtful for position in self.queue.positions())

    def objection(
        self, address: str, view: Mapping[str, Seen], read_s: int | None = None
    ) -> str | None:
        """Return what the prices say against a position in a view, or None.

        `read_s` is the cluster's time that was read with the view; without one no price counts as
        ahead of the clock, which may be behind what was seen.
        """
        seen = view.get(address)
        if seen is None or not isinstance(seen.value, Position):
            return None
        fresh, now_s = read_s is not None, max(read_s or 0, self.now_s)
        return self.prices.objection(seen.value, view, now_s, fresh=fresh)

    def doubted(
        self, verdict: Assessment, view: Mapping[str, Seen], read_s: int | None = None
    ) -> Assessment:
        """Return a verdict, blocked where the prices do not bear that it is liquidatable."""
        if verdict.liquidatable is not True:
            return verdict
        doubt = self.objection(verdict.position, view, read_s)
        return verdict if doubt is None else replace(verdict, blockers=(*verdict.blockers, doubt))

    def exclusion(self, position: str, now_ms: int) -> Exclusion | None:
        """Return the exclusion of a position that is in force now."""
        return self._exclusions.get(position, now_ms)

    def _apply_seen(self, event: AccountsSeen | PricesSeen, now_ms: int) -> list[Notice]:
        if isinstance(event, PricesSeen):
            return self._apply_prices(event, now_ms)
        return self._apply_accounts(event, now_ms)

    def _apply_accounts(self, event: AccountsSeen, now_ms: int) -> list[Notice]:
        notices: list[Notice] = []
        positions: set[str] = set()
        markets: set[str] = set()
        doubted: set[str] = set()
        for seen in event.seen:
            known = self.view.get(seen.address)
            if not self._time.reaches(seen.slot, now_ms):
                doubted.add(seen.address)
                continue
            if known and known.slot > seen.slot and self._time.reaches(known.slot, now_ms):
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
        wanted = sorted(doubted.union(self._missing(positions, markets)))
        return [*notices, Wanted(addresses=tuple(wanted))] if wanted else notices

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
                reading, here = seen.value, self._markets_of.get(seen.address, set())
                if any(not isinstance(self._price(market), str) for market in here):
                    self.prices.follow(reading)
                if seen.address in self.prices.push_accounts:
                    self.prices.push(reading, self.now_s)
                markets |= here
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

    def _apply_prices(self, event: PricesSeen, now_ms: int) -> list[Notice]:
        """Take in prices that are not on the chain: they may end a doubt, never make a verdict."""
        wanted: set[str] = set()
        again: set[str] = set()
        for feed_id in event.lost:
            self.prices.lose(feed_id)
        for reading in event.readings:
            self.prices.hear(reading, self.now_s)
            for market in self.prices.fed_by(reading.feed_id):
                wanted |= self._ahead(market, reading)
                again |= self._doubtful & self._members.get(market, set())
        notices = self._evaluate(again, now_ms, event.received_ns)
        return [*notices, Wanted(addresses=tuple(sorted(wanted)))] if wanted else notices

    def _ahead(self, market: str, reading: PriceReading) -> set[str]:
        """Return what to read because positions will turn if the chain follows this price."""
        state = self._market(market)
        if state is None or not self.prices.usable(state, reading, self.now_s):
            return set()
        price = price_e6(reading.mantissa, reading.exponent)
        crossed = self._members.get(market, set()).intersection(
            self._book.crossed(state.price_account, price)
        )
        turning = frozenset(position for position in crossed if position not in self.queue)
        new = turning - self._foreseen.get(market, frozenset())
        self._foreseen[market] = turning
        return {state.price_account, *sorted(new)[:AHEAD_MAX]} if new else set()

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
                self._exclusions.set_aside(event.position, now_ms)
                if (
                    event.cause is Cause.ORACLE
                    and self.objection(event.position, self.view) is not None
                ):
                    self._doubtful.add(event.position)
                return []
            case _ as unreachable:
                assert_never(unreachable)

    def _apply_orders(self, event: Ordered | ExclusionsSeen, now_ms: int) -> list[Notice]:
        if isinstance(event, ExclusionsSeen):
            return [*self._exclusions.become(event.exclusions, now_ms)]
        match event.order:
            case QueueOrder.DROP:
                dropped = Exclusion(position=event.position, reason=DROPPED, since_ms=now_ms)
                return [*self._exclusions.add(dropped, now_ms)]
            case QueueOrder.RETRY | QueueOrder.ENQUEUE:
                if event.order is QueueOrder.RETRY:
                    self._exclusions.lift(event.position)
                if self.exclusion(event.position, now_ms) is None:
                    self.queue.retry(event.position)
                if event.position not in self._positions:
                    return [Wanted(addresses=(event.position,))]
                return self._evaluate({event.position}, now_ms, 0)
            case _ as unreachable:
                assert_never(unreachable)

    def _lose(self, seen: Seen) -> list[Notice]:
        """Forget a position that closed; count one that turned undecodable as unknown.

        A price account is no position: what it spoils is counted with its market's positions. An
        account of another program, or of another kind, is none either.
        """
        address = seen.address
        position = self._positions.pop(address, None)
        self._unjudged.pop(address, None)
        self._doubtful.discard(address)
        if position is not None:
            self._members[position.market].discard(address)
            self._book.remove(address)
            self.collateral_total -= position.collateral
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
                if new and kept and not self._exclusions.set_aside(address, now_ms):
                    notices.append(Queued(position=position, assessment=verdict))
                if address in self._doubtful and self.objection(address, self.view) is None:
                    self._doubtful.discard(address)
                    self.queue.hurry(address, tick_ns)
            elif self.queue.remove(address):
                self._doubtful.discard(address)
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

    def _fresh(self, address: str) -> bool:
        """Whether the position was read at or after the last effect of ours on it."""
        seen = self.view.get(address)
        return seen is not None and seen.slot >= self._old_below.get(address, 0)
