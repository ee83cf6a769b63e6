"""The instructions of the reference program, executed in the VM."""

import pytest
from solders.pubkey import Pubkey

from tests.localnet.program_world import (
    FUND,
    IDL,
    PROGRAM,
    START,
    VAULT,
    ProgramWorld,
    decode_struct,
    encode_account,
    instruction,
)

BASE = 10**9
QUOTE = 10**6


@pytest.fixture
def world() -> ProgramWorld:
    return ProgramWorld().setup()


@pytest.fixture
def market(world):
    return world.market()


@pytest.fixture
def owner(world):
    return world.person(1_000_000 * QUOTE)


@pytest.fixture
def liquidator(world):
    return world.person()


def _open_long(world, owner, market, number=0):
    """10 base at 100 with 100 of collateral: notional 1000, maintenance margin 50."""
    result = world.open(owner, market, number, size=10 * BASE, collateral=100 * QUOTE)
    assert result.error is None, result.logs


def test_opening_stores_the_position_and_moves_the_collateral(world, market, owner):
    world.set_time(START + 5, slot=77)
    world.set_price(market, 100_000_000)

    result = world.open(owner, market, 3, size=-10 * BASE, collateral=100 * QUOTE, leverage=10)

    assert result.error is None
    position = world.read("Position", world.position(owner, market, 3))
    assert (position["owner"], position["market"], position["id"]) == (owner.key, market.key, 3)
    assert (position["size"], position["entry_price"]) == (-10 * BASE, 100_000_000)
    assert (position["collateral"], position["leverage"]) == (100 * QUOTE, 10)
    assert (position["opened_at"], position["opened_slot"], position["updated_slot"]) == (
        START + 5,
        77,
        77,
    )
    assert world.tokens(VAULT) == 100 * QUOTE
    fields = world.read("Market", market.key)
    assert (fields["open_interest_long"], fields["open_interest_short"]) == (0, 10 * BASE)
    assert fields["position_count"] == 1


@pytest.mark.parametrize(
    ("wish", "error"),
    [
        ({"size": 0}, "InvalidAmount"),
        ({"size": -(2**63)}, "InvalidAmount"),
        ({"leverage": 0}, "InvalidAmount"),
        ({"leverage": 21}, "LeverageTooHigh"),
        ({"size": 100_000_000, "leverage": 1}, None),
        ({"size": 99_999_999, "leverage": 1}, "NotionalTooSmall"),
        ({"collateral": 100 * QUOTE - 1}, "InsufficientCollateral"),
        ({"size": 10 * BASE + 1, "collateral": 100 * QUOTE}, None),
        ({"size": 10 * BASE + 10, "collateral": 100 * QUOTE}, "InsufficientCollateral"),
        ({"collateral": 2**63}, "MathOverflow"),
        ({"size": 2**63 - 1, "collateral": 10**15}, "InsufficientCollateral"),
    ],
    ids=str,
)
def test_what_may_be_opened(world, market, owner, wish, error):
    result = world.open(owner, market, **{"size": 10 * BASE, "collateral": 100 * QUOTE, **wish})

    assert result.error == error


def test_without_the_tokens_nothing_is_opened(world, market):
    poor = world.person(100 * QUOTE - 1)

    result = world.open(poor, market, size=10 * BASE, collateral=100 * QUOTE)

    assert result.error is not None
    assert not world.exists(world.position(poor, market))
    assert world.read("Market", market.key)["position_count"] == 0


def test_a_paused_market_opens_and_liquidates_nothing_but_lets_owners_out(
    world, market, owner, liquidator
):
    _open_long(world, owner, market)
    world.update(market, paused=True)

    opened = world.open(owner, market, 1, size=10 * BASE, collateral=100 * QUOTE)
    liquidated = world.liquidate(liquidator, owner, market)
    assessed = world.assess(owner, market)
    added = world.add(owner, market, amount=1)
    closed = world.close(owner, market)

    assert [opened.error, liquidated.error, assessed.error] == ["MarketPaused"] * 3
    assert (added.error, closed.error) == (None, None)


def test_added_collateral_makes_a_position_healthy_again(world, market, owner, liquidator):
    _open_long(world, owner, market)
    world.set_price(market, 94_000_000)
    world.set_time(START, slot=9)
    assert decode_struct("Assessment", world.assess(owner, market).returned)["liquidatable"]

    result = world.add(owner, market, amount=50 * QUOTE)

    position = world.read("Position", world.position(owner, market))
    assert result.error is None
    assert (position["collateral"], position["updated_slot"]) == (150 * QUOTE, 9)
    assert world.tokens(VAULT) == 150 * QUOTE
    assert world.liquidate(liquidator, owner, market).error == "PositionHealthy"


