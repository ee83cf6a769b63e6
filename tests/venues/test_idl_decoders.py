"""Struct, numpy columns and anchorpy read the same in every field, and write the same arguments."""

import base64
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqctl.errors import LayoutError
from liqctl.venues.idl import Idl
from liqctl.venues.idl_legacy import Values
from liqctl.venues.reference_layout import REFERENCE_IDL
from tests.oracle.fixture_files import fixture_path
from tests.venues.test_idl import IDLS, fixture_idl

SIMPLE = (
    *("bool", "u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64", "u128", "i128"),
    *("pubkey", {"defined": {"name": "Side"}}, {"defined": {"name": "Pair"}}),
)
SHARED = [
    {
        "name": "Side",
        "type": {"kind": "enum", "variants": [{"name": n} for n in ("None", "Long", "Short")]},
    },
    {"name": "Pair", "type": {"kind": "struct", "fields": ["u16", {"array": ["u64", 2]}]}},
]


def idl_of(kinds):
    fields = [{"name": "padding", "type": kind} for kind in kinds]
    return Idl(
        {
            "metadata": {"spec": "0.1.0"},
            "accounts": [{"name": "It"}],
            "types": [{"name": "It", "type": {"kind": "struct", "fields": fields}}, *SHARED],
        }
    )


kinds = st.recursive(
    st.sampled_from(SIMPLE),
    lambda inner: st.tuples(inner, st.integers(0, 3)).map(lambda pair: {"array": list(pair)}),
    max_leaves=4,
)


def by_anchorpy(idl, name, body):
    value = idl._coder(account=name).accounts._accounts_layout[name].parse(body)
    return dict(Values(idl._types).body(name, value))


def valid(layout, noise):
    """Random bytes with bools and enums that exist."""
    blob = bytearray(noise.randbytes(layout.size))
    for index, most in layout.limits:
        blob[layout.place_of(layout.names[index])[0]] = noise.randint(0, most)
    return bytes(blob)


def from_columns(row, layout, path):
    """The value that a row of the columns has at a path."""
    at = row
    for part in path.replace("[", ".[").split("."):
        if part:
            at = at[int(part[1:-1])] if part.startswith("[") else at[part]
    if getattr(at.dtype, "names", None) == ("lo", "hi"):
        return (int(at["hi"]) << 64) + int(at["lo"])
    return at.tobytes() if at.dtype.kind == "V" else at.item()


@settings(max_examples=150, deadline=None)
@given(fields=st.lists(kinds, min_size=1, max_size=6), noise=st.randoms(use_true_random=False))
def test_three_decoders_agree_on_any_layout(fields, noise):
    idl = idl_of(fields)
    layout = idl.account_layout("It")
    body = valid(layout, noise)

    read = layout.read(body)

    assert by_anchorpy(idl, "It", body) == read
    assert layout.write(nested(idl, "It", read)) == body
    if layout.size:
        columns = idl.columns("It", [idl.account_discriminator("It") + body] * 2)
        assert columns.indices.tolist() == [0, 1]
        for path, value in read.items():
            assert from_columns(columns.rows[1], layout, path) == value


def nested(idl, name, read):
    """Flat values as `write` takes them."""

    def build(layout, path):
        if layout.members:
            head = f"{path}." if path else ""
            return {label: build(member, head + label) for label, member in layout.members}
        if layout.element is not None:
            count = layout.size // layout.element.size if layout.element.size else 0
            return [build(layout.element, f"{path}[{n}]") for n in range(count)]
        return read[path] if layout.names else None

    return build(idl.account_layout(name), "")


@pytest.mark.parametrize("name", IDLS)
def test_both_decoders_agree_on_every_account_of_real_programs(name):
    idl, noise, seen = fixture_idl(name), random.Random(name), 0
    for account in idl.account_names:
        try:
            layout = idl.account_layout(account)
        except LayoutError:
            continue
        described = idl._types[account]
        if described.get("serialization") == "bytemuck" or "f64" in layout.kinds:
            continue
        if layout.size < 2_000:
            body = valid(layout, noise)
            assert by_anchorpy(idl, account[:1].upper() + account[1:], body) == layout.read(body)
            seen += 1
    assert seen or name in {"pyth", "pyth_solana_receiver", "mango_v4", "adrena_2026-05"}


def test_real_positions_are_read_alike_at_once_and_one_by_one():
    vectors = json.loads(fixture_path("perpetuals_golden.json").read_text())["vectors"]
    blobs = [bytes.fromhex(one["position_data"]) for one in vectors]
    padded = [blob + bytes(6) for blob in blobs]
    idl = fixture_idl("perpetuals_cashblaze")

    columns = idl.columns("Position", [*blobs, *padded], extra=6)

    assert len(columns.rows) == 2 * len(vectors)
    assert columns.refused == {}
    sizes = [one["fields"]["size"] for one in vectors]
    assert columns.rows["size_usd"].tolist() == sizes + sizes


