"""Which price of a market is believed, and whether it is certain enough to send on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum

from liqctl.core.fixed import BPS
from liqctl.core.jump import SCALE_EXPONENT
from liqctl.core.position import Side
from liqctl.core.price import (
    PriceReading,
    PriceRefusal,
    PriceRules,
    PriceSource,
    confidence_bps,
    from_future,
    refusal,
)
from liqctl.core.price_board import Observed, SourceKey

PERMILLE = 1_000
AGE_S_MAX = 60
# Sponsored push feeds are written every 60 s or on a move: a calm market is no stale one.
AGE_S_MAX_OF: Mapping[PriceSource, int] = {PriceSource.PUSH_FEED: 90, PriceSource.HERMES: 10}
CONFIDENCE_BPS_MAX = 100
SOURCE_BAND_BPS = 100


class Doubt(StrEnum):
    """Why nothing is sent although there is a price, or although it says liquidatable."""

    DISAGREE = "price_sources_disagree"
    TOO_FEW = "price_sources_too_few"
    JUMPED = "price_jumped"
    OLDER = "price_older_than_own_limit"
    WIDER = "price_wider_than_own_limit"
    HEALTHY = "healthy_at_preferred_price"
    WITHIN_CONFIDENCE = "healthy_within_confidence"
    UNKNOWN = "verdict_unknown"


# A source's price is one of these: usable, or known and merely too uncertain.
_KNOWN = frozenset({None, PriceRefusal.TOO_WIDE})


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRules:
    """What one source's reading must satisfy; both limits pass at equality.

    `owners` are the programs whose accounts are believed. Who publishes signs accounts on the
    chain, and every signature of a price update must have been checked; Hermes is believed by its
    certificate.
    """

    key: SourceKey
    owners: frozenset[str]
    feed_id: str
    age_s_max: int
    confidence_bps_max: int = CONFIDENCE_BPS_MAX

    @classmethod
    def of(
        cls,
        key: SourceKey,
        *,
        owners: frozenset[str],
        feed_id: str,
        confidence_bps_max: int = CONFIDENCE_BPS_MAX,
    ) -> "SourceRules":
        """Return rules with the usual age of the source: 90 s, 60 s, or 10 s for Hermes."""
        return cls(
            key=key,
            owners=owners,
            feed_id=feed_id,
            age_s_max=AGE_S_MAX_OF.get(key.source, AGE_S_MAX),
            confidence_bps_max=confidence_bps_max,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PricePolicy:
    """How a market's price is chosen: its sources, the preferred one first, and how they agree.

    At least `sources_min` must have a price. `confidence_permille` / 1,000 is the multiple of the
    confidence that a position must stay liquidatable over.
    """

    sources: tuple[SourceRules, ...]
    sources_min: int = 1
    band_bps_max: int = SOURCE_BAND_BPS
    confidence_permille: int = PERMILLE


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceView:
    """One source as it stands: what it says, how old and how sure, and why it is not used.

    Without a reading age and confidence are None. A negative age is ahead of the clock.
    """

    key: SourceKey
    reading: PriceReading | None = None
    age_s: int | None = None
    confidence_bps: int | None = None
    refusal: PriceRefusal | None = None
    jumped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The price of a market, or why there is none; every source is in `views`, in order.

    With a `reason` nothing may be sent, except what is liquidatable at each of several sources that
    disagree. A price may stand beside it to be shown.
    """

    chosen: SourceView | None
    reason: PriceRefusal | Doubt | None
    views: tuple[SourceView, ...] = field(default=())

    @property
    def reading(self) -> PriceReading | None:
        """The chosen price."""
        return None if self.chosen is None else self.chosen.reading

    @property
    def known(self) -> tuple[PriceReading, ...]:
        """The price of every source that has one, in order; the too uncertain count."""
        return tuple(
            view.reading
            for view in self.views
            if view.reading is not None and view.refusal in _KNOWN
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether to send, and the reason when not."""

    send: bool
    reason: PriceRefusal | Doubt | None = None


def in_order(rules: Sequence[SourceRules], order: Sequence[PriceSource]) -> tuple[SourceRules, ...]:
    """Return the rules of the named sources in that order; of others nothing is used."""
    place = {source: index for index, source in reversed(list(enumerate(order)))}
    kept = [each for each in rules if each.key.source in place]
    return tuple(sorted(kept, key=lambda each: place[each.key.source]))


def choose(policy: PricePolicy, board: Mapping[SourceKey, Observed], now_s: int) -> Choice:
    """Return the price of one market at `now_s`; total, and of no other market's feeds.

    The first source with a price decides. A price that is too uncertain is a price all the same:
    what the preferred source is unsure of is not settled by a lesser one that is more confident.
    """
    views = tuple(_view(rules, board.get(rules.key), now_s) for rules in policy.sources)
    known = [view for view in views if view.refusal in _KNOWN]
    if not known:
        first = views[0].refusal if views else PriceRefusal.MISSING
        return Choice(chosen=None, reason=first, views=views)
    return Choice(chosen=known[0], reason=_doubt(known, policy), views=views)


def decide(
    policy: PricePolicy,
    choice: Choice,
    side: Side,
    verdict_at: Callable[[PriceReading], bool | None],
    *,
    program_decides: bool = False,
) -> Decision:
    """Return whether to liquidate a position of that side, given its verdict at any price.

    It must be liquidatable at the price and at the end of its confidence that favours the owner.
    Where the program itself decides, by exact arithmetic or by simulation, its verdict at the
    price is enough: it has its own rule for the confidence. Of sources further apart than the band
    none is believed over another: it must be so at every one of them, as in a crash that the chain
    lags behind.
    """

    def against(reading: PriceReading) -> Doubt | None:
        at_price = verdict_at(reading)
        if not at_price:
            return _healthy(at_price, Doubt.HEALTHY)
        if program_decides:
            return None
        edge = owner_favourable(reading, side, policy.confidence_permille)
        at_edge = verdict_at(edge) if edge.mantissa > 0 else False
        return None if at_edge else _healthy(at_edge, Doubt.WITHIN_CONFIDENCE)

    reason: PriceRefusal | Doubt | None = choice.reason
    if choice.reading is None:
        reason = reason or PriceRefusal.MISSING
    elif reason is None:
        reason = against(choice.reading)
    elif reason is Doubt.DISAGREE and not any(map(against, choice.known)):
        reason = None
    return Decision(send=reason is None, reason=reason)


def owner_favourable(reading: PriceReading, side: Side, permille: int) -> PriceReading:
    """Return the end of price +- confidence * permille / 1,000 that is best for the owner.

    The width is rounded up, in favour of the owner; the end itself is certain. At or below zero it
    is no price.

    >>> from liqctl.core.price import PriceReading
    >>> found = PriceReading(address="a", owner="o", feed_id="f", mantissa=1_000, exponent=-2,
    ...     confidence=3, publish_time=1, fully_verified=True, posted_slot=1)
    >>> owner_favourable(found, Side.LONG, 1_500).mantissa
    1005
    >>> owner_favourable(found, Side.SHORT, 1_500).mantissa
    995
    """
    sign = 1 if side is Side.LONG else -1
    return replace(
        reading,
        mantissa=reading.mantissa + sign * _width(reading.confidence, permille),
        confidence=0,
        ema_mantissa=reading.ema_mantissa + sign * _width(reading.ema_confidence, permille),
        ema_confidence=0,
    )


def _view(rules: SourceRules, observed: Observed | None, now_s: int) -> SourceView:
    if observed is None:
        return SourceView(key=rules.key, refusal=PriceRefusal.MISSING)
    reading = observed.reading
    return SourceView(
        key=rules.key,
        reading=reading,
        age_s=now_s - reading.publish_time,
        confidence_bps=confidence_bps(reading),
        refusal=_refused(reading, rules, now_s),
        jumped=observed.jumped,
    )


def _refused(reading: PriceReading, rules: SourceRules, now_s: int) -> PriceRefusal | None:
    if reading.owner not in rules.owners:
        return PriceRefusal.WRONG_OWNER
    if from_future(reading, now_s):
        return PriceRefusal.FROM_FUTURE
    if rules.key.source is PriceSource.HERMES:
        reading = replace(reading, fully_verified=True)
    limits = PriceRules(
        owner=reading.owner,
        feed_id=rules.feed_id,
        age_s_max=rules.age_s_max,
        confidence_bps_max=rules.confidence_bps_max,
    )
    return refusal(reading, limits, now_s)


def _doubt(known: Sequence[SourceView], policy: PricePolicy) -> PriceRefusal | Doubt | None:
    chosen = known[0]
    if chosen.refusal is not None:
        return chosen.refusal
    if chosen.jumped:
        return Doubt.JUMPED
    if len(known) < policy.sources_min:
        return Doubt.TOO_FEW
    prices = [_price_e18(view.reading) for view in known if view.reading is not None]
    low, high = min(prices), max(prices)
    return Doubt.DISAGREE if (high - low) * BPS > policy.band_bps_max * low else None


def _price_e18(reading: PriceReading) -> int:
    """Return the price in 1e-18, exactly: whatever was not refused has an exponent from -18 to 0."""
    scale: int = 10 ** (reading.exponent - SCALE_EXPONENT)
    return reading.mantissa * scale


def _width(confidence: int, permille: int) -> int:
    return -(-confidence * permille // PERMILLE)


def _healthy(verdict: bool | None, otherwise: Doubt) -> Doubt:
    return Doubt.UNKNOWN if verdict is None else otherwise
