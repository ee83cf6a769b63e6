"""The scenario: reproducible, solvent in tokens, and with enough to do for a keeper."""

from pathlib import Path
from typing import Any

import pytest
from solders.pubkey import Pubkey

from liqctl.core.account import Account
from liqctl.core.fixed import U64_MAX
from liqctl.core.price import PriceReading
from liqctl.errors import SettingsError
from liqctl.localnet.genesis import PROGRAM_ID, call, key_of, try_to_send
from liqctl.localnet.history import Landed
from liqctl.localnet.ledger import Commitment
from liqctl.localnet.markets import CATALOGUE
from liqctl.localnet.paths import CRASH, Quote, ReplayPath, level_at, read_rows
from liqctl.localnet.scenario import Scenario, ScenarioConfig
from liqctl.localnet.spl_token import holding_of
from liqctl.oracle.price_update import decode_price
from liqctl.venues.reference import ReferenceVenue
from liqctl.venues.reference_layout import REFERENCE_IDL

EXAMPLE = Path(__file__).parents[2] / "examples" / "price_path.csv"
START = 1_750_000_000
MINUTE_SLOTS = 150


def scenario(**changes: Any) -> Scenario:
    return Scenario(ScenarioConfig(**{"positions": 40, "start_unix_s": START, **changes}))


def records(built: Scenario, kind: str) -> dict[str, dict[str, Any]]:
    head = REFERENCE_IDL.account_discriminator(kind)
    layout = REFERENCE_IDL.account_layout(kind)
    bank = built.world.ledger.bank(Commitment.PROCESSED)
    return {
        str(key): layout.read(state.data, 8)
        for key, state in built.world.accounts_at(Pubkey.from_string(PROGRAM_ID), bank)
        if state.data[:8] == head
    }


def vault_and_claims(built: Scenario) -> tuple[int, int]:
    holding = holding_of(built.world.account(Pubkey.from_string(built.addresses.vault)))
    assert holding is not None
    (fund,) = records(built, "InsuranceFund").values()
    claims = fund["balance"]
    claims += sum(each["collateral"] for each in records(built, "Position").values())
    claims += sum(each["profit_pool"] for each in records(built, "Market").values())
    return holding.amount, claims


def liquidatable(built: Scenario) -> list[str]:
    """Return the positions that the program itself calls liquidatable."""
    venue, key = ReferenceVenue(PROGRAM_ID), key_of(0, "auditor")
    built.world.airdrop(key.pubkey(), 10**10)
    prices = {built.addresses.markets[one.symbol]: one.price_account for one in built.specs}
    found = []
    for address, position in records(built, "Position").items():
        market = str(Pubkey(position["market"]))
        accounts = {"market": market, "position": address, "price_account": str(prices[market])}
        asked = call(built.addresses, "assess", accounts, {"max_size": U64_MAX})
        answer = try_to_send(built.world, [asked], key)
        assert isinstance(answer, Landed)
        returned = answer.execution.return_value
        assert answer.failure is None
        assert returned is not None
        if venue.decode_assessment(returned[1]).liquidatable:
            found.append(address)
    return found


@pytest.fixture(scope="module")
def swept() -> tuple[Scenario, list[int]]:
    """A minute in which one keeper takes everything at once, and the liquidations after each slot."""
    built = scenario(positions=200, rivals=1)
    built.rivals.share = 1.0
    built.start()
    counts = []
    for _ in range(MINUTE_SLOTS):
        built.step()
        counts.append(built.rivals.tally.partial + built.rivals.tally.full)
    return built, counts


def test_the_vault_holds_what_is_owed_after_set_up_and_after_a_minute_of_liquidations(swept):
    fresh = vault_and_claims(scenario())
    worn = vault_and_claims(swept[0])

    assert fresh[0] == fresh[1] > 0
    assert worn[0] == worn[1] > 0


def test_a_minute_brings_partial_and_full_liquidations_and_bad_debt(swept):
    tally = swept[0].rivals.tally

    assert tally.partial >= 15
    assert tally.full >= 5
    assert tally.bad_debts >= 1
    assert tally.refused == 0


def test_liquidations_begin_within_three_seconds_and_are_spread_over_the_minute(swept):
    counts = swept[1]

    assert counts[7] > 0
    assert [counts[slot] < counts[slot + 50] for slot in (0, 49, 99)] == [True, True, True]


def test_most_positions_live_through_the_minute_and_the_fund_pays_the_bad_debt(swept):
    (fund,) = records(swept[0], "InsuranceFund").values()

    assert len(records(swept[0], "Position")) > 150
    assert fund["bad_debt_covered"] == swept[0].rivals.tally.bad_debt > 0
    assert fund["bad_debt_uncovered"] == 0


def test_the_program_finds_nothing_that_the_sweep_has_missed(swept):
    assert liquidatable(swept[0]) == []


def test_without_a_keeper_liquidatable_positions_pile_up_but_never_all_of_them():
    built = scenario(positions=100)
    built.start()
    for _ in range(84):
        built.step()

    assert 5 < len(liquidatable(built)) < 60


def test_the_same_seed_gives_the_same_chain_and_the_same_prices():
    first, second, other = (scenario(seed=seed) for seed in (7, 7, 8))
    for built in (first, second, other):
        built.start()
        for _ in range(20):
            built.step()

    assert first.addresses == second.addresses
    assert first.quotes == second.quotes != other.quotes
    assert records(first, "Position") == records(second, "Position") != records(other, "Position")
    assert first.addresses.program == other.addresses.program