def test_real_accounts_of_drift_are_read():
    texts = json.loads(fixture_path("drift/users_mainnet_b64.json").read_text())
    idl = fixture_idl("drift")

    columns = idl.columns("User", [base64.b64decode(text) for text in texts])

    held = columns.rows["perp_positions"]
    assert len(columns.rows) == 100
    assert int((held["base_asset_amount"] != 0).sum()) == 49


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda blob: b"\0" * 8 + blob[8:], "starts with"),
        (lambda blob: blob[:-1], "of 143 bytes, expected 144 to 150"),
        (lambda blob: blob + bytes(7), "of 151 bytes"),
        (lambda blob: blob + b"\0\1", "newer version"),
    ],
)
def test_what_is_no_such_account_is_refused_with_its_place(spoil, words):
    good = REFERENCE_IDL.account_discriminator("Position") + bytes(136)

    columns = REFERENCE_IDL.columns("Position", [good, spoil(good), good], extra=6)

    assert columns.indices.tolist() == [0, 2]
    assert list(columns.refused) == [1]
    assert words in columns.refused[1]


def test_a_bool_of_two_is_refused_in_columns_as_well():
    good = REFERENCE_IDL.account_discriminator("Market") + bytes(200)
    place = REFERENCE_IDL.account_layout("Market").place_of("paused")
    bad = bytearray(good)
    assert place is not None
    bad[8 + place[0]] = 2

    columns = REFERENCE_IDL.columns("Market", [bytes(bad), good])

    assert columns.indices.tolist() == [1]
    assert "bool or an enum" in columns.refused[0]


def test_an_account_of_varying_size_is_read_by_path():
    idl = fixture_idl("pyth_solana_receiver")
    blob = fixture_path("pyth/pyth_push_sol_price.bin").read_bytes()

    read = idl.read("priceUpdateV2", blob)

    assert read["price_message.price"] == 15679769099
    assert read["price_message.exponent"] == -8
    assert read["verification_level"] == 1


def test_an_account_that_ends_early_is_refused_by_name():
    idl = fixture_idl("pyth_solana_receiver")
    blob = fixture_path("pyth/pyth_push_sol_price.bin").read_bytes()

    for data in (blob[:20], blob[:7], b"", bytes(134)):
        with pytest.raises(LayoutError, match="priceUpdateV2"):
            idl.read("priceUpdateV2", data)


def test_arguments_of_varying_size_are_encoded():
    idl = fixture_idl("adrena_2026-05")
    roles = dict.fromkeys((role.name for role in idl.roles("liquidate_long")), "key")

    nothing = {"oracle_prices": None, "multi_oracle_prices": None}

    call = idl.instruction("liquidate_long", "p", roles, {"params": nothing})

    head = next(o for o in idl.raw["instructions"] if o["name"] == "liquidate_long")
    assert call.data == bytes(head["discriminator"]) + bytes(2)
    with pytest.raises(LayoutError, match="oracle_prices is missing"):
        idl.instruction("liquidate_long", "p", roles, {"params": {}})
    with pytest.raises(LayoutError, match="liquidate_long"):
        idl.instruction("liquidate_long", "p", roles, {"params": 7})


@pytest.mark.parametrize("value", [0, 1, 2**64 - 1])
def test_both_encoders_write_the_same_arguments(value):
    layout = REFERENCE_IDL._call("liquidate")[2]

    assert layout is not None
    ours = layout.write({"max_size": value})
    assert REFERENCE_IDL._encoded("liquidate", {"max_size": value}) == ours


@pytest.mark.parametrize(
    "name, account",
    [
        ("pyth_solana_receiver", "priceUpdateV2"),
        ("perpetuals_cashblaze", "Pool"),
        ("jupiter_perpetuals", "PositionRequest"),
        ("drift", "RevenueShareEscrow"),
        ("mango_v4", "MangoAccount"),
        ("flash_v2_perpetuals", "Basket"),
    ],
)
def test_any_bytes_of_a_varying_account_are_read_or_refused(name, account):
    idl, chance = fixture_idl(name), random.Random(name)
    head, refused = idl.account_discriminator(account), []

    for _ in range(60):
        body = bytes(chance.choice((0, 0, 0, 1, 2, 255)) for _ in range(chance.randrange(2_000)))
        try:
            assert isinstance(idl.read(account, head + body), dict)
        except LayoutError as error:
            refused.append(str(error))

    assert refused
    assert all(account in words for words in refused)
