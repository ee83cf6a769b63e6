"""IDLs: sizes, discriminators, encoding, refusals."""

import hashlib
import json

import numpy as np
import pytest

from liqctl.errors import LayoutError
from liqctl.venues.idl import Idl, anchorpy_coder
from liqctl.venues.reference_layout import REFERENCE_IDL
from tests.oracle.fixture_files import fixture_path
from tests.venues import planted as at


def fixture_idl(name):
    return Idl(json.loads(fixture_path(f"idl/{name}.json").read_text()))


def idl_of(kind, **described):
    """An IDL with one account `It`, of one field `it`."""
    body = {"kind": "struct", "fields": [{"name": "it", "type": kind}]}
    return Idl(
        {
            "metadata": {"spec": "0.1.0"},
            "accounts": [{"name": "It"}],
            "types": [{"name": "It", "type": body} | described],
        }
    )


@pytest.mark.parametrize("name, size", [("InsuranceFund", 144), ("Market", 208), ("Position", 144)])
def test_the_accounts_of_the_reference_program_have_their_length(name, size):
    layout = REFERENCE_IDL.account_layout(name)

    assert 8 + layout.size == 8 + layout.dtype.itemsize == 8 + layout.packer.size == size


@pytest.mark.parametrize(
    "name, field, offset",
    [
        ("InsuranceFund", "balance", 104),
        ("InsuranceFund", "vault_bump", 137),
        ("Market", "max_price_age_s", 120),
        ("Market", "target_health_bps", 182),
        ("Market", "paused", 204),
        ("Position", "size", 80),
        ("Position", "leverage", 136),
    ],
)
def test_a_field_lies_where_the_program_has_it(name, field, offset):
    fields = REFERENCE_IDL.account_layout(name).dtype.fields

    assert fields is not None
    assert 8 + fields[field][1] == offset


@pytest.mark.parametrize("kind, names", [("account", "accounts"), ("event", "events")])
def test_the_discriminators_given_are_those_that_anchor_derives(kind, names):
    for one in REFERENCE_IDL.raw[names]:
        derived = hashlib.sha256(f"{kind}:{one['name']}".encode()).digest()[:8]
        assert bytes(one["discriminator"]) == derived


@pytest.mark.parametrize(
    "name, account, size",
    [
        ("adrena_2026-05", "Position", 464),
        ("adrena_2026-05", "Custody", 1_168),
        ("adrena_2026-05", "Pool", 2_528),
        ("adrena_2026-05", "Oracle", 3_224),
        ("jupiter_perpetuals", "Position", 210),
        ("perpetuals_cashblaze", "Position", 234),
        ("perpetuals_cashblaze", "Custody", 805),
        ("perpetuals_cashblaze", "CustomOracle", 44),
        ("drift", "User", 4_376),
    ],
)
def test_accounts_of_real_programs_have_their_known_length(name, account, size):
    assert 8 + fixture_idl(name).account_layout(account).size == size


@pytest.mark.parametrize("name", ["perpetuals_cashblaze", "jupiter_perpetuals"])
def test_discriminators_of_the_older_format_are_derived(name):
    idl = fixture_idl(name)

    assert idl.account_discriminator("Position").hex() == "aabc8fe47a40f7d0"
    assert idl.account_discriminator("Custody").hex() == "01b830515d833f91"


def test_an_account_name_in_the_wrong_case_is_put_right():
    idl = fixture_idl("pyth_solana_receiver")

    assert idl.account_discriminator("priceUpdateV2").hex() == "22f123639d7ef4cd"


def test_an_instruction_of_the_older_format_is_encoded():
    idl = fixture_idl("perpetuals_cashblaze")
    roles = next(one for one in idl.raw["instructions"] if one["name"] == "liquidate")["accounts"]
    accounts = {
        "signer": "s",
        "receiving_account": "r",
        "rewards_receiving_account": "rr",
        "transfer_authority": "ta",
        "perpetuals": "pe",
        "pool": "po",
        "position": "p",
        "custody": "c",
        "custody_oracle_account": "co",
        "collateral_custody": "cc",
        "collateral_custody_oracle_account": "cco",
        "collateral_custody_token_account": "ccta",
        "token_program": "t",
    }

    call = idl.instruction("liquidate", "program", accounts, {"params": {}})

    assert call.data.hex() == "dfb3e27d302e274a"
    assert [one.signer for one in call.accounts] == [one["isSigner"] for one in roles]
    assert [one.writable for one in call.accounts] == [one["isMut"] for one in roles]