def test_every_position_was_opened_by_a_signed_transaction_of_its_owner():
    built = scenario(positions=10)

    openings: set[bytes] = set()
    for each in built.world.history.of_address(Pubkey.from_string(PROGRAM_ID)):
        assert each.failure is None
        assert all(each.transaction.verify_with_results())
        signers = each.transaction.message.account_keys[: len(each.transaction.signatures)]
        openings.update(map(bytes, signers))
    positions = records(built, "Position")
    assert len(positions) == 10
    assert {position["owner"] for position in positions.values()} <= openings


@pytest.mark.parametrize("positions, markets", [(0, 1), (1, 1), (3, 8)])
def test_small_and_wide_scenarios_can_be_built(positions, markets):
    built = scenario(positions=positions, markets=markets)

    assert len(records(built, "Position")) == positions
    assert len(records(built, "Market")) == markets


def test_nothing_is_liquidatable_before_the_prices_move():
    built = scenario(positions=120)

    assert liquidatable(built) == []


def test_prices_wait_for_the_delay_and_are_published_meanwhile():
    built = scenario(positions=0, start_delay_slots=3)
    seen = [built.quotes]
    for _ in range(4):
        built.step()
        seen.append(built.quotes)

    assert seen[0] == seen[1] == seen[2] == seen[3] != seen[4]


def test_prices_start_with_the_first_client_that_listens():
    built = scenario(positions=0)
    before = built.quotes
    built.world.listen(lambda _: None)
    built.step()

    assert built.quotes != before


def test_held_prices_stand_still_and_stay_fresh():
    built = scenario(positions=0)
    built.start()
    built.step()
    held = built.quotes
    built.hold()
    for _ in range(10):
        built.step()

    assert built.quotes == held
    assert published(built).publish_time == built.world.unix_ms // 1000


def test_a_slot_without_a_block_moves_the_prices_as_far_as_time():
    ticked, skipped = scenario(positions=0), scenario(positions=0)
    for built in (ticked, skipped):
        built.start()
    for _ in range(5):
        ticked.step()
    skipped.world.tick(skipped=4)

    assert ticked.quotes == skipped.quotes


def published(built: Scenario) -> PriceReading:
    spec = built.specs[0]
    state = built.world.account(spec.price_account)
    assert state is not None
    reading = decode_price(
        Account(
            address=str(spec.price_account),
            owner=str(state.owner),
            lamports=state.lamports,
            data=state.data,
            slot=built.world.slot,
        )
    )
    assert isinstance(reading, PriceReading)
    return reading


def test_a_price_is_a_price_update_where_pyth_has_it_on_mainnet():
    reading = published(scenario(positions=0))

    assert reading.address == "7UVimffxr9ow1uXYxsr4LHAcV58mLzhmwaeKvJ1pjLiE"
    assert reading.owner == "rec5EKMGg6MxZYaMdyBfgwp4d5rB9T1VQH5pJv5LtFJ"
    assert reading.feed_id == CATALOGUE[0].feed_id
    assert (reading.mantissa, reading.exponent) == (150_00000000, -8)
    assert reading.confidence == 7_500_000
    assert reading.fully_verified
    assert reading.publish_time == START


def test_rivals_leave_a_part_of_the_work():
    built = scenario(positions=200, rivals=1)
    built.start()
    for _ in range(70):
        built.step()

    assert built.rivals.tally.partial + built.rivals.tally.full > 0
    assert liquidatable(built)


def test_the_crash_recovers_in_part_and_ends_where_it_began():
    levels = [level_at(CRASH, slot) for slot in (0, 84, 106, 299)]

    assert levels[0] == levels[3] == 1_000_000
    assert levels[1] < levels[2] < 1_000_000


def test_the_example_file_is_replayed_by_the_time_of_the_cluster():
    built = scenario(positions=4, path=str(EXAMPLE))
    built.start()
    for _ in range(5):
        built.step()

    assert built.quotes["SOL"] == Quote(price_e8=149_85000000, confidence_e8=7_000_000)
    assert built.quotes["BTC"] == Quote.of(64_975_00000000)


def test_of_two_rows_at_one_moment_the_later_line_counts(tmp_path):
    file = tmp_path / "prices.csv"
    file.write_text("0,SOL,1\n0,SOL,2\n900,SOL,3\n")
    path = ReplayPath(read_rows(file, ["SOL"]), 400)

    assert [path.step()["SOL"].price_e8 for _ in range(3)] == [200_000_000] * 2 + [300_000_000]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("0,DOGE,1", "line 1: unknown symbol 'DOGE'"),
        ("0,SOL", "line 1: expected 3 or 4 fields, found 2"),
        ("\n-5,SOL,1", "line 2: unix_ms_offset"),
        ("0,SOL,nan", "line 1: price must be"),
        ("0,SOL,1e999999", "line 1: price must be"),
        ("0,SOL,0", "line 1: price must be"),
        ("0,SOL,0.000000001", "line 1: price must be"),
        ("0,SOL,1,-1", "line 1: confidence must be"),
        ("# nothing", "no prices in it"),
    ],
)
def test_a_wrong_price_file_is_refused_with_the_line(tmp_path, text, complaint):
    file = tmp_path / "prices.csv"
    file.write_text(text)

    with pytest.raises(SettingsError, match=complaint):
        read_rows(file, ["SOL"])
