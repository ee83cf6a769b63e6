"""Mapping files: what is wrong is said with file, key, what was found and what to do."""

import json
import random
import tomllib
from pathlib import Path

import pytest

from liqctl.core.instruction import Outcome
from liqctl.errors import LayoutError, SettingsError
from liqctl.venues.facts import FACTS, facts_of
from liqctl.venues.idl import Idl
from liqctl.venues.mapping import mapping_from, read_mapping
from liqctl.venues.mapping_places import Derived, Role, TokenAccount
from liqctl.venues.mapping_text import Table
from liqctl.venues.perpetuals_layout import PERPETUALS_IDL
from liqctl.venues.reference_layout import REFERENCE_IDL
from liqctl.venues.registry import VENUES, open_mapped
from liqctl.venues.skeleton import skeleton
from tests.fuzz.mutate import spoiled_json
from tests.venues.test_idl import IDLS, fixture_idl

EXAMPLE = Path(__file__).parents[2] / "examples" / "reference_mapping.toml"
TEXT = EXAMPLE.read_text()
KEY = "11111111111111111111111111111112"


def mapping(text=TEXT, idl=REFERENCE_IDL):
    return read_mapping("my.toml", text, idl)


def changed(old, new):
    """The example with one line replaced."""
    assert TEXT.count(old) >= 1, old
    return TEXT.replace(old, new, 1)


def complaint(text, idl=REFERENCE_IDL):
    with pytest.raises(SettingsError) as caught:
        mapping(text, idl)
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_example_maps_every_account_of_the_instruction():
    found = mapping()

    assert found.liquidate is not None
    assert found.liquidate.accounts["liquidator"] == Role("signer")
    assert isinstance(found.liquidate.accounts["owner_token"], TokenAccount)
    assert found.liquidate.accounts["vault"] == Derived((b"vault",), None)
    assert found.outcomes[6000] is Outcome.HEALTHY
    assert found.why_not is None


@pytest.mark.parametrize(
    "old, new, words",
    [
        (
            "version = 1",
            "version = 2",
            "my.toml: version must be a whole number from 1 to 1, was 2",
        ),
        ("version = 1", "version = ", "my.toml is not valid TOML"),
        ("version = 1", "version = " + "9" * 5_000, "my.toml is not valid TOML"),
        ("exact = true", "exakt = true", "unknown key exakt; did you mean 'exact'?"),
        (
            'owner = "owner"',
            'ownr = "owner"',
            "position.owner is missing, expected a field; is it 'ownr', which nothing reads",
        ),
        (
            'owner = "owner"',
            'owner = "ownr"',
            "position.owner names the field 'ownr', but Position of the IDL has no such field;"
            " did you mean 'owner'?",
        ),
        (
            'owner = "owner"',
            'owner = "size"',
            "position.owner must name a field that is a public key, but size of Position is i64",
        ),
        (
            'unit = "base"',
            'unit = "lots"',
            "position.size.unit must be 'base' or 'quote', was 'lots'",
        ),
        (
            "decimals = 9",
            "decimals = 19",
            "position.size.decimals must be a whole number from 0 to 18",
        ),
        ('side = "sign"', 'side = "left"', "position.side must be 'sign', or { field"),
        (
            'account = "Position"',
            'account = "Posision"',
            "position.account names 'Posision', but the IDL has no such account; did you mean 'Position'?",
        ),
        ('kind = "pyth"', 'kind = "chainlink"', "price.kind must be 'pyth' or 'pyth_legacy' or"),
        (
            '"market.max_price_age_s"',
            '"market.max_age"',
            "price.age_s_max names the field 'max_age', but Market",
        ),
        ('"market.feed_id"', '"market.paused"', "price.feed_id must name a field that is bytes"),
        (
            'unit = "bps"',
            'unit = "percent"',
            "maintenance.unit must be 'bps', was 'percent'; for another",
        ),
        (
            'limit = "max_leverage"',
            'limit = "leverage"',
            "maintenance.limit names the field 'tiers[0].leverage'",
        ),
        ('tiers = "market.tiers"', 'tiers = "market.paused"', "maintenance.tiers must be an array"),
        (
            'instruction = "liquidate"',
            'instruction = "liqidate"',
            "liquidate.instruction names 'liqidate', but the IDL has no such instruction;"
            " did you mean 'liquidate'?",
        ),
        (
            'args = { max_size = "max_size" }',
            "args = {}",
            "liquidate.args.max_size is missing, expected a value",
        ),
        (
            'args = { max_size = "max_size" }',
            "args = { max_size = true, other = 1 }",
            "unknown key liquidate.args.other",
        ),
        (
            'args = { max_size = "max_size" }',
            'args = { max_size = "everything" }',
            "liquidate.args: cannot encode",
        ),
        (
            'price_account = "price"\ninsurance',
            "insurance",
            "liquidate.accounts.price_account is missing and the IDL does not say where it is; say",
        ),
        (
            'liquidator = "signer"',
            'liquidator = "singer"',
            "liquidate.accounts.liquidator names 'singer', expected an account",
        ),
        (
            "owner_token = {",
            "owner_tokn = {",
            "unknown key liquidate.accounts.owner_tokn; did you mean 'owner_token'?",
        ),
        (
            '"PriceStale"',
            '"PriceOld"',
            "errors.oracle names 'PriceOld', but the IDL has no such error",
        ),
        (
            'paused = ["MarketPaused"]',
            'paused = ["PositionHealthy"]',
            "errors.paused must be free of 'PositionHealthy', which is healthy already",
        ),
        ('name = "LiquidationEvent"', 'name = "Liquidated"', "event.name names 'Liquidated'"),
        (
            'reward = "reward"',
            'reward = "owner"',
            "event.reward must name an integer of LiquidationEvent",
        ),
        ("[accounts.fund]", "[accounts.market]", "accounts.market needs another name"),
        (
            '"insurance_fund" }]',
            f'"{"x" * 33}" }}]',
            "accounts.fund.address.seeds.[0] must be a seed of",
        ),
        (
            '[{ text = "insurance_fund" }]',
            "[{ u8 = 256 }]",
            "seeds.[0] must be a whole number that fits u8",
        ),
        (
            'address = { seeds = [{ text = "insurance_fund" }] }',
            'address = { seeds = ["signer"] }',
            "accounts.fund.address must be an address that does not depend on the signer",
        ),
        (
            'price_account = "market.price_account"',
            'price_account = "position.owner"',
            "market.price_account must be an address that is made of the market alone",
        ),
        (
            '[insurance]\naccount = "fund"',
            '[insurance]\naccount = "bank"',
            "insurance.account must be one",
        ),
        ("verified = 2026-11-25", 'verified = "today"', "verified must be a date"),
        ('name = "reference-mapped"', 'name = "My Perps"', "name must be lower-case"),
    ],
)
def test_a_mistake_is_refused_with_its_key_and_what_to_do(old, new, words):
    assert words in complaint(changed(old, new))