def test_collateral_stays_within_its_signed_range(world, market, owner):
    _open_long(world, owner, market)
    key = world.position(owner, market)
    fields = {**world.read("Position", key), "collateral": 2**63 - 6}
    world.put(key, encode_account("Position", fields))

    errors = [world.add(owner, market, amount=amount).error for amount in (6, 5, 2**64 - 1)]

    assert errors == ["MathOverflow", None, "MathOverflow"]


def test_zero_amounts_are_refused(world, market, owner):
    _open_long(world, owner, market)
    accounts = {"funder": owner.key, "funder_token": owner.token}

    added = world.add(owner, market, amount=0)
    funded = world.call("fund_insurance", [owner], accounts, amount=0)

    assert (added.error, funded.error) == ("InvalidAmount", "InvalidAmount")


def test_closing_pays_the_equity_and_the_rent(world, market, owner):
    start = world.tokens(owner.token)
    _open_long(world, owner, market)
    world.set_price(market, 97_000_000)
    lamports = world.svm.get_balance(owner.key)

    result = world.close(owner, market)

    assert result.error is None
    assert world.tokens(owner.token) == start - 30 * QUOTE
    assert world.read("Market", market.key)["profit_pool"] == 30 * QUOTE
    assert world.read("Market", market.key)["open_interest_long"] == 0
    assert world.read("Market", market.key)["position_count"] == 0
    assert world.svm.get_balance(owner.key) > lamports
    assert not world.exists(world.position(owner, market))


def test_a_profit_is_paid_from_the_pool_and_then_from_the_fund(world, market, owner):
    start = world.tokens(owner.token)
    _open_long(world, owner, market)
    _open_long(world, owner, market, 1)
    world.fund(45 * QUOTE)
    world.set_price(market, 97_000_000)
    world.close(owner, market, 1)
    world.set_price(market, 107_500_001)
    too_much = world.close(owner, market)
    world.set_price(market, 107_500_000)

    result = world.close(owner, market)

    assert too_much.error == "ProfitPoolEmpty"
    assert result.error is None
    assert world.tokens(owner.token) == start + 45 * QUOTE
    assert world.read("InsuranceFund", FUND)["balance"] == 0
    assert world.read("Market", market.key)["profit_pool"] == 0


def test_a_liquidatable_position_cannot_be_closed_by_its_owner(world, market, owner):
    _open_long(world, owner, market)
    world.set_price(market, 94_700_000)

    assert world.close(owner, market).error == "PositionLiquidatable"


def test_equity_equal_to_the_margin_is_healthy_and_the_refusal_is_in_anchors_words(
    world, market, owner, liquidator
):
    # at 95 the notional is 950 and the margin 47.5
    at_line, below = 97_500_000, 97_499_999
    world.open(owner, market, 0, size=10 * BASE, collateral=at_line, leverage=20)
    world.open(owner, market, 1, size=10 * BASE, collateral=below, leverage=20)
    world.set_price(market, 95_000_000)

    result = world.liquidate(liquidator, owner, market, 0)

    assert world.liquidate(liquidator, owner, market, 1).event["equity"] == 47_499_999
    assert result.error == "PositionHealthy"
    assert (
        "Program log: AnchorError occurred. Error Code: PositionHealthy. Error Number: 6000. "
        "Error Message: Equity is not below the maintenance margin." in result.logs
    )


def test_a_partial_liquidation_closes_what_the_arithmetic_says(world, market, owner, liquidator):
    # equity 45, margin 47.25; fee 1 % and target 1.2: the rest r solves
    # 45 - (945 - r)*0.01 = 1.2*0.05*r, r = 711; 7.523809534 base are worth 711.000000
    _open_long(world, owner, market)
    world.set_price(market, 94_500_000)
    world.set_time(START, slot=5)

    result = world.liquidate(liquidator, owner, market)

    event = result.event
    assert (event["closed_size"], event["remaining_size"], event["is_full"]) == (
        2_476_190_466,
        7_523_809_534,
        False,
    )
    assert (event["reward"], event["fund_delta"], event["owner_payout"]) == (
        1_170_000,
        1_170_000,
        0,
    )
    assert (event["position"], event["owner"]) == (world.position(owner, market), owner.key)
    assert (event["market"], event["liquidator"]) == (market.key, liquidator.key)
    assert (event["price"], event["slot"]) == (94_500_000, 5)
    position = world.read("Position", world.position(owner, market))
    assert (position["size"], position["collateral"]) == (7_523_809_534, 84_040_953)
    assert (position["realized_pnl"], position["updated_slot"]) == (-13_619_047, 5)
    assert world.tokens(liquidator.token) == 1_170_000
    assert world.read("Market", market.key)["profit_pool"] == 13_619_047
    assert world.read("Market", market.key)["open_interest_long"] == 7_523_809_534
    assert world.read("InsuranceFund", FUND)["balance"] == 1_170_000
    assert world.liquidate(liquidator, owner, market).error == "PositionHealthy"