def test_a_real_position_is_read_as_the_program_reads_it():
    vectors = json.loads(fixture_path("perpetuals_golden.json").read_text())["vectors"]
    layout = fixture_idl("perpetuals_cashblaze").account_layout("Position")

    for vector in vectors:
        read = layout.read(bytes.fromhex(vector["position_data"]), 8)
        fields = vector["fields"]
        assert read["price"] == fields["price"]
        assert read["size_usd"] == fields["size"]
        assert read["collateral_amount"] == fields["coll_amt"]
        assert read["cumulative_interest_snapshot"] == fields["snap"]


@pytest.mark.parametrize(
    "kind, size, value",
    [
        ("u8", 1, 255),
        ("i16", 2, -2),
        ("u32", 4, 2**32 - 1),
        ("i64", 8, -(2**63)),
        ("u128", 16, 2**128 - 1),
        ("i128", 16, -(2**127)),
        ("bool", 1, 1),
        ("pubkey", 32, bytes(range(32))),
        ({"array": ["u8", 3]}, 3, b"abc"),
    ],
)
def test_a_value_comes_back_as_it_was_written(kind, size, value):
    layout = idl_of(kind).account_layout("It")

    assert layout.size == size
    assert layout.read(layout.write({"it": value})) == {"it": value}


def test_128_bits_are_two_columns_for_many_accounts_at_once():
    layout = idl_of("i128").account_layout("It")

    column = np.frombuffer(layout.write({"it": -3 - 2**64}), dtype=layout.dtype)["it"]

    assert int(column["hi"][0]) * 2**64 + int(column["lo"][0]) == -3 - 2**64


def test_bytemuck_accounts_have_the_alignment_of_c():
    fields = [{"name": "small", "type": "u8"}, {"name": "large", "type": "u64"}]
    body = {"kind": "struct", "fields": [*fields, {"name": "last", "type": "u16"}]}

    layout = idl_of("u8", type=body, serialization="bytemuck").account_layout("It")

    assert layout.size == layout.dtype.itemsize == 24
    blob = bytes([7]) + bytes(7) + (9).to_bytes(8, "little") + bytes([5, 0]) + bytes(6)
    assert layout.read(blob) == {"small": 7, "large": 9, "last": 5}
    assert np.frombuffer(blob, dtype=layout.dtype)[0].item() == (7, 9, 5)


@pytest.mark.parametrize(
    "idl, words",
    [
        (idl_of({"vec": "u8"}), "no fixed layout"),
        (idl_of({"option": "u8"}), "no fixed layout"),
        (idl_of("string"), "no fixed layout"),
        (idl_of("u256"), "no fixed layout"),
        (idl_of({"array": ["u8", {"generic": "N"}]}), "generic"),
        (idl_of({"defined": {"name": "It"}}), "contains itself"),
        (idl_of({"defined": {"name": "Other"}}), "does not define Other"),
        (idl_of("u8", serialization="custom"), "serialized as"),
        (idl_of("u8", repr={"kind": "rust", "packed": True}), "packed"),
        (idl_of("u8", generics=[{"kind": "type", "name": "T"}]), "generic"),
        (idl_of("u128", serialization="bytemuck"), "alignment"),
    ],
)
def test_what_has_more_than_one_meaning_is_refused_by_name(idl, words):
    with pytest.raises(LayoutError, match=words):
        idl.account_layout("It")


def test_an_unknown_spec_is_refused():
    with pytest.raises(LayoutError, match=r"spec 0\.2\.0"):
        Idl({"metadata": {"spec": "0.2.0"}})


@pytest.mark.parametrize("value", [{}, {"it": 256}, {"it": "7"}, {"it": None}])
def test_a_value_that_does_not_fit_is_refused(value):
    with pytest.raises(LayoutError, match="cannot encode"):
        idl_of("u8").account_layout("It").write(value)


def test_short_bytes_and_a_bool_of_two_are_refused():
    layout = idl_of("bool").account_layout("It")

    for blob in (b"", b"\2"):
        with pytest.raises(LayoutError):
            layout.read(blob)


def test_an_instruction_takes_nested_arguments_and_fixed_addresses():
    tiers = [
        {"max_leverage": 10, "maintenance_bps": 500},
        *[{"max_leverage": 0, "maintenance_bps": 0}] * 4,
    ]
    params = {
        "symbol": at.SYMBOL,
        "feed_id": bytes(32),
        "price_program": str(at.RECEIVER),
        "max_price_age_s": 60,
        "min_reward": 1,
        "min_position_notional": 2,
        "max_confidence_bps": 100,
        "liquidation_fee_bps": 50,
        "liquidator_share_bps": 5_000,
        "target_health_bps": 12_500,
        "tiers": tiers,
    }
    accounts = dict.fromkeys(("authority", "insurance_fund", "market", "price_account"), "key")

    call = REFERENCE_IDL.instruction(
        "update_market", "program", accounts, {"params": params, "paused": True}
    )

    assert len(call.data) == 8 + 132 + 1
    assert call.data[:24] == bytes([153, 39, 2, 197, 179, 50, 199, 217]) + at.SYMBOL
    assert call.data[-1:] == b"\1"
    with pytest.raises(LayoutError, match="needs the account market"):
        REFERENCE_IDL.instruction(
            "update_market", "program", {"authority": "a", "insurance_fund": "b"}
        )
    with pytest.raises(LayoutError, match="no instruction nothing"):
        REFERENCE_IDL.instruction("nothing", "program", {})