def test_addresses_that_are_derived_from_each_other_are_refused_with_the_circle():
    circle = """
[accounts.a]
address = { seeds = [{ text = "a" }, "b"] }
[accounts.b]
address = { seeds = ["c", "market"] }
[accounts.c]
address = { token_account_of = "a", mint = "fund.mint" }
"""

    told = complaint(TEXT + circle)

    assert "accounts.a.address is derived from itself: a -> b -> c -> a" in told


def test_seeds_of_the_idl_that_go_round_are_refused():
    raw = json.loads(json.dumps(REFERENCE_IDL.raw))
    roles = next(one for one in raw["instructions"] if one["name"] == "liquidate")["accounts"]
    for role, other in (("vault", "insurance_fund"), ("insurance_fund", "vault")):
        found = next(one for one in roles if one["name"] == role)
        found["pda"] = {"seeds": [{"kind": "account", "path": other}]}
    text = changed('insurance_fund = "fund"\n', "")

    told = complaint(text, Idl(raw))

    assert "the IDL derives it from itself" in told
    assert "insurance_fund -> vault -> insurance_fund" in told


def test_seeds_of_the_idl_may_be_fields_of_mapped_accounts_and_nothing_else():
    raw = json.loads(json.dumps(REFERENCE_IDL.raw))
    roles = next(one for one in raw["instructions"] if one["name"] == "liquidate")["accounts"]
    vault = next(one for one in roles if one["name"] == "vault")
    vault["pda"] = {"seeds": [{"kind": "account", "path": "position.id"}]}

    found = mapping(TEXT, Idl(raw))

    assert found.liquidate is not None
    assert "position.id" in str(found.liquidate.accounts["vault"]).replace("', path='", ".")
    for seed, words in (
        ({"kind": "arg", "path": "max_size"}, "a seed is the argument 'max_size'"),
        ({"kind": "account", "path": "owner_token.mint"}, "an account that is not mapped"),
        ({"kind": "const", "value": [256]}, "neither constant bytes nor an account"),
        ({"kind": "account", "path": "bank"}, "which the instruction does not have"),
    ):
        vault["pda"] = {"seeds": [seed]}
        assert words in complaint(TEXT, Idl(raw))


def test_a_mapping_is_tied_to_the_idl_that_it_names():
    pinned = TEXT + ""
    right = pinned.replace("version = 1", f'version = 1\nidl_sha256 = "{REFERENCE_IDL.sha256}"')
    wrong = pinned.replace("version = 1", 'version = 1\nidl_sha256 = "00"')

    assert mapping(right).idl is REFERENCE_IDL
    assert f"must be '{REFERENCE_IDL.sha256}'" in complaint(wrong)
    assert "check every field against the new IDL" in complaint(wrong)


def test_money_in_floating_point_is_refused():
    raw = json.loads(json.dumps(REFERENCE_IDL.raw))
    position = next(one for one in raw["types"] if one["name"] == "Position")
    next(one for one in position["type"]["fields"] if one["name"] == "collateral")["type"] = "f64"

    told = complaint(TEXT, Idl(raw))

    assert "position.collateral.field must name a field that is an integer" in told
    assert "collateral of Position is f64; money in floating point is not exact" in told


