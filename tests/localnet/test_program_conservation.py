"""Tokens are neither made nor lost, whatever happens in whatever order."""

import random
from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from solders.pubkey import Pubkey

from tests.localnet.program_world import FUND, VAULT, MarketAccounts, Person, ProgramWorld

BASE = 10**9
QUOTE = 10**6
STEPS = 60


class History:
    """Random instructions in one world, and the books that must balance after each."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.world = world = ProgramWorld().setup()
        fee, share = self.rng.choice([0, 100, 400]), self.rng.choice([0, 5000, 10_000])
        rules: dict[str, Any] = {"liquidation_fee_bps": fee, "liquidator_share_bps": share}
        self.prices = {b"A": 100 * QUOTE, b"B": 7, b"C": 60_000 * QUOTE}
        self.markets = {
            symbol: world.market(price, symbol=symbol, min_position_notional=1, **rules)
            for symbol, price in self.prices.items()
        }
        self.people = [world.person(10**13) for _ in range(3)]
        self.tokens = [person.token for person in [*self.people, world.authority]]
        self.opened: set[tuple[int, bytes, int]] = set()
        self.done: Counter[str] = Counter()
        self.supply = self.held()

    def held(self) -> int:
        return sum(map(self.world.tokens, self.tokens)) + self.world.tokens(VAULT)

    def step(self) -> None:
        actions = [self.open, self.open, self.move, self.move, self.liquidate, self.liquidate,
                   self.liquidate, self.add, self.close, self.fund]  # fmt: skip
        action = self.rng.choice(actions)
        error = action()
        self.done[f"{action.__name__} {error or 'ok'}"] += 1

    def pick(self) -> tuple[Person, MarketAccounts, int] | None:
        if not self.opened:
            return None
        person, symbol, number = self.rng.choice(sorted(self.opened))
        return self.people[person], self.markets[symbol], number

    def open(self) -> str | None:
        person, symbol = self.rng.randrange(3), self.rng.choice(sorted(self.markets))
        number, leverage = self.rng.randrange(3), self.rng.randint(1, 20)
        notional = self.rng.randint(1, 10_000 * QUOTE)
        size = min(max(1, notional * BASE // self.prices[symbol]), 10**18)
        collateral = -(-notional // leverage) + self.rng.choice([0, 1, notional // 50])
        result = self.world.open(
            self.people[person], self.markets[symbol], number,
            size=self.rng.choice([-1, 1]) * size, collateral=collateral, leverage=leverage,
        )  # fmt: skip
        if result.error is None:
            self.opened.add((person, symbol, number))
        return result.error

    def move(self) -> str | None:
        symbol = self.rng.choice(sorted(self.markets))
        self.prices[symbol] = max(1, self.prices[symbol] * self.rng.randint(85, 118) // 100)
        self.world.set_price(self.markets[symbol], self.prices[symbol])
        return None

    def liquidate(self) -> str | None:
        picked = self.pick()
        if picked is None:
            return "nothing open"
        owner, market, number = picked
        max_size = self.rng.choice([2**64 - 1, 2**64 - 1, self.rng.randrange(10**12)])
        result = self.world.liquidate(
            self.rng.choice(self.people), owner, market, number, max_size=max_size
        )
        if result.error:
            return result.error
        self.forget_closed()
        kind = "full" if result.event["is_full"] else "partial"
        return kind + (" bad debt" if result.event["equity"] < 0 else "")

    def add(self) -> str | None:
        picked = self.pick()
        if picked is None:
            return "nothing open"
        return self.world.add(*picked, amount=self.rng.randint(1, 100 * QUOTE)).error

    def close(self) -> str | None:
        picked = self.pick()
        if picked is None:
            return "nothing open"
        error = self.world.close(*picked).error
        self.forget_closed()
        return error

    def fund(self) -> str | None:
        self.world.fund(self.rng.randint(1, 500 * QUOTE))
        return None

    def forget_closed(self) -> None:
        self.opened = {entry for entry in self.opened if self.world.exists(self.key(entry))}

    def key(self, entry: tuple[int, bytes, int]) -> Pubkey:
        person, symbol, number = entry
        return self.world.position(self.people[person], self.markets[symbol], number)

    def check(self) -> None:
        positions = [self.world.read("Position", self.key(entry)) for entry in sorted(self.opened)]
        fund = self.world.read("InsuranceFund", FUND)
        owed = sum(position["collateral"] for position in positions) + fund["balance"]
        for market in self.markets.values():
            fields = self.world.read("Market", market.key)
            sizes = [position["size"] for position in positions if position["market"] == market.key]
            owed += fields["profit_pool"]
            assert fields["open_interest_long"] == sum(size for size in sizes if size > 0)
            assert fields["open_interest_short"] == -sum(size for size in sizes if size < 0)
            assert fields["position_count"] == len(sizes)
        assert self.world.tokens(VAULT) == owed
        assert self.held() == self.supply


@settings(max_examples=30, deadline=None, derandomize=True, database=None)
@given(st.integers(0, 2**32))
def test_the_vault_holds_what_is_owed_after_every_instruction(seed):
    history = History(seed)

    for _ in range(STEPS):
        history.step()
        history.check()


def test_the_histories_reach_every_kind_of_ending():
    done: Counter[str] = Counter()
    for seed in range(6):
        history = History(seed)
        for _ in range(200):
            history.step()
        history.check()
        done += history.done

    endings = ("full", "partial", "full bad debt", "PositionHealthy", "MaxSizeTooSmall")
    assert all(done[f"liquidate {ending}"] for ending in endings)
    assert done["close ok"]
    assert done["close ProfitPoolEmpty"]
    assert done["close PositionLiquidatable"]
