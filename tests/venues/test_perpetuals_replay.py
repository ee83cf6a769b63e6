"""The perpetuals arithmetic: the real program's answers, and a second writing of its source."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqctl.core.fixed import U64_MAX
from liqctl.venues import perpetuals_replay as replay
from liqctl.venues.perpetuals_math import Refused
from tests.venues import perpetuals_model as model
from tests.venues.perpetuals_cases import (
    CUSTODY_FIELDS,
    LIMITS,
    POSITION_FIELDS,
    VECTORS,
    Planted,
)

LIQUIDATABLE = [number for number, one in enumerate(VECTORS) if one["expect"]["liquidate"]["ok"]]
CUSTODY = {name: (kind, at) for name, kind, at in CUSTODY_FIELDS}
EXPONENTS = (-45, -39, -38, -32, -26, -25, -20, -19, -18, -12, -6, -5, 0, 1, 13, 14, 32, 33)


def answers(planted):
    """What product and model say to the four instructions: a value, or the code of the error."""
    accounts, case = planted.accounts(), planted.case()
    ours = [
        _ours(replay.liquidation_state, accounts),
        _ours(replay.liquidation_price, accounts),
        _ours(replay.profit_and_loss, accounts),
        _ours(lambda one: _paid(replay.liquidate(one)), accounts),
    ]
    theirs = [
        _theirs(model.get_liquidation_state, case),
        _theirs(model.get_liquidation_price, case),
        _theirs(model.get_pnl, case),
        _theirs(model.liquidate, case),
    ]
    return ours, theirs


def _paid(payout):
    return payout.reward, payout.owner


def _ours(ask, accounts):
    try:
        return ask(accounts)
    except Refused as refused:
        return f"error {refused.code}"


def _theirs(ask, case):
    try:
        return ask(case)
    except model.Err as error:
        return f"error {error.code}"


def first(number, *, oracle=None, side=None, paying=False):
    """The n-th liquidatable vector of a kind; paying ones leave something for the owner."""
    found = [
        one
        for one in (VECTORS[index] for index in LIQUIDATABLE)
        if oracle in {None, one["oracle"]}
        and side in {None, one["side"]}
        and (one["expect"]["liquidate"]["user"] > 0 or not paying)
    ]
    return Planted(found[number])


def put(planted, name, value, account="custody"):
    kind, at = CUSTODY[name]
    planted.put(account, kind, at, value)


@pytest.mark.parametrize("number", range(len(VECTORS)))
def test_product_and_model_answer_what_the_program_answered(number):
    vector = VECTORS[number]
    expect, paid = vector["expect"], vector["expect"]["liquidate"]
    code = paid.get("code", [None])[0]
    wanted = [
        expect["state"] if expect["state"] is not None else f"error {code}",
        expect["liq_price"] if expect["state"] is not None else f"error {code}",
        tuple(expect["pnl"]) if expect["pnl"] is not None else f"error {code}",
        (paid["reward"], paid["user"]) if paid["ok"] else f"error {code}",
    ]

    assert answers(Planted(vector)) == (wanted, wanted)


def _value(kind, name, old):
    low, high = LIMITS[kind]
    flags = {"is_stable", "is_virtual", "use_ema", "allow_close_position"}
    if name in flags:
        return st.integers(0, 1)
    if name in {"oracle_type", "fees_mode", "side"}:
        return st.integers(0, 3)
    if kind == "i":
        return st.sampled_from([*EXPONENTS, low, low + 4, high, high - 5])
    near = st.integers(-3, 3).map(lambda by: old + by)
    scaled = st.sampled_from([1, 5, 9, 11, 20, 100, 1_000]).map(lambda tenths: old * tenths // 10)
    round_ones = st.sampled_from([0, 1, 3_600, 9_999, 10_000, 10_001, 10**9 - 1, 10**9, 10**18])
    edges = st.sampled_from([low, low + 1, high, high - 1, high // 2, high // 10_000, -1])
    powers = st.integers(0, 63).map(lambda bits: 1 << bits)
    return st.one_of(near, scaled, round_ones, edges, powers)


@st.composite
def changed(draw):
    """A vector with some fields of its accounts changed, mostly to what breaks something."""
    planted = Planted(VECTORS[draw(st.sampled_from(LIQUIDATABLE) | st.integers(0, 119))])
    fields = planted.fields()
    for _ in range(draw(st.integers(1, 8))):
        account, (name, kind, at) = fields[draw(st.integers(0, len(fields) - 1))]
        planted.put(account, kind, at, draw(_value(kind, name, planted.get(account, kind, at))))
    if draw(st.integers(0, 19)) == 0:
        planted.now = draw(st.sampled_from([0, -1, 1, 2**63 - 1, planted.now + 10**7]))
    return planted


@settings(max_examples=600, deadline=None)
@given(planted=changed())
def test_product_and_model_agree_on_accounts_full_of_edges(planted):
    ours, theirs = answers(planted)

    assert ours == theirs


@pytest.mark.parametrize("name", ["position", "custody", "collateral_custody"])
def test_an_account_that_does_not_exist_is_reported_as_anchor_does(name):
    planted = first(0, side="short")
    planted.missing.add(name)

    assert answers(planted) == (["error 3012"] * 4,) * 2


@pytest.mark.parametrize("name", ["custody_oracle", "collateral_oracle"])
def test_an_oracle_account_that_does_not_exist_is_an_invalid_one(name):
    planted = first(0, side="short")
    planted.missing.add(name)

    assert answers(planted) == (["error 6005"] * 4,) * 2


@pytest.mark.parametrize("size, code", [(7, 3001), (8, 3003), (233, 3003)])
def test_a_position_that_ends_early_is_not_deserialized(size, code):
    planted = first(0)
    del planted.data["position"][size:]

    assert answers(planted) == ([f"error {code}"] * 4,) * 2


def test_a_paused_custody_is_told_by_liquidate_before_its_stale_price():
    planted = first(0)
    put(planted, "allow_close_position", 0)
    planted.now += 1_000_000

    ours, theirs = answers(planted)

    assert ours == theirs == ["error 6007"] * 3 + ["error 6024"]


def test_a_stale_price_is_told_before_its_value():
    planted = first(0, oracle="custom")
    planted.put("custody_oracle", "Q", 8, 0)
    planted.now += 1_000_000

    assert answers(planted) == (["error 6007"] * 4,) * 2


def test_a_price_published_in_the_far_past_overflows_before_it_is_stale():
    planted = first(0, oracle="custom")
    planted.put("custody_oracle", "q", 36, -(2**63))

    assert answers(planted) == (["error 6003"] * 4,) * 2


def test_the_reported_liquidation_price_does_not_read_the_spot():
    planted = first(0, oracle="custom", side="short")
    put(planted, "use_ema", 1)
    planted.put("custody_oracle", "Q", 8, 0)

    ours, theirs = answers(planted)

    assert ours == theirs
    assert ours[0] == "error 6008"
    assert isinstance(ours[1], int)


def test_the_token_is_read_before_the_collateral():
    planted = first(0, oracle="custom", side="short")
    planted.put("custody_oracle", "q", 36, planted.now - 1_000_000)
    planted.missing.add("collateral_oracle")

    assert answers(planted) == (["error 6007"] * 4,) * 2


def test_a_custody_with_thirty_decimals_overflows():
    planted = first(0)
    put(planted, "decimals", 30)

    assert answers(planted) == (["error 6003"] * 4,) * 2


def test_a_virtual_collateral_custody_cannot_pay():
    planted = first(0, side="short")
    put(planted, "is_virtual", 1, "collateral_custody")

    ours, theirs = answers(planted)

    assert ours == theirs
    assert ours[3] == "error 6012"


def test_a_pool_that_holds_too_little_is_told_after_the_verdict():
    planted = first(0, paying=True)
    held = "custody" if planted.same else "collateral_custody"
    put(planted, "owned", 0, held)
    put(planted, "collateral", 0, held)
    put(planted, "locked", 0, held)

    ours, theirs = answers(planted)

    assert ours == theirs
    assert ours[3] == "error 6020"


def test_without_any_leverage_allowed_the_reported_price_divides_by_zero():
    planted = first(0)
    put(planted, "max_leverage", 0)

    ours, theirs = answers(planted)

    assert ours == theirs
    assert (ours[0], ours[1]) == (1, "error 6003")


def test_no_leverage_is_above_the_largest_number():
    planted = first(0)
    put(planted, "max_leverage", U64_MAX)

    ours, theirs = answers(planted)

    assert ours == theirs
    assert (ours[0], ours[3]) == (0, "error 6013")


def test_a_position_without_size_and_collateral_is_liquidatable_and_pays_nothing():
    planted = first(0)
    for at in (161, 177, 225):
        planted.put("position", "Q", at, 0)
    put(planted, "liquidation_usd", 0)

    ours, theirs = answers(planted)

    assert ours == theirs
    assert ours[:3] == [1, 0, (0, 0)]


def test_a_liquidation_fee_above_everything_overflows():
    planted = first(0, side="short", paying=True)
    put(planted, "max_leverage", 0)
    planted.put("position", "Q", 161, planted.get("position", "Q", 177) // 10)

    put(planted, "liquidation", 10_000)
    whole, same = answers(planted)
    put(planted, "liquidation", 10_001)
    ours, theirs = answers(planted)

    assert (whole[3][1], ours[3]) == (0, "error 6003")
    assert (whole, ours) == (same, theirs)


@pytest.mark.parametrize("optimal", [1, 10**9 - 1, 10**9, 2 * 10**9, 10**10])
@pytest.mark.parametrize("slope2", [0, 2**64 - 1])
def test_a_pool_that_lends_more_than_it_owns_gets_a_new_rate(optimal, slope2):
    planted = first(0, side="short", paying=True)
    held = {"owned": 10**14, "collateral": 10**16, "locked": 5 * 10**14}
    rates = {"optimal_utilization": optimal, "slope1": 10**6, "slope2": slope2}
    for name, value in {**held, **rates}.items():
        put(planted, name, value, "collateral_custody")

    ours, theirs = answers(planted)

    assert ours == theirs
    overflows = slope2 > 0 and optimal < 10**9
    assert isinstance(ours[3], str) == overflows


def test_a_clock_that_stands_at_zero_is_refused_without_a_code():
    planted = first(0)
    planted.now = 0

    assert answers(planted) == (["error None"] * 4,) * 2


def test_a_position_at_an_address_that_is_not_its_own_is_refused():
    planted = first(0)
    planted.keys["position"] = bytes(32)

    assert answers(planted) == (["error 2006"] * 4,) * 2


@pytest.mark.parametrize("late, state", [(0, 1), (1, "error 6007")])
def test_a_price_as_old_as_allowed_passes(late, state):
    planted = first(0, oracle="custom")
    age = planted.get("custody", *CUSTODY["max_price_age_sec"])
    planted.put("custody_oracle", "q", 36, planted.now - age - late)

    ours, theirs = answers(planted)

    assert ours == theirs
    assert ours[0] == state


@pytest.mark.parametrize("limit, state", [(199, "error 6008"), (200, 1)])
def test_a_confidence_as_wide_as_allowed_passes(limit, state):
    planted = first(0, oracle="custom")
    price = planted.get("custody_oracle", "Q", 8)
    planted.put("custody_oracle", "Q", 20, -(-price // 50))
    put(planted, "use_ema", 0)
    put(planted, "max_price_error", limit)

    ours, theirs = answers(planted)

    assert ours == theirs
    assert ours[0] == state


def profitable_short():
    """A short with a profit of 50 dollars before its cap, secured in a stablecoin at one dollar."""
    planted = next(
        Planted(one)
        for one in VECTORS
        if (one["side"], one["oracle"], one["kind"]) == ("short", "custom", "ok")
    )
    for account in ("custody", "collateral_custody"):
        put(planted, "use_ema", 0, account)
        put(planted, "decimals", 6, account)
        put(planted, "close_position", 0, account)
        put(planted, "trade_spread_long", 0, account)
    planted.put("custody_oracle", "Q", 8, 50 * 10**8)
    planted.put("custody_oracle", "i", 16, -8)
    planted.put("custody_oracle", "Q", 20, 0)
    planted.put("collateral_oracle", "Q", 8, 10**8)
    planted.put("collateral_oracle", "i", 16, -8)
    planted.put("collateral_oracle", "Q", 20, 0)
    dollars = {153: 100, 161: 100, 169: 0, 177: 10, 185: 0, 193: 0, 217: 1_000}
    for at, amount in dollars.items():
        planted.put("position", "Q", at, amount * 10**6)
    return planted


def pnl_of(planted):
    ours, theirs = answers(planted)
    assert ours == theirs
    return ours[2]


def test_the_profit_is_capped_at_what_is_locked():
    planted = profitable_short()

    assert pnl_of(planted) == (50_000_000, 0)
    planted.put("position", "Q", 217, 7_000_000)
    assert pnl_of(planted) == (7_000_000, 0)


def test_there_is_no_profit_before_the_clock_has_moved():
    planted = profitable_short()

    planted.put("position", "q", 136, planted.now - 1)
    assert pnl_of(planted) == (50_000_000, 0)
    planted.put("position", "q", 136, planted.now)
    assert pnl_of(planted) == (0, 0)


def test_a_stablecoin_is_worth_a_dollar_at_most():
    planted = profitable_short()
    planted.put("position", "Q", 217, 7_000_000)

    planted.put("collateral_oracle", "Q", 8, 3 * 10**8)
    assert pnl_of(planted) == (7_000_000, 0)
    planted.put("collateral_oracle", "Q", 8, 5 * 10**7)
    assert pnl_of(planted) == (3_500_000, 0)
    planted.put("collateral_oracle", "Q", 8, 1)
    planted.put("collateral_oracle", "i", 16, 1)
    assert pnl_of(planted) == (7_000_000, 0)
    planted.put("collateral_oracle", "i", 16, -20)
    assert pnl_of(planted) == "error 6003"


def test_a_gain_asks_for_its_cap_even_when_nothing_is_left_of_it():
    planted = profitable_short()
    planted.put("collateral_oracle", "i", 16, -20)

    planted.put("position", "Q", 193, 50_000_000)
    assert pnl_of(planted) == "error 6003"
    planted.put("position", "Q", 193, 50_000_001)
    assert pnl_of(planted) == (0, 1)
    # A loss of 25, and as much profit carried over: no cap is asked for.
    planted.put("position", "Q", 153, 40 * 10**6)
    planted.put("position", "Q", 185, 25_000_000)
    planted.put("position", "Q", 193, 0)
    assert pnl_of(planted) == (0, 0)
    planted.put("position", "Q", 185, 25_000_001)
    assert pnl_of(planted) == "error 6003"


@pytest.mark.parametrize("decimals, answer", [(19, (0, 0)), (20, "error 6003")])
def test_dividing_by_more_than_u128_holds_is_an_overflow(decimals, answer):
    planted = profitable_short()
    put(planted, "is_stable", 0, "collateral_custody")
    put(planted, "decimals", decimals, "collateral_custody")
    planted.put("collateral_oracle", "i", 16, -25)

    assert pnl_of(planted) == answer


@pytest.mark.parametrize("exponent, answer", [(-25, (1_000, 0)), (-26, "error 6003")])
def test_dividing_by_more_than_u64_holds_is_an_overflow(exponent, answer):
    planted = profitable_short()
    put(planted, "decimals", 0)
    planted.put("custody_oracle", "i", 16, exponent)
    planted.put("position", "Q", 161, 1_000)

    assert pnl_of(planted) == answer


def others_remain(planted):
    """Give every side of the custodies more positions than this one, and room in all sums."""
    position = {name: planted.get("position", kind, at) for name, kind, at in POSITION_FIELDS}
    put(planted, "liquidation", 5)
    for account in {"custody", "custody" if planted.same else "collateral_custody"}:
        for side in ("long", "short"):
            put(planted, f"{side}_open_positions", 3, account)
            for name in ("size_usd", "borrow_size_usd", "locked_amount"):
                put(planted, f"{side}_{name}", 3 * position[name], account)
            put(planted, f"{side}_weighted_price_high", 10**9, account)
            put(planted, f"{side}_total_quantity_high", 1, account)
    return planted


def long_in_a_virtual_custody():
    planted = first(0, side="short", paying=True)
    planted.put("position", "B", 152, 1)
    put(planted, "is_virtual", 1)
    put(planted, "max_leverage", 1)
    return planted


BASES = {
    "long": lambda: others_remain(first(0, side="long", paying=True)),
    "short": lambda: others_remain(first(0, side="short", paying=True)),
    "virtual": lambda: others_remain(long_in_a_virtual_custody()),
    "last": lambda: first(1, side="short", paying=True),
}


def turning_points(planted, account, kind, at):
    """Values between which the model's answer turns from one error, or none, to another."""
    low, high = LIMITS[kind]

    def turn(value):
        planted.put(account, kind, at, value)
        found = _theirs(model.liquidate, planted.case())
        return found if isinstance(found, str) else "paid"

    steps = sorted({low, *(min(high, (1 << bits) - 1) for bits in range(0, 65, 3)), high})
    for before, after in itertools.pairwise(steps):
        if turn(before) == turn(after):
            continue
        lower, upper, told = before, after, turn(before)
        while upper - lower > 1:
            middle = (lower + upper) // 2
            lower, upper = (middle, upper) if turn(middle) == told else (lower, middle)
        yield from (lower, upper)


@pytest.mark.parametrize("base", BASES)
def test_the_product_turns_exactly_where_the_model_does(base):
    found = set()
    for account, (_, kind, at) in BASES[base]().fields():
        if kind == "B" or not account.startswith(("position", "custody", "collateral_custody")):
            continue
        planted = BASES[base]()
        for value in turning_points(planted, account, kind, at):
            planted.put(account, kind, at, value)
            ours, theirs = answers(planted)
            assert ours == theirs, (account, at, value)
            found.add(str(ours[3])[:10])

    assert {"error 6003", "error 6013", "error 6020"} <= found
