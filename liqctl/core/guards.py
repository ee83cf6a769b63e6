"""Limits on what may be spent and kept in the air: values in, a reason to refuse or None out."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from liqctl.core.health import Assessment
from liqctl.core.price_policy import Doubt
from liqctl.core.price_terms import PriceTerms

SIGNATURE_FEE_LAMPORTS = 5_000
TOKEN_ACCOUNT_RENT_LAMPORTS = 2_039_280
# The owner's and the liquidator's.
SETUP_ACCOUNTS_MAX = 2
LAMPORTS_PER_SOL = 10**9
PERMILLE = 1_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the operator allows; lamports, and quote in 1e-6.

    The program has its own limits on prices, which decide the verdict; ours only stop a send. No
    market named as allowed means all of them. Prices have to satisfy `prices`, those of some
    markets, by symbol, `market_prices`. A reward must be `profit_floor_permille` / 1,000
    times what it costs, 0 asks for nothing; `sol_price_e6` counts where no market tells the price
    of SOL.
    """

    transaction_lamports: int = 5_000_000
    hour_lamports: int = 50_000_000
    day_lamports: int = 500_000_000
    balance_lamports_min: int = 50_000_000
    in_flight_max: int = 4
    attempts_max: int = 3
    reward_min: int = 0
    prices: PriceTerms = field(default_factory=PriceTerms)
    market_prices: Mapping[str, PriceTerms] = field(default_factory=dict[str, PriceTerms])
    markets_allowed: frozenset[str] = frozenset()
    markets_denied: frozenset[str] = frozenset()
    profit_floor_permille: int = 0
    sol_price_e6: int | None = None
    sends_per_second_max: int = 20

    @property
    def caps(self) -> "SpendCaps":
        """The caps on what is spent over time."""
        return SpendCaps(hour_lamports=self.hour_lamports, day_lamports=self.day_lamports)

    def prices_of(self, symbol: str) -> PriceTerms:
        """Return what the prices of a market have to satisfy."""
        return self.market_prices.get(symbol, self.prices)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Where the liquidator stands; spent sums include the maximum cost of attempts in flight."""

    balance_lamports: int
    in_flight_lamports: int
    hour_lamports: int
    day_lamports: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendCaps:
    """What all keepers on a database may spend together, counted where attempts are recorded."""

    hour_lamports: int
    day_lamports: int

    def refusal(self, cost_lamports: int, hour_lamports: int, day_lamports: int) -> str | None:
        """Return the cap that a transaction of this maximum cost would break, or None."""
        if hour_lamports + cost_lamports > self.hour_lamports:
            return "cost_over_hour_cap"
        if day_lamports + cost_lamports > self.day_lamports:
            return "cost_over_day_cap"
        return None


def blocker(verdict: Assessment, limits: Limits) -> str | None:
    """Return the first reason not to send although the program would liquidate, or None."""
    if verdict.blockers:
        return verdict.blockers[0]
    if limits.markets_allowed and verdict.symbol not in limits.markets_allowed:
        return "market_not_allowed"
    if verdict.symbol in limits.markets_denied:
        return "market_denied"
    terms = limits.prices_of(verdict.symbol)
    if verdict.price_age_s > terms.age_s_max:
        return Doubt.OLDER
    if verdict.confidence_bps > terms.confidence_bps_max:
        return Doubt.WIDER
    return "reward_below_floor" if verdict.reward < limits.reward_min else None


def refusal(cost_lamports: int, spending: Spending, limits: Limits) -> str | None:
    """Return the first limit that a transaction of this maximum cost would break, or None.

    >>> refusal(10, Spending(balance_lamports=9, in_flight_lamports=0, hour_lamports=0,
    ...     day_lamports=0), Limits(balance_lamports_min=0))
    'balance_too_low'
    """
    if cost_lamports > limits.transaction_lamports:
        return "cost_over_transaction_cap"
    over = limits.caps.refusal(cost_lamports, spending.hour_lamports, spending.day_lamports)
    if over is not None:
        return over
    left = spending.balance_lamports - spending.in_flight_lamports - cost_lamports
    if left < limits.balance_lamports_min:
        return "balance_too_low"
    return None


def unprofitable(
    reward_e6: int, cost_lamports: int, sol_price_e6: int | None, limits: Limits
) -> str | None:
    """Return why a reward is too small for what it costs, or None.

    The cost is what is lost for good: fees at their highest, and the rent of accounts that are
    not the liquidator's own; below 0 it is a gain, which nothing pays for. Without a price of
    SOL nothing else can be compared, so nothing passes.

    >>> unprofitable(30_000, 200_000, 150_000_000, Limits(profit_floor_permille=1_000))
    >>> unprofitable(29_999, 200_000, 150_000_000, Limits(profit_floor_permille=1_000))
    'reward_below_cost'
    """
    if limits.profit_floor_permille == 0 or cost_lamports <= 0:
        return None
    if sol_price_e6 is None:
        return "sol_price_unknown"
    worth = reward_e6 * PERMILLE * LAMPORTS_PER_SOL
    asked = cost_lamports * sol_price_e6 * limits.profit_floor_permille
    return "reward_below_cost" if worth < asked else None


def landed_at_loss(reward_e6: int, cost_lamports: int, sol_price_e6: int | None) -> bool:
    """Return whether what was paid was more than the reward; False where it cannot be told."""
    if sol_price_e6 is None:
        return False
    return reward_e6 * LAMPORTS_PER_SOL < cost_lamports * sol_price_e6


def sol_price_of(mark_prices_e6: Mapping[str, int], limits: Limits) -> int | None:
    """Return the price of SOL in 1e-6 quote: of a SOL market, else as configured, else None.

    >>> sol_price_of({"BTC": 60_000_000_000, "SOL-PERP": 150_000_000}, Limits())
    150000000
    """
    for symbol in sorted(mark_prices_e6):
        base = symbol.replace("/", "-").partition("-")[0]
        if base.upper() == "SOL" and mark_prices_e6[symbol] > 0:
            return mark_prices_e6[symbol]
    return limits.sol_price_e6