def test_max_size_limits_a_partial_liquidation(world, market, owner, liquidator):
    _open_long(world, owner, market)
    world.set_price(market, 94_500_000)

    nothing = world.liquidate(liquidator, owner, market, max_size=0)
    little = world.liquidate(liquidator, owner, market, max_size=1000)
    rest = world.liquidate(liquidator, owner, market)

    assert nothing.error == "InvalidAmount"
    assert (little.event["closed_size"], little.event["is_full"]) == (1000, False)
    assert rest.error is None
    position = world.read("Position", world.position(owner, market))
    rest_pnl = position["size"] * 94_500_000 // BASE - position["size"] * 100_000_000 // BASE
    assert position["realized_pnl"] == -55 * QUOTE - rest_pnl


@pytest.mark.parametrize(
    ("smallest", "is_full"), [(710_999_999, False), (711_000_000, False), (711_000_001, True)]
)
def test_a_rest_below_the_smallest_notional_is_closed_too(
    world, market, owner, liquidator, smallest, is_full
):
    _open_long(world, owner, market)
    world.update(market, min_position_notional=smallest)
    world.set_price(market, 94_500_000)

    result = world.liquidate(liquidator, owner, market)

    assert result.event["is_full"] == is_full


def test_many_small_calls_do_not_draw_the_top_up(world, market, owner, liquidator):
    _open_long(world, owner, market)
    world.fund(10 * QUOTE)
    world.set_price(market, 94_500_000)

    rewards = [
        world.liquidate(liquidator, owner, market, max_size=1000).event["reward"] for _ in range(3)
    ]

    assert rewards == [0, 0, 0]
    assert world.read("InsuranceFund", FUND)["balance"] == 10 * QUOTE + 3


def test_a_full_liquidation_pays_fee_reward_rest_and_rent(world, market, owner, liquidator):
    _open_long(world, owner, market)
    start = world.tokens(owner.token)
    world.update(market, min_position_notional=800 * QUOTE)
    world.set_price(market, 94_000_000)
    rent = world.svm.get_account(world.position(owner, market)).lamports
    lamports = world.svm.get_balance(liquidator.key)

    result = world.liquidate(liquidator, owner, market)

    assert result.event["is_full"]
    assert result.event["owner_payout"] == 40 * QUOTE - 9_400_000
    assert world.tokens(owner.token) == start + 40 * QUOTE - 9_400_000
    assert world.tokens(liquidator.token) == 4_700_000
    assert world.read("InsuranceFund", FUND)["balance"] == 4_700_000
    assert world.read("InsuranceFund", FUND)["liquidation_count"] == 1
    assert world.svm.get_balance(liquidator.key) == lamports + rent - 5000
    assert world.read("Market", market.key)["position_count"] == 0


def test_a_full_liquidation_needs_room_for_the_whole_position(world, market, owner, liquidator):
    _open_long(world, owner, market)
    world.set_price(market, 80_000_000)

    short = world.liquidate(liquidator, owner, market, max_size=10 * BASE - 1)
    assessed = world.assess(owner, market, max_size=10 * BASE - 1)
    exact = world.liquidate(liquidator, owner, market, max_size=10 * BASE)

    assert (short.error, assessed.error, exact.error) == (
        "MaxSizeTooSmall",
        "MaxSizeTooSmall",
        None,
    )