IDLS = (
    *("adrena", "adrena_2026-05", "drift", "flash_v2_perpetuals", "jupiter_perpetuals"),
    *("mango_v4", "perpetuals_cashblaze", "pyth", "pyth_solana_receiver"),
)


@pytest.mark.parametrize("name", IDLS)
def test_every_real_idl_is_read_whole_by_both_decoders(name):
    idl = fixture_idl(name)

    for one in idl.instruction_names:
        assert idl.roles(one) is not None
    for account in idl.account_names:
        assert len(idl.account_discriminator(account)) == 8
    assert anchorpy_coder(idl.raw) is not None


@pytest.mark.parametrize("name", ["adrena_2026-05", "flash_v2_perpetuals"])
def test_explicit_discriminators_are_those_that_would_be_derived(name):
    idl = fixture_idl(name)
    bare = [{"name": one["name"]} for one in idl.raw["accounts"]]
    derived = Idl({**idl.raw, "accounts": bare})

    for account in idl.account_names:
        assert idl.account_discriminator(account) == derived.account_discriminator(account)


@pytest.mark.parametrize(
    "name, account, words",
    [
        ("flash_v2_perpetuals", "Multisig", "Multisig is packed"),
        ("flash_v2_perpetuals", "Pool", "Pool.name is string"),
        ("perpetuals_cashblaze", "Perpetuals", "Perpetuals.pools is vec<publicKey>"),
        ("pyth_solana_receiver", "priceUpdateV2", "VerificationLevel is an enum"),
        ("jupiter_perpetuals", "PositionRequest", "PositionRequest.price_slippage is option<u64>"),
    ],
)
def test_an_account_without_a_fixed_layout_is_refused_with_the_field_that_has_none(
    name, account, words
):
    with pytest.raises(LayoutError, match=words):
        fixture_idl(name).account_layout(account)


def test_a_packed_account_is_not_decoded_in_another_way():
    idl = fixture_idl("flash_v2_perpetuals")

    with pytest.raises(LayoutError, match="Multisig is packed"):
        idl.read("Multisig", idl.account_discriminator("Multisig") + bytes(1_000))


@pytest.mark.parametrize(
    "raw, words",
    [
        ([], "top level"),
        ({"metadata": 7}, "metadata"),
        ({"accounts": {}}, "accounts of the IDL must be a list"),
        ({"accounts": [{"name": ""}]}, "no proper name"),
        ({"accounts": [{"name": "A"}, {"name": "A"}]}, "A twice"),
        ({"types": [{"name": "T"}]}, "the type of T"),
        ({"errors": [{"name": "E", "code": "6000"}]}, "code of the error E"),
        ({"instructions": [None]}, "instructions"),
    ],
)
def test_a_malformed_idl_is_refused_with_the_part_that_is_wrong(raw, words):
    with pytest.raises(LayoutError, match=words):
        Idl(raw)


@pytest.mark.parametrize(
    "kind, words",
    [
        ({"array": ["u8", -1]}, "It.it is an array"),
        ({"array": ["u16", 10**18]}, "more than an account can hold"),
        ({"array": [{"array": ["u16", 4_000]}, 4_000]}, "more than an account can hold"),
        (None, "It.it is None"),
        (7, "It.it is 7"),
        ({"hashMap": ["u8", "u8"]}, "no fixed layout"),
    ],
)
def test_a_malformed_type_is_refused_with_its_field(kind, words):
    with pytest.raises(LayoutError, match=words):
        idl_of(kind).account_layout("It")


def test_an_enum_has_only_its_variants():
    body = {"kind": "enum", "variants": [{"name": "Long"}, {"name": "Short"}]}
    layout = idl_of("u8", type=body).account_layout("It")

    assert layout.read(b"\1") == {"": 1}
    with pytest.raises(LayoutError, match="an enum of 2 and was 2"):
        layout.read(b"\2")


def test_an_idl_is_known_by_a_hash_that_spacing_does_not_change():
    raw = REFERENCE_IDL.raw
    shuffled = dict(reversed(list(raw.items())))

    assert Idl.parse(json.dumps(shuffled, indent=4)).sha256 == Idl(raw).sha256
    assert Idl({**raw, "docs": ["other"]}).sha256 != Idl(raw).sha256
    with pytest.raises(LayoutError, match="no JSON"):
        Idl.parse("{")
