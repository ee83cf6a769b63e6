"""What `liquidate` must do, written from docs/PROGRAM.md without a look at the C: slow and plain."""

from dataclasses import dataclass
from typing import Any


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The numbers of `Assessment`, or the error."""

    error: str | None = None
    liquidatable: bool = False
    is_full: bool = False
    equity: int = 0
    maintenance_margin: int = 0
    allowed_size: int = 0
    reward: int = 0
    bad_debt: int = 0
    fund_delta: int = 0


class Case:
    """One position at one price."""

    def __init__(self, market: dict[str, Any], position: dict[str, Any], price: int) -> None:
        self.market, self.price = market, price
        self.size: int = abs(position["size"])
        self.side = 1 if position["size"] > 0 else -1
        self.entry: int = position["entry_price"]
        self.collateral: int = position["collateral"]
        self.bps: int = next(
            tier["maintenance_bps"]
            for tier in market["tiers"]
            if position["leverage"] <= tier["max_leverage"]
        )
        self.notional = self.value(self.size)
        self.equity: int = self.collateral + self.pnl(self.size)
        self.margin = ceil_div(self.notional * self.bps, 10_000)

    def value(self, size: int) -> int:
        return size * self.price // 10**9

    def pnl(self, size: int) -> int:
        return self.side * (self.value(size) - size * self.entry // 10**9)

    def fee(self, rest: int) -> int:
        fee_bps: int = self.market["liquidation_fee_bps"]
        return ceil_div((self.notional - self.value(rest)) * fee_bps, 10_000)

    def restores(self, rest: int) -> bool:
        """Has the rest the target health, once the fee is paid?"""
        margin = ceil_div(self.value(rest) * self.bps, 10_000)
        target: int = self.market["target_health_bps"]
        return (self.equity - self.fee(rest)) * 10_000 >= target * margin

    def largest_rest(self) -> int | None:
        """By trying every size; None when none restores the health."""
        return next((rest for rest in range(self.size - 1, -1, -1) if self.restores(rest)), None)

    def bounded_rest(self) -> int | None:
        """The same for large positions: go down from the margin that real numbers would allow.

        Without rounding, equity - (notional - n)*f >= target*k with n = k/m bounds k.
        """
        fee, target = self.market["liquidation_fee_bps"], self.market["target_health_bps"]
        spare = (self.equity * 10_000 - self.notional * fee) * self.bps
        bound = spare // (target * self.bps - 10_000 * fee)
        for margin in range(min(bound, self.margin), -1, -1):
            notional = margin * 10_000 // self.bps
            rest = min(((notional + 1) * 10**9 - 1) // self.price, self.size - 1)
            if self.restores(rest):
                return rest
        return None

    def outcome(self, rest: int | None, max_size: int, fund: int, pool: int) -> Outcome:
        """The whole liquidation when the sizing asks that `rest` remains."""
        verdict: dict[str, Any] = {"equity": self.equity, "maintenance_margin": self.margin}
        if self.equity >= self.margin:
            return Outcome(**verdict)
        closed = self.size
        wanted = self.size - (rest or 0)
        if 10 * self.equity >= self.margin and rest is not None:
            closed = min(self.size - rest, max_size)
            if closed == 0:
                return Outcome(error="InvalidAmount")
            rest = self.size - closed
            realized = self.pnl(self.size) - self.pnl(rest)
            too_small = self.value(rest) < self.market["min_position_notional"]
            if too_small or rest == 0 or self.collateral + realized < self.fee(rest):
                closed = self.size
        if closed == self.size and max_size < self.size:
            return Outcome(error="MaxSizeTooSmall")
        is_cut = closed < self.size and closed == max_size < wanted
        return self._settled(verdict, closed, fund, pool, tops_up=not is_cut)

    def _settled(
        self, verdict: dict[str, Any], closed: int, fund: int, pool: int, *, tops_up: bool
    ) -> Outcome:
        rest, before = self.size - closed, fund
        fee = min(self.fee(rest), max(self.equity, 0))
        reward = fee * self.market["liquidator_share_bps"] // 10_000
        fund += fee - reward
        profit = max(self.pnl(self.size) - self.pnl(rest), 0)
        fund -= max(profit - pool, 0)
        if fund < 0:
            return Outcome(error="ProfitPoolEmpty")
        top_up = min(max(self.market["min_reward"] - reward, 0), fund) if tops_up else 0
        bad_debt = max(-self.equity, 0) if rest == 0 else 0
        fund -= top_up + min(bad_debt, fund - top_up)
        return Outcome(
            **verdict,
            liquidatable=True,
            is_full=rest == 0,
            allowed_size=closed,
            reward=reward + top_up,
            bad_debt=bad_debt,
            fund_delta=fund - before,
        )
