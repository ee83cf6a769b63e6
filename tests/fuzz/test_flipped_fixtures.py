"""Every real account and interface at hand, with bits flipped: a value or a refusal by name."""

import base64
import json
import random
from collections import Counter
from dataclasses import replace

import pytest

from liqctl.core.account import Account, Undecodable
from liqctl.core.price import PriceReading
from liqctl.errors import LayoutError
from liqctl.oracle.legacy_price import LEGACY_OWNER, decode_legacy_price
from liqctl.oracle.price_update import RECEIVER_CLASSIC, decode_price
from liqctl.venues import perpetuals_replay as replay
from liqctl.venues.idl import Idl
from liqctl.venues.perpetuals import PerpetualsVenue
from liqctl.venues.perpetuals_math import Refused
from tests.fuzz.soundness import sound
from tests.oracle.fixture_files import ROOT, account_bytes, fixture_path
from tests.venues.perpetuals_cases import PROGRAM, VECTORS, Planted
from tests.venues.test_idl import fixture_idl

HEAD_BYTES = 260
FLIPS_BEYOND = 400
ACCOUNTS = sorted(
    str(one.relative_to(ROOT)) for one in ROOT.glob("*/*") if one.parent.name in {"mango", "pyth"}
)
IDLS = sorted(one.name for one in ROOT.glob("idl/*.json"))


def flipped(blob, chance, beyond=FLIPS_BEYOND):
    """Every single bit of the first bytes flipped, and some behind them."""
    places = list(range(8 * min(HEAD_BYTES, len(blob))))
    if len(blob) > HEAD_BYTES:
        places += [chance.randrange(8 * HEAD_BYTES, 8 * len(blob)) for _ in range(beyond)]
    for place in places:
        yield (
            blob[: place // 8] + bytes([blob[place // 8] ^ 1 << place % 8]) + blob[place // 8 + 1 :]
        )


@pytest.mark.skipif(not ACCOUNTS, reason="the fixtures are not at hand")
@pytest.mark.parametrize("name", ACCOUNTS)
def test_a_flipped_account_is_a_price_or_refused_by_name(name):
    chance = random.Random(name)
    found = set()

    for blob in flipped(account_bytes(name), chance):
        for decode, owner in (
            (decode_price, RECEIVER_CLASSIC),
            (decode_legacy_price, LEGACY_OWNER),
        ):
            account = Account(address=owner, owner=owner, lamports=1, data=blob, slot=1)
            value = decode(account)
            assert isinstance(value, PriceReading | Undecodable)
            sound(value)
            found.add(type(value))

    assert Undecodable in found


@pytest.mark.parametrize(
    ("interface", "account", "file"),
    [
        ("drift", "User", "drift/users_mainnet_b64.json"),
        ("mango_v4", "MangoAccount", "mango/mangoaccount-v0.21.3.bin"),
    ],
)
def test_a_flipped_account_of_another_program_is_read_or_refused(interface, account, file):
    path = fixture_path(file)
    if path.suffix == ".json":
        blob = base64.b64decode(json.loads(path.read_text())[0])
    else:
        blob = path.read_bytes()
    idl, chance = fixture_idl(interface), random.Random(file)
    outcomes = set()

    for spoiled in chance.sample(list(flipped(blob, chance)), 150):
        try:
            outcomes.add(type(idl.read(account, spoiled)))
        except LayoutError:
            outcomes.add(LayoutError)

    assert dict in outcomes
    assert outcomes <= {dict, LayoutError}


@pytest.mark.skipif(not IDLS, reason="the fixtures are not at hand")
@pytest.mark.parametrize("name", IDLS)
def test_a_flipped_interface_is_parsed_or_refused(name):
    text = fixture_path(f"idl/{name}").read_bytes()
    chance = random.Random(name)
    refused = 0
    tries = 60 if len(text) < 100_000 else 12

    for _ in range(tries):
        place = chance.randrange(8 * len(text))
        spoiled = bytearray(text)
        spoiled[place // 8] ^= 1 << place % 8
        try:
            assert Idl.parse(bytes(spoiled)).sha256
        except LayoutError:
            refused += 1

    assert refused < tries


def test_flipped_accounts_of_a_vector_are_judged_or_refused_with_a_code_of_the_program():
    chance = random.Random(4)
    venue = PerpetualsVenue(str(PROGRAM))
    answered, codes = 0, Counter[int | None]()

    for _ in range(2_000):
        planted = Planted(chance.choice(VECTORS))
        name = chance.choice([one for one in planted.data if planted.data[one]])
        blob = planted.data[name]
        place = chance.randrange(8 * len(blob))
        blob[place // 8] ^= 1 << place % 8
        accounts = planted.accounts()
        for ask in (
            *(replay.liquidation_state, replay.profit_and_loss),
            *(replay.liquidation_price, replay.liquidate),
        ):
            try:
                sound(ask(accounts))
                answered += 1
            except Refused as error:
                codes[error.code] += 1
        for account in (accounts.position, accounts.custody):
            if account is not None:
                sound(venue.decode(replace(account, owner=str(PROGRAM))))

    assert answered > 1_000
    assert codes.total() > 1_000
    assert None not in codes
