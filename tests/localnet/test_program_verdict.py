"""`assess` and `liquidate` against a plain model of the arithmetic."""

import random
from typing import Any

import pytest

from tests.localnet.program_model import Case, Outcome
from tests.localnet.program_world import (
    FUND,
    MAX,
    TOKEN_PROGRAM,
    VAULT,
    MarketAccounts,
    Price,
    ProgramWorld,
    decode_struct,
    encode_account,
    token_account_body,
)

SMALL, LARGE = 300, 500


@pytest.fixture(scope="module")
def world() -> ProgramWorld:
    return ProgramWorld().setup()


class Bench:
    """One planted position whose market, size and price change from case to case."""

    def __init__(self, world: ProgramWorld) -> None:
        self.world = world
        self.owner, self.liquidator = world.person(10**15), world.person()
        self.market: MarketAccounts = world.market(symbol=b"BENCH")
        opened = world.open(self.owner, self.market, size=10**9, collateral=10**8)
        assert opened.error is None
        self.key = world.position(self.owner, self.market)
        self.position = world.read("Position", self.key)
        self.market_fields = world.read("Market", self.market.key)
        self.fund_fields = world.read("InsuranceFund", FUND)

    def plant(
        self, market: dict[str, Any], position: dict[str, Any], fund: int, price: int
    ) -> None:
        world, size = self.world, abs(position["size"])
        market = {**market, "open_interest_long": size, "open_interest_short": size}
        world.put(self.market.key, encode_account("Market", market))
        world.put(self.key, encode_account("Position", position))
        world.put(FUND, encode_account("InsuranceFund", {**self.fund_fields, "balance": fund}))
        world.put(VAULT, token_account_body(world.mint, FUND, 10**18), TOKEN_PROGRAM)
        world.set_price(self.market, Price(price=price))

    def ask(self, max_size: int) -> Outcome:
        result = self.world.assess(self.owner, self.market, max_size=max_size)
        if result.error:
            return Outcome(error=result.error)
        fields = decode_struct("Assessment", result.returned)
        assert fields.pop("padding") == [0] * 6
        return Outcome(**fields)

    def do(self, max_size: int) -> Outcome:
        """The same numbers out of the event of a real liquidation."""
        result = self.world.liquidate(self.liquidator, self.owner, self.market, max_size=max_size)
        if result.error == "PositionHealthy":
            return Outcome()
        if result.error:
            return Outcome(error=result.error)
        event = result.event
        return Outcome(
            liquidatable=True,
            is_full=event["is_full"],
            equity=event["equity"],
            maintenance_margin=event["maintenance_margin"],
            allowed_size=event["closed_size"],
            reward=event["reward"],
            bad_debt=event["bad_debt_covered"] + event["bad_debt_uncovered"],
            fund_delta=event["fund_delta"],
        )

    def draw_market(self, rng: random.Random) -> dict[str, Any]:
        bps = rng.choice([1, 7, 50, 333, 500, 1000, 5000])
        return {
            **self.market_fields,
            "tiers": [{"max_leverage": 10_000 // bps, "maintenance_bps": bps}] * 5,
            "liquidation_fee_bps": rng.randint(0, bps * 10_000 // (10_000 + bps)),
            "liquidator_share_bps": rng.choice([0, 1, 5000, 9999, 10_000]),
            "target_health_bps": rng.choice([10_001, 11_000, 12_000, 15_000, 65_535]),
            "min_reward": rng.choice([0, 3, 100_000]),
            "min_position_notional": rng.choice([0, 1, 40, 10_000_000]),
            "profit_pool": rng.choice([0, 5, 10**15]),
        }

    def draw_position(self, rng: random.Random, case: dict[str, Any]) -> tuple[dict[str, Any], int]:
        """A position whose equity lies near a threshold, and the price."""
        size = rng.randint(1, case["size_max"])
        price = rng.randint(case["price_min"], case["price_max"])
        entry = max(1, price + rng.randint(-price // 3, price // 3))
        side = rng.choice([-1, 1])
        position = {**self.position, "size": side * size, "entry_price": entry, "collateral": 0,
                    "leverage": 1}  # fmt: skip
        empty = Case(case["market"], position, price)
        tenth = empty.margin // 10
        equity = rng.choice([empty.margin, tenth, 0, rng.randint(0, empty.margin + 1)])
        equity += rng.randint(-3, 3)
        return {**position, "collateral": max(0, equity - empty.equity)}, price


def _compare(
    bench: Bench, rng: random.Random, scale: dict[str, Any], *, exhaustive: bool
) -> Outcome:
    market = bench.draw_market(rng)
    position, price = bench.draw_position(rng, {**scale, "market": market})
    fund = rng.choice([0, 1, 50_000, 10**15])
    case = Case(market, position, price)
    max_size = rng.choice([MAX, MAX, MAX, case.size, case.size // 2, rng.randint(0, case.size)])
    bench.plant(market, position, fund, price)

    rest = case.largest_rest() if exhaustive else case.bounded_rest()
    expected = case.outcome(rest, max_size, fund, market["profit_pool"])

    assert bench.ask(max_size) == expected
    done = bench.do(max_size)
    assert done == (expected if expected.liquidatable else Outcome(error=expected.error))
    return expected


def _kinds(outcomes: list[Outcome]) -> set[str]:
    names = {True: "full", False: "partial"}
    return {
        outcome.error or (names[outcome.is_full] if outcome.liquidatable else "healthy")
        for outcome in outcomes
    }


def test_small_positions_agree_with_a_search_over_every_size(world):
    bench = Bench(world)
    rng = random.Random(1)
    scale = {"size_max": 2_000, "price_min": 10**7, "price_max": 10**10}

    outcomes = [_compare(bench, rng, scale, exhaustive=True) for _ in range(SMALL)]

    assert {"full", "partial", "healthy", "MaxSizeTooSmall"} <= _kinds(outcomes)


def test_real_and_huge_positions_agree_with_the_model(world):
    bench = Bench(ProgramWorld().setup())
    rng = random.Random(2)
    real = {"size_max": 10**13, "price_min": 10**4, "price_max": 10**11}
    huge = {"size_max": 10**16, "price_min": 10**9, "price_max": 10**11}

    outcomes = [
        _compare(bench, rng, huge if number % 4 == 0 else real, exhaustive=False)
        for number in range(LARGE)
    ]

    assert {"full", "partial", "healthy", "MaxSizeTooSmall"} <= _kinds(outcomes)
    assert any(outcome.bad_debt for outcome in outcomes)


def test_a_part_whose_fee_exceeds_collateral_and_profit_is_not_closed():
    # a profit of 161 on a notional of 897 without collateral: one size unit frees a notional of 1 and a
    # profit of 0, which cannot pay the fee of 1
    bench = Bench(ProgramWorld().setup())
    market = {
        **bench.market_fields,
        "tiers": [{"max_leverage": 1, "maintenance_bps": 5000}] * 5,
        "liquidation_fee_bps": 665,
        "target_health_bps": 10_001,
        "min_position_notional": 0,
        "min_reward": 0,
        "profit_pool": 10**6,
    }
    position = {
        **bench.position,
        "size": 23 * 10**9,
        "entry_price": 32,
        "collateral": 0,
        "leverage": 1,
    }
    bench.plant(market, position, 0, 39)

    outcomes = [bench.ask(1), bench.do(1), bench.ask(10**10)]

    assert [outcome.error for outcome in outcomes] == ["MaxSizeTooSmall", "MaxSizeTooSmall", None]
    assert (outcomes[2].equity, outcomes[2].is_full) == (161, False)
