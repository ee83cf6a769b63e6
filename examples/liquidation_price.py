"""Where a position falls, and what its liquidation does: pure arithmetic, no chain.

python examples/liquidation_price.py
"""

from liqctl.core.health import health
from liqctl.core.position import Side
from liqctl.core.sizing import Holding, Terms, margin, plan_closing
from liqctl.core.trigger import crossing_price_e6

TERMS = Terms(
    maintenance_bps=500,
    liquidation_fee_bps=50,
    liquidator_share_bps=5_000,
    target_health_bps=12_500,
    min_reward=250_000,
    min_position_notional=10_000_000,
    profit_pool=0,
    fund_balance=1_000_000_000,
)
# 10 SOL long from 150, with 150 quote of collateral: ten times leverage.
LONG = Holding(
    side=Side.LONG, size_e9=10 * 10**9, entry_price_e6=150_000_000, collateral=150_000_000
)


def main() -> None:
    """Print the flip price and the plan at a few prices below it."""
    flip = crossing_price_e6(LONG, TERMS.maintenance_bps)
    if flip is None:
        print("the verdict does not depend on the price")
        return
    print(f"liquidatable at {flip / 1e6} and below")
    for price_e6 in (flip + 1, flip, flip - 2_000_000, flip - 6_500_000, flip - 9_000_000):
        at = margin(LONG, TERMS.maintenance_bps, price_e6)
        line = f"{price_e6 / 1e6:>10}  health {health(at.equity, at.maintenance_margin):>8.4f}"
        if not at.liquidatable:
            print(f"{line}  healthy")
            continue
        plan = plan_closing(LONG, TERMS, price_e6)
        print(
            f"{line}  {plan.kind}: closes {plan.size_e9 / 1e9} SOL, reward {plan.reward / 1e6}, "
            f"bad debt {(plan.bad_debt_covered + plan.bad_debt_uncovered) / 1e6}"
        )


if __name__ == "__main__":
    main()
