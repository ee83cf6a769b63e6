"""Random and boundary cases for the reference program, as plain numbers and as account bytes."""

import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace

from liqctl.core.fixed import BPS, I64_MAX, I64_MIN, U64_MAX, Overflow
from liqctl.core.position import Side
from liqctl.core.price import EXPONENT_MIN, price_e6
from liqctl.core.sizing import CannotSize, Closing, Holding, Terms, margin, plan_closing
from liqctl.oracle.price_update import DISCRIMINATOR

NOW = 1_790_000_000
FEED = bytes(range(32))
FULL, PARTIAL = 1, 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Everything that decides about one liquidation."""

    label: str
    size: int
    entry_price: int
    collateral: int
    leverage: int
    tiers: tuple[tuple[int, int], ...]
    mantissa: int
    exponent: int
    confidence: int = 0
    publish_time: int = NOW
    verification: int = FULL
    feed: bytes = FEED
    price_head: bytes = DISCRIMINATOR
    price_owner_is_right: bool = True
    now: int = NOW
    max_age: int = 60
    max_confidence_bps: int = 100
    fee_bps: int
    share_bps: int
    target_bps: int
    min_reward: int
    min_notional: int
    pool: int
    fund: int
    paused: bool = False
    max_size: int = U64_MAX

    @property
    def price(self) -> int:
        sound = self.mantissa > 0 and EXPONENT_MIN <= self.exponent <= 0
        return price_e6(self.mantissa, self.exponent) if sound else 0

    @property
    def ratio(self) -> int | None:
        return next((bps for limit, bps in self.tiers if self.leverage <= limit), None)

    @property
    def holding(self) -> Holding:
        return Holding(
            side=Side.LONG if self.size > 0 else Side.SHORT,
            size_e9=abs(self.size),
            entry_price_e6=self.entry_price,
            collateral=self.collateral,
        )

    @property
    def terms(self) -> Terms:
        return Terms(
            maintenance_bps=self.ratio or 0,
            liquidation_fee_bps=self.fee_bps,
            liquidator_share_bps=self.share_bps,
            target_health_bps=self.target_bps,
            min_reward=self.min_reward,
            min_position_notional=self.min_notional,
            profit_pool=self.pool,
            fund_balance=self.fund,
        )

    def closing(self) -> Closing:
        if not margin(self.holding, self.ratio or 0, self.price).liquidatable:
            raise CannotSize("PositionHealthy")
        return plan_closing(self.holding, self.terms, self.price, max_size_e9=self.max_size)

    def price_account(self) -> bytes:
        tag = bytes([self.verification]) + (b"\x05" if self.verification == PARTIAL else b"")
        body = struct.pack(
            "<32sqQiqqqQQ",
            self.feed,
            self.mantissa,
            self.confidence,
            self.exponent,
            self.publish_time,
            self.publish_time,
            self.mantissa,
            self.confidence,
            1,
        )
        return (self.price_head + bytes(32) + tag + body).ljust(134, b"\0")


Tweak = Callable[[Case, random.Random], Case]


def random_case(rng: random.Random) -> Case:
    """Return a case: a plausible base, then up to three tweaks that put it on a threshold."""
    case = _base(rng)
    for tweak in rng.sample(_TWEAKS, k=rng.choice((0, 1, 1, 1, 2, 2, 3))):
        if case.ratio is None or case.price == 0:
            break
        try:
            tweaked = tweak(case, rng)
        except (CannotSize, Overflow):
            continue
        case = replace(tweaked, label=f"{case.label} {tweak.__name__.removeprefix('_')}")
    return case


def _spread(rng: random.Random, low: int, high: int) -> int:
    """Return a number whose order of magnitude is uniform."""
    return min(max(int(low * (high / low) ** rng.random()), low), high)


def _near(rng: random.Random, value: int, high: int = U64_MAX) -> int:
    return min(max(value + rng.randint(-3, 3), 0), high)


def _tiers(rng: random.Random, fee: int) -> tuple[tuple[int, int], ...]:
    # The rule of the program for fee f and maintenance m: f * (1 + m) <= m.
    least = -(-fee * BPS // (BPS - fee)) or 1
    tiers, limit = [], 0
    for _ in range(rng.randint(1, 5)):
        limit += rng.choice((1, 2, 5, 10, 40))
        if least * limit > BPS:
            break
        tiers.append((limit, rng.randint(least, min(5_000, BPS // limit))))
    return tuple(tiers) or ((1, max(least, 1)),)


def _base(rng: random.Random) -> Case:
    exponent = rng.choice((-8, -8, -8, -5, -10, -6, -2, 0, -18))
    scale = rng.choice(("ordinary", "ordinary", "ordinary", "tiny", "large", "any"))
    price, size = {
        "ordinary": (_spread(rng, 10_000, 100_000_000_000), _spread(rng, 10**6, 10**14)),
        "tiny": (_spread(rng, 1, 1_000), _spread(rng, 1, 10**12)),
        "large": (_spread(rng, 10**9, 10**15), _spread(rng, 10**9, 10**15)),
        "any": (_spread(rng, 1, U64_MAX), _spread(rng, 1, I64_MAX)),
    }[scale]
    shift = exponent + 6
    mantissa = price // 10**shift if shift >= 0 else price * 10**-shift
    mantissa = min(max(mantissa, 1), I64_MAX)
    fee = rng.choice((0, 1, 10, 50, 100, rng.randint(0, 400)))
    tiers = _tiers(rng, fee)
    entry = min(max(int(price * rng.uniform(0.5, 1.6)), 1), U64_MAX)
    notional = min(size * price // 10**9, U64_MAX)
    return Case(
        label=scale,
        size=size * rng.choice((1, -1)),
        entry_price=entry,
        collateral=min(int(notional * rng.choice((0, 0.01, 0.1, rng.random()))), U64_MAX),
        leverage=rng.randint(1, tiers[-1][0]),
        tiers=tiers,
        mantissa=mantissa,
        exponent=exponent,
        fee_bps=fee,
        share_bps=rng.choice((0, 2_500, 5_000, BPS, rng.randint(0, BPS))),
        target_bps=rng.choice((10_001, 11_000, 12_500, 20_000, 65_535)),
        min_reward=rng.choice((0, 0, 1_000_000, _spread(rng, 1, 10**9))),
        min_notional=rng.choice((0, 10_000_000, notional // 5)),
        pool=rng.choice((0, _spread(rng, 1, 10**12), notional)),
        fund=rng.choice((0, _spread(rng, 1, 10**12), notional)),
    )


def _with_equity(case: Case, equity: int) -> Case:
    """Return the case with the collateral, or the entry price, that leads to this equity."""
    at = margin(case.holding, case.ratio or 0, case.price)
    collateral = equity - at.pnl
    if collateral >= 0:
        return replace(case, collateral=min(collateral, U64_MAX))
    # A profit alone is more than that: take the entry to the price and no collateral.
    return replace(case, entry_price=min(case.price, U64_MAX), collateral=max(equity, 0))


def _margin_of(case: Case) -> int:
    return margin(case.holding, case.ratio or 0, case.price).maintenance_margin


def _at_the_line(case: Case, rng: random.Random) -> Case:
    return _with_equity(case, _margin_of(case) + rng.randint(-3, 3))


def _just_below_the_line(case: Case, rng: random.Random) -> Case:
    return _with_equity(case, int(_margin_of(case) * rng.uniform(0.1, 1)))


def _at_full_or_partial(case: Case, rng: random.Random) -> Case:
    return _with_equity(case, _margin_of(case) // 10 + rng.randint(-3, 3))


def _at_zero_equity(case: Case, rng: random.Random) -> Case:
    return _with_equity(case, rng.randint(-3, 3))


def _bankrupt(case: Case, rng: random.Random) -> Case:
    return _with_equity(case, -int(_margin_of(case) * rng.uniform(0, 5)))


def _at_fee_cap(case: Case, rng: random.Random) -> Case:
    notional = margin(case.holding, case.ratio or 0, case.price).notional
    return _with_equity(case, notional * case.fee_bps // BPS + rng.randint(-3, 3))


def _at_liquidation_price(case: Case, rng: random.Random) -> Case:
    step = 10 ** max(-6 - case.exponent, 0)
    mantissa = case.mantissa + rng.randint(-3, 3) * step + rng.randint(-3, 3)
    return replace(case, mantissa=min(max(mantissa, 1), I64_MAX))


def _at_min_notional(case: Case, rng: random.Random) -> Case:
    closing = replace(case, min_notional=0).closing()
    left = closing.remaining_e9 * case.price // 10**9
    return replace(case, min_notional=_near(rng, left))


def _at_min_reward(case: Case, rng: random.Random) -> Case:
    return replace(case, min_reward=_near(rng, replace(case, min_reward=0).closing().reward))


def _at_top_up(case: Case, rng: random.Random) -> Case:
    reward = replace(case, min_reward=0).closing().reward
    return replace(case, fund=_near(rng, max(case.min_reward - reward, 0)))


def _at_empty_pool(case: Case, rng: random.Random) -> Case:
    # A position in profit is liquidatable when profit and collateral are small.
    gain = int(case.price * (case.ratio or 0) * rng.random()) // BPS
    entry = case.price - gain if case.size > 0 else case.price + gain
    rich = replace(case, entry_price=min(max(entry, 1), U64_MAX), collateral=0, pool=U64_MAX // 2)
    rich = _with_equity(rich, int(_margin_of(rich) * rng.random()))
    profit = max(rich.closing().realized_pnl, 0)
    case = replace(rich, max_size=case.max_size)
    if rng.random() < 0.5:
        return replace(case, pool=_near(rng, profit), fund=rng.choice((0, 1, 2)))
    pool = rng.randint(0, profit)
    return replace(case, pool=pool, fund=_near(rng, profit - pool))


def _at_bad_debt(case: Case, rng: random.Random) -> Case:
    debt = max(-margin(case.holding, case.ratio or 0, case.price).equity, 0)
    return replace(case, fund=_near(rng, debt + rng.choice((0, case.min_reward))))


def _at_max_size(case: Case, rng: random.Random) -> Case:
    around = rng.choice((abs(case.size), replace(case, max_size=U64_MAX).closing().size_e9, 0, 0))
    return replace(case, max_size=_near(rng, around))


def _part_of_max_size(case: Case, rng: random.Random) -> Case:
    return replace(case, max_size=rng.randint(1, abs(case.size)))


def _at_age(case: Case, rng: random.Random) -> Case:
    if rng.random() < 0.2:
        extremes = (I64_MIN, I64_MIN + 1, -1, 0, I64_MAX - 1, I64_MAX)
        return replace(
            case,
            now=rng.choice((*extremes, NOW)),
            publish_time=rng.choice((*extremes, NOW)),
            max_age=rng.choice((1, 86_400)),
        )
    age = rng.choice((case.max_age, 0, -5))
    published = case.now - age + rng.randint(-3, 3)
    return replace(case, publish_time=min(max(published, I64_MIN), I64_MAX))


def _at_confidence(case: Case, rng: random.Random) -> Case:
    limit = rng.choice((1, 100, BPS))
    confidence = _near(rng, case.mantissa * limit // BPS)
    return replace(case, max_confidence_bps=limit, confidence=confidence)


def _bad_price(case: Case, rng: random.Random) -> Case:
    faults = (
        {"verification": PARTIAL},
        {"verification": 2},
        {"feed": bytes(32)},
        {"price_head": bytes.fromhex("68c0bc48f6a60c51")},
        {"price_owner_is_right": False},
        {"mantissa": rng.choice((0, -1, I64_MIN))},
        {"exponent": rng.choice((1, -19, 20, 2**31 - 1, -(2**31)))},
        {"exponent": -18, "mantissa": 10**12 + rng.randint(-3, 3)},
        {"exponent": 0, "mantissa": U64_MAX // 10**6 + rng.randint(-3, 3)},
        {"confidence": U64_MAX},
    )
    fault = dict(rng.choice(faults))
    return replace(case, **fault)  # type: ignore[arg-type]


def _huge_money(case: Case, rng: random.Random) -> Case:
    names = rng.choice(
        (
            ("pool",),
            ("fund",),
            ("collateral",),
            ("min_notional",),
            ("fund", "min_reward"),
        )
    )
    amounts = (I64_MAX, I64_MAX + 1, U64_MAX)
    huge = {name: rng.choice(amounts) - rng.randint(0, 3) for name in names}
    return replace(case, **huge)  # type: ignore[arg-type]


def _paused(case: Case, rng: random.Random) -> Case:
    return replace(case, paused=True)


def _leverage_too_high(case: Case, rng: random.Random) -> Case:
    return replace(case, leverage=case.tiers[-1][0] + rng.randint(0, 3))


_TWEAKS: tuple[Tweak, ...] = (
    *(_at_the_line,) * 3,
    *(_just_below_the_line,) * 9,
    *(_at_full_or_partial,) * 2,
    _at_zero_equity,
    *(_bankrupt,) * 2,
    _at_fee_cap,
    _at_liquidation_price,
    *(_at_min_notional,) * 2,
    *(_at_min_reward,) * 2,
    _at_top_up,
    *(_at_empty_pool,) * 2,
    *(_at_bad_debt,) * 2,
    *(_at_max_size,) * 4,
    _part_of_max_size,
    *(_at_age,) * 2,
    _at_confidence,
    *(_bad_price,) * 3,
    _huge_money,
    _paused,
    _leverage_too_high,
)
