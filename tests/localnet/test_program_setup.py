"""The instructions that make the fund and the markets of the reference program."""

import pytest
from solders.system_program import TransferParams, transfer

from tests.localnet.program_world import (
    FUND,
    FUND_BUMP,
    VAULT,
    VAULT_BUMP,
    ProgramWorld,
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


def _open_long(world, owner, market):
    result = world.open(owner, market, size=10 * BASE, collateral=100 * QUOTE)
    assert result.error is None, result.logs


def test_the_fund_names_its_authority_mint_and_vault(world):
    fund = world.read("InsuranceFund", FUND)

    assert (fund["authority"], fund["mint"], fund["vault"]) == (
        world.authority.key,
        world.mint,
        VAULT,
    )
    assert (fund["bump"], fund["vault_bump"]) == (FUND_BUMP, VAULT_BUMP)
    assert world.tokens(VAULT) == 0


def test_the_fund_cannot_be_created_twice(world):
    result = world.call("initialize_insurance_fund", [world.authority], world.fund_accounts())

    assert result.error == "AccountAlreadyInitialized"


def test_a_mint_without_six_decimals_is_refused():
    world = ProgramWorld()
    world.put_mint(world.mint, decimals=9)

    result = world.call("initialize_insurance_fund", [world.authority], world.fund_accounts())

    assert result.error == "WrongMint"


def test_lamports_sent_to_an_address_beforehand_do_not_block_it(world, market, owner):
    for address in (world.position(owner, market), world.market_accounts(symbol=b"X").key):
        gift = TransferParams(from_pubkey=owner.key, to_pubkey=address, lamports=5_000_000)
        assert world.send([transfer(gift)], [owner]).error is None

    _open_long(world, owner, market)
    world.market(symbol=b"X")

    assert world.exists(world.position(owner, market))


@pytest.mark.parametrize(
    "wrong",
    [
        {"symbol": b""},
        {"max_price_age_s": 0},
        {"max_price_age_s": 86_401},
        {"max_confidence_bps": 0},
        {"max_confidence_bps": 10_001},
        {"liquidator_share_bps": 10_001},
        {"target_health_bps": 10_000},
        {"tiers": []},
        {"tiers": [(0, 0), (5, 1000)]},
        {"tiers": [(0, 500)]},
        {"tiers": [(5, 1000), (5, 500)]},
        {"tiers": [(10, 500), (5, 1000)]},
        {"tiers": [(5, 0)]},
        {"tiers": [(1, 5001)]},
        {"tiers": [(20, 501)]},
        {"tiers": [(5, 1000), (0, 0), (20, 500)]},
        {"tiers": [(5, 1000), (0, 0), (20, 0)]},
        {"tiers": [(5, 1000), (0, 500)]},
        {"liquidation_fee_bps": 477},
    ],
    ids=str,
)
def test_market_parameters_that_break_a_rule_are_refused(world, wrong):
    market = world.market_accounts(**wrong)

    result = world.call(
        "initialize_market", [world.authority], world.market_call(market), params=market.params
    )

    assert result.error == "InvalidMarketParams"


@pytest.mark.parametrize(
    "extreme",
    [
        {"max_price_age_s": 86_400, "max_confidence_bps": 10_000, "liquidator_share_bps": 10_000},
        {"max_price_age_s": 1, "max_confidence_bps": 1, "liquidator_share_bps": 0},
        {"target_health_bps": 10_001, "tiers": [(2, 5000)]},
        {"liquidation_fee_bps": 476},
        {
            "tiers": [(1, 5000), (2, 4000), (3, 3000), (4, 2000), (10_000, 1)],
            "liquidation_fee_bps": 0,
        },
        {"symbol": b"SIXTEEN-LETTERS!"},
    ],
    ids=str,
)
def test_market_parameters_at_their_limits_are_accepted(world, extreme):
    market = world.market(**extreme)

    fields = world.read("Market", market.key)
    assert {name: fields[name] for name in extreme if name not in ("tiers", "symbol")} == {
        name: value for name, value in extreme.items() if name not in ("tiers", "symbol")
    }
    assert bytes(fields["symbol"]) == market.params["symbol"]
    assert fields["tiers"] == market.params["tiers"]
    assert fields["price_account"] == market.price


def test_an_update_replaces_parameters_and_keeps_pool_and_symbol(world, market, owner):
    _open_long(world, owner, market)
    before = world.read("Market", market.key)

    result = world.update(market, paused=True, liquidation_fee_bps=7, min_reward=9)

    changed = {**before, "paused": True, "liquidation_fee_bps": 7, "min_reward": 9}
    assert result.error is None
    assert world.read("Market", market.key) == changed


def test_an_update_cannot_rename_a_market_or_strand_its_positions(world, market, owner):
    _open_long(world, owner, market)
    lower = [{"max_leverage": 10, "maintenance_bps": 500}, *market.params["tiers"][2:]]
    lower += [{"max_leverage": 0, "maintenance_bps": 0}]

    renamed = world.update(market, symbol=b"OTHER".ljust(16, b"\0"))
    stranding = world.update(market, tiers=lower)
    world.close(owner, market)
    empty = world.update(market, tiers=lower)

    assert (renamed.error, stranding.error) == ("InvalidMarketParams", "InvalidMarketParams")
    assert empty.error is None