def test_an_account_that_cannot_be_laid_out_is_refused_with_the_reason():
    raw = json.loads(json.dumps(REFERENCE_IDL.raw))
    next(one for one in raw["types"] if one["name"] == "Position")["repr"] = {
        "kind": "rust",
        "packed": True,
    }

    assert "position.account cannot be used: Position is packed" in complaint(TEXT, Idl(raw))


def test_two_kinds_of_account_that_start_alike_are_refused():
    raw = json.loads(json.dumps(REFERENCE_IDL.raw))
    head = raw["accounts"][1]["discriminator"]
    raw["accounts"][2]["discriminator"] = head

    assert "start with the same bytes" in complaint(TEXT, Idl(raw))


def test_a_part_is_closed_only_where_its_arithmetic_is_known():
    told = complaint(changed("decimals = 9", "decimals = 8"))

    assert "closing.model must be 'full', was 'restore'; 'restore' takes a size of base" in told


def test_without_rule_or_instruction_a_venue_is_watch_only_and_says_why():
    bare = TEXT[: TEXT.index("[maintenance]")] + TEXT[TEXT.index("[accounts.fund]") :]
    silent = TEXT[: TEXT.index("# The vault")] + TEXT[TEXT.index("[confirm]") :]

    assert "no [maintenance] rule" in str(mapping(bare).why_not)
    assert "no [liquidate] instruction" in str(mapping(silent).why_not)
    vague = mapping(changed("exact = true", "exact = false"))
    assert "does not claim that [maintenance] is exact" in str(vague.why_not)
    assert facts_of(mapping(bare)).verdict == "estimate"


def test_the_program_is_where_option_mapping_or_idl_say():
    elsewhere = mapping(changed("version = 1", f'version = 1\nprogram_id = "{KEY}"'))
    raw = {name: value for name, value in REFERENCE_IDL.raw.items() if name != "address"}

    assert open_mapped(mapping(), None).program_id == REFERENCE_IDL.address
    assert open_mapped(elsewhere, None).program_id == KEY
    assert open_mapped(elsewhere, REFERENCE_IDL.address).program_id == REFERENCE_IDL.address
    with pytest.raises(SettingsError, match="name it with --program-id"):
        open_mapped(mapping(TEXT, Idl(raw)), None)
    with pytest.raises(SettingsError, match="built-in venue; choose another"):
        open_mapped(mapping(changed('name = "reference-mapped"', 'name = "reference"')), None)
    assert elsewhere.places["fund"] == Derived((b"insurance_fund",), None)


@pytest.mark.parametrize("name", IDLS)
def test_a_skeleton_is_toml_and_asks_what_the_idl_does_not_say(name):
    idl = fixture_idl(name)

    text = skeleton(idl, "mine")

    assert tomllib.loads(text)["idl_sha256"] == idl.sha256
    assert "?" in complaint(text, idl)


def test_a_skeleton_proposes_what_has_one_answer():
    found = tomllib.loads(skeleton(REFERENCE_IDL, "mine"))

    assert found["position"]["account"] == "Position"
    assert found["position"]["owner"] == "owner"
    assert found["position"]["side"] == "sign"
    assert found["market"]["price_account"] == "market.price_account"
    assert found["liquidate"]["instruction"] == "liquidate"
    assert found["liquidate"]["accounts"]["liquidator"] == "signer"
    assert found["liquidate"]["accounts"]["position"] == "position"


def test_the_reference_of_mappings_knows_every_key_of_the_example():
    text = (EXAMPLE.parents[1] / "docs" / "MAPPING.md").read_text()
    whole = tomllib.loads(TEXT)

    keys = {key for part in (whole, *whole.values()) if isinstance(part, dict) for key in part}

    assert {key for key in keys - set(whole["event"]) if f"`{key}`" not in text} <= {
        *whole,
        "fund",
    }


def test_every_venue_says_what_it_was_verified_against():
    assert set(FACTS) == set(VENUES)
    assert FACTS["reference"].idl_sha256 == REFERENCE_IDL.sha256
    assert FACTS["perpetuals"].idl_sha256 == PERPETUALS_IDL.sha256
    assert FACTS["reference"].account_bytes == {
        "InsuranceFund": 144,
        "Market": 208,
        "Position": 144,
    }
    assert FACTS["perpetuals"].account_bytes == {"Position": 234, "Custody": 805}


def test_a_spoiled_mapping_or_idl_is_read_or_refused_by_a_typed_error():
    whole, endings = tomllib.loads(TEXT), {"read": 0, "refused": 0}

    for seed in range(600):
        chance = random.Random(seed)
        spoiled, idl = spoiled_json(whole, chance), REFERENCE_IDL
        if not isinstance(spoiled, dict):
            continue
        try:
            if chance.random() < 0.3:
                idl = Idl(spoiled_json(REFERENCE_IDL.raw, chance))
                assert skeleton(idl, "mine")
            mapping_from(Table("my.toml", "", spoiled), idl)
            endings["read"] += 1
        except (SettingsError, LayoutError):
            endings["refused"] += 1

    assert endings["read"] > 20
    assert endings["refused"] > 200