def test_bad_debt_is_covered_after_the_reward_as_far_as_the_fund_goes(
    world, market, owner, liquidator
):
    for number in (0, 1):
        _open_long(world, owner, market, number)
    world.fund(25 * QUOTE)
    world.set_price(market, 88_000_000)

    first = world.liquidate(liquidator, owner, market, 0).event
    second = world.liquidate(liquidator, owner, market, 1).event

    assert (first["equity"], first["reward"]) == (-20 * QUOTE, 100_000)
    assert (first["bad_debt_covered"], first["bad_debt_uncovered"]) == (20 * QUOTE, 0)
    assert (second["bad_debt_covered"], second["bad_debt_uncovered"]) == (4_800_000, 15_200_000)
    fund = world.read("InsuranceFund", FUND)
    assert (fund["bad_debt_covered"], fund["bad_debt_uncovered"]) == (24_800_000, 15_200_000)
    assert fund["balance"] == 0
    assert world.read("Market", market.key)["profit_pool"] == 224_800_000


def test_an_address_can_be_used_again_after_its_position_is_gone(world, market, owner, liquidator):
    _open_long(world, owner, market)
    world.set_price(market, 80_000_000)
    world.liquidate(liquidator, owner, market)
    gone = world.liquidate(liquidator, owner, market)
    world.set_price(market, 100_000_000)
    world.set_time(START, slot=50)

    _open_long(world, owner, market)

    assert gone.error == "PositionGone"
    assert world.read("Position", world.position(owner, market))["opened_slot"] == 50
    assert world.close(owner, market).error is None
    _open_long(world, owner, market)


def test_assess_changes_nothing_and_says_what_liquidate_then_does(world, market, owner, liquidator):
    _open_long(world, owner, market)
    healthy = decode_struct("Assessment", world.assess(owner, market, max_size=0).returned)
    world.set_price(market, 94_500_000)
    before = world.raw(world.position(owner, market))

    assessed = decode_struct("Assessment", world.assess(owner, market).returned)

    assert world.raw(world.position(owner, market)) == before
    event = world.liquidate(liquidator, owner, market).event
    assert healthy["equity"] == 100 * QUOTE
    assert not any(
        healthy[name] for name in ("liquidatable", "allowed_size", "reward", "fund_delta")
    )
    assert assessed["allowed_size"] == event["closed_size"]
    assert (assessed["reward"], assessed["fund_delta"]) == (event["reward"], event["fund_delta"])


@pytest.mark.parametrize("body", [b"", b"\x01", b"\xff" * 8, None, b"+1"], ids=str)
def test_malformed_instruction_data_is_refused(world, market, owner, liquidator, body):
    _open_long(world, owner, market)
    good = instruction("liquidate", world.liquidate_call(liquidator, owner, market), max_size=1)
    variants = {None: bytes(good.data)[:-1], b"+1": bytes(good.data) + b"\0"}
    wrong = type(good)(PROGRAM, variants.get(body, body), good.accounts)

    assert world.send([wrong], [liquidator]).error == "InvalidInstruction"


def test_a_flag_that_is_no_bool_is_refused(world, market):
    good = instruction(
        "update_market", world.market_call(market), params=market.params, paused=True
    )
    wrong = type(good)(PROGRAM, bytes(good.data)[:-1] + b"\2", good.accounts)

    assert world.send([wrong], [world.authority]).error == "InvalidInstruction"


def test_missing_accounts_are_refused_and_further_ones_are_ignored(
    world, market, owner, liquidator
):
    _open_long(world, owner, market)
    good = instruction("liquidate", world.liquidate_call(liquidator, owner, market), max_size=1)
    extra = [*good.accounts, *[good.accounts[5], good.accounts[0]] * 6]
    fresh = [type(extra[0])(Pubkey.new_unique(), False, False) for _ in range(5)]

    missing = world.send([type(good)(PROGRAM, good.data, good.accounts[:-1])], [liquidator])
    further = world.send([type(good)(PROGRAM, good.data, [*extra, *fresh])], [liquidator])

    assert missing.error == "NotEnoughAccounts"
    assert further.error == "PositionHealthy"


def test_compute_units_stay_within_what_a_keeper_asks_for(world, market, owner, liquidator):
    for number in range(2):
        _open_long(world, owner, market, number)
    healthy = world.liquidate(liquidator, owner, market)
    world.set_price(market, 94_500_000)
    partial = world.liquidate(liquidator, owner, market)
    world.set_price(market, 89_000_000)
    full = world.liquidate(liquidator, owner, market, 1)

    assert (partial.error, full.error) == (None, None)
    assert healthy.compute_units < 4_000
    assert partial.compute_units < 14_000
    assert full.compute_units < 18_000


def test_error_codes_count_up_from_6000_and_every_name_is_unique():
    codes = [error["code"] for error in IDL["errors"]]

    assert codes == list(range(6000, 6000 + len(codes)))
    assert len({error["name"] for error in IDL["errors"]}) == len(codes)
