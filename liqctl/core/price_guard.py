"""Whether the prices of a market let anything be sent: each source, its trail and the terms."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import assert_never

from liqctl.core.account import Seen
from liqctl.core.guards import Limits
from liqctl.core.judge import Judge
from liqctl.core.jump import Trail
from liqctl.core.position import Market, Position
from liqctl.core.price import HERMES_OWNER, PriceReading, PriceRefusal, PriceSource
from liqctl.core.price_board import Observed, PriceBoard, SourceKey
from liqctl.core.price_policy import (
    Choice,
    Doubt,
    PricePolicy,
    SourceRules,
    choose,
    decide,
)
from liqctl.core.price_terms import PriceTerms, SourceName
from liqctl.core.whatif import reading_of, republished, with_reading

# Our own limits on an account that the program itself accepts.
_OWN_LIMITS = {PriceRefusal.STALE: Doubt.OLDER, PriceRefusal.TOO_WIDE: Doubt.WIDER}
_FEED_ID = re.compile(r"[0-9a-f]{64}")

# The accounts of a feed beside the program's own, with the program that owns each.
PushFeeds = Callable[[str], Mapping[str, str]]


class PriceGuard:
    """Knows what every source of a price says, and doubts a verdict that rests on it.

    The verdict is always made of the program's own account. What is known beyond that can only
    keep a transaction from being sent, in that market alone. While sources disagree, what is
    liquidatable at each of them may go: in a crash the chain lags, and a position that has fallen
    everywhere must not wait for it.
    """

    def __init__(
        self,
        judge: Judge,
        limits: Limits,
        *,
        program_decides: bool = False,
        push_feeds: PushFeeds = lambda _: {},
    ) -> None:
        """Know no price yet. `program_decides`: the program has its own rule for the confidence."""
        self._judge = judge
        self._limits = limits
        self._program_decides = program_decides
        self._push_feeds = push_feeds
        self._board = PriceBoard()
        self._trails: dict[str, Trail] = {}
        self._jump_bps: dict[str, int] = {}
        self._markets_of: dict[str, set[str]] = {}
        self.push_accounts: frozenset[str] = frozenset()

    def link(self, market: Market) -> None:
        """Note whose price account an account is; of several markets the strictest decides."""
        bps = self._limits.prices_of(market.symbol).jump_bps_max
        account = market.price_account
        self._jump_bps[account] = min(bps, self._jump_bps.get(account, bps))

    def attend(self, markets: Collection[Market], view: Mapping[str, Seen]) -> None:
        """Learn which feeds and which further accounts the markets' terms name."""
        by_feed: dict[str, set[str]] = {}
        accounts: set[str] = set()
        for market in markets:
            terms = self._limits.prices_of(market.symbol)
            feed_id = _feed_id(terms, reading_of(self._judge, market, view))
            if not feed_id:
                continue
            if SourceName.PUSH_FEED in terms.sources:
                accounts |= self._push_feeds(feed_id).keys() - {market.price_account}
            if SourceName.HERMES in terms.sources:
                by_feed.setdefault(feed_id, set()).add(market.address)
        self._markets_of, self.push_accounts = by_feed, frozenset(accounts)

    def wanted(self) -> tuple[str, ...]:
        """Return the feeds that a service off the chain is wanted for, by id."""
        return tuple(sorted(self._markets_of))

    def fed_by(self, feed_id: str) -> frozenset[str]:
        """Return the markets whose terms name a feed, by address."""
        return frozenset(self._markets_of.get(feed_id, ()))

    def follow(self, reading: PriceReading) -> None:
        """Take in a price of a market's own account that the program accepts."""
        self._trails[reading.address] = self._trail_after(reading)

    def push(self, reading: PriceReading, now_s: int) -> None:
        """Take in a price of one of `push_accounts`."""
        found = replace(reading, source=PriceSource.PUSH_FEED)
        self._board.take(found, now_s, jump_bps_max=self._limits.prices.jump_bps_max)

    def hear(self, reading: PriceReading, now_s: int) -> None:
        """Take in a price that a service sent."""
        self._board.take(reading, now_s, jump_bps_max=self._limits.prices.jump_bps_max)

    def usable(self, market: Market, reading: PriceReading, now_s: int) -> bool:
        """Return whether what a service sent last is a price by the terms of a market."""
        terms = self._limits.prices_of(market.symbol)
        key = SourceKey(source=reading.source, address=reading.address)
        policy = PricePolicy(sources=(_rules(terms, key, HERMES_OWNER, reading.feed_id),))
        return choose(policy, {key: Observed(reading=reading)}, now_s).reason is None

    def lose(self, feed_id: str) -> None:
        """Forget what a service said of a feed that it does not know any more."""
        self._board.forget(SourceKey(source=PriceSource.HERMES, address=feed_id))

    def jumped(self, view: Mapping[str, Seen]) -> bool:
        """Return whether a price in the view is far from the last and not confirmed by another."""
        return any(
            self._trail_after(seen.value).jumped is not None
            for seen in view.values()
            if isinstance(seen.value, PriceReading)
        )

    def choice(self, market: Market, view: Mapping[str, Seen], now_s: int) -> Choice:
        """Return what all sources of a market say now, and whether they agree."""
        own = reading_of(self._judge, market, view)
        policy = self._policy(self._limits.prices_of(market.symbol), market, own)
        return self._chosen(policy, own, now_s)

    def objection(
        self, position: Position, view: Mapping[str, Seen], now_s: int, *, fresh: bool = True
    ) -> str | None:
        """Return why a position that is liquidatable in this view must be left alone, or None.

        A venue that shows no published price is believed as it is. Where the clock was not read
        with the view (`fresh`), it is no earlier than the price.
        """
        seen = view.get(position.market)
        market = seen.value if seen is not None and isinstance(seen.value, Market) else None
        own = None if market is None else reading_of(self._judge, market, view)
        if market is None or own is None:
            return None
        # The whole view of a keeper holds every position: too much to look through or to copy.
        used = {position.address, market.price_account, *self._judge.dependencies(position, view)}
        view = {address: view[address] for address in used if address in view}
        if self.jumped(view):
            return Doubt.JUMPED
        now_s = now_s if fresh else max(now_s, own.publish_time)
        policy = self._policy(self._limits.prices_of(market.symbol), market, own)
        choice = self._chosen(policy, own, now_s)

        def verdict_at(reading: PriceReading) -> bool | None:
            if reading is own:
                return True
            there = with_reading(self._judge, market, view, republished(own, reading))
            return self._judge.assess(position, there, now_s).liquidatable

        certain = self._program_decides or policy.confidence_permille == 0
        return decide(policy, choice, position.side, verdict_at, program_decides=certain).reason

    def _chosen(self, policy: PricePolicy, own: PriceReading | None, now_s: int) -> Choice:
        """Return the choice; what our terms refuse of the program's own account is a doubt."""
        choice = choose(policy, self._seen(policy, own), now_s)
        for one in choice.views:
            if own is not None and one.reading is own and one.refusal is not None:
                return replace(choice, reason=_OWN_LIMITS.get(one.refusal, one.refusal))
        return choice

    def _policy(self, terms: PriceTerms, market: Market, own: PriceReading | None) -> PricePolicy:
        feed_id = _feed_id(terms, own)
        rules: list[SourceRules] = []
        for source in terms.sources:
            match source:
                case SourceName.PROGRAM:
                    rules.append(_own_rules(terms, market, own))
                case SourceName.PUSH_FEED:
                    rules += self._push_rules(terms, market, feed_id)
                case SourceName.HERMES:
                    key = SourceKey(source=PriceSource.HERMES, address=feed_id)
                    rules.append(_rules(terms, key, HERMES_OWNER, feed_id))
                case _ as unreachable:
                    assert_never(unreachable)
        return PricePolicy(
            sources=tuple(rules),
            sources_min=terms.sources_min,
            band_bps_max=terms.band_bps_max,
            confidence_permille=terms.confidence_permille,
        )

    def _push_rules(self, terms: PriceTerms, market: Market, feed_id: str) -> list[SourceRules]:
        """Return the rules of the accounts of a feed; one that nobody knows has an empty address."""
        accounts = self._push_feeds(feed_id) if feed_id else {"": ""}
        return [
            _rules(terms, SourceKey(source=PriceSource.PUSH_FEED, address=address), owner, feed_id)
            for address, owner in accounts.items()
            if address != market.price_account
        ]

    def _seen(self, policy: PricePolicy, own: PriceReading | None) -> Mapping[SourceKey, Observed]:
        found: dict[SourceKey, Observed] = {}
        for rules in policy.sources:
            one = self._board.get(rules.key)
            if one is not None:
                found[rules.key] = one
        if own is not None:
            key = SourceKey(source=own.source, address=own.address)
            jumped = self._trail_after(own).jumped is not None
            found[key] = Observed(reading=own, jumped=jumped)
        return found

    def _trail_after(self, reading: PriceReading) -> Trail:
        address = reading.address
        bps_max = self._jump_bps.get(address, self._limits.prices.jump_bps_max)
        return self._trails.get(address, Trail()).after(reading, bps_max)


def _own_rules(terms: PriceTerms, market: Market, own: PriceReading | None) -> SourceRules:
    """Return our limits on the market's own account; whose it is and what feed, its program asks."""
    if own is None:
        key = SourceKey(source=PriceSource.PRICE_UPDATE, address=market.price_account)
        return _rules(terms, key, "", "")
    return SourceRules(
        key=SourceKey(source=own.source, address=own.address),
        owners=frozenset({own.owner}),
        feed_id=own.feed_id,
        age_s_max=terms.age_s_max,
        confidence_bps_max=terms.confidence_bps_max,
    )


def _rules(terms: PriceTerms, key: SourceKey, owner: str, feed_id: str) -> SourceRules:
    """Return the limits on a further source, whose age is that of its kind."""
    return SourceRules.of(
        key,
        owners=frozenset({owner}),
        feed_id=feed_id,
        confidence_bps_max=terms.confidence_bps_max,
    )


def _feed_id(terms: PriceTerms, own: PriceReading | None) -> str:
    """Return the id of a market's feed: as the terms name it, or its own account; else nothing."""
    told = terms.feed_id or ("" if own is None else own.feed_id)
    return told if _FEED_ID.fullmatch(told) else ""
