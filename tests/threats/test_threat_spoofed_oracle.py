"""Accounts that pretend to be a price: wrong owner, wrong feed, partly verified, or no price at all.

Every one of them would make positions liquidatable if it were believed, and each says why it is not.
"""

from typing import Any

import pytest
from solders.pubkey import Pubkey

from liqctl.localnet.account import AccountState
from liqctl.oracle.price_update import RECEIVER_UPGRADED
from tests.incidents.replay import RECEIVER, Replay, dollars, look, work_off
from tests.localnet.program_world import PROGRAM, TOKEN_PROGRAM, Price

PRICE, CONFIDENCE = 140 * 10**8, 10**7
MAX = 2**63 - 1
LEGACY_MAGIC = bytes.fromhex("d4c3b2a102000000")
ANOTHER_FEED = bytes.fromhex("e62df6c8b4a85fe1a67db44dc12de5db330f7ac66b72dc658afedf0f4a415b43")
HEAD = Price().discriminator


def flipped(feed: bytes, at: int) -> bytes:
    return feed[:at] + bytes([feed[at] ^ 1]) + feed[at + 1 :]


def partly(signatures: int) -> dict[str, Any]:
    return {"verification": bytes([0, signatures]), "length": 134}


HOSTILE: dict[str, list[dict[str, Any]]] = {
    "price_wrong_owner": [
        {"owner": Pubkey.from_string(RECEIVER_UPGRADED)},
        {"owner": Pubkey(bytes([9] * 32))},
        {"owner": TOKEN_PROGRAM},
        {"owner": Pubkey(bytes(31) + b"\x01")},
    ],
    "price_not_fully_verified": [
        *(partly(signatures) for signatures in (0, 1, 5, 12, 13, 19, 255)),
        {"verification": b"\x02"},
        {"verification": b"\xff"},
    ],
    "price_wrong_feed": [
        {"feed_id": bytes(32)},
        {"feed_id": ANOTHER_FEED},
        {"feed_id": b"\xff" * 32},
        *({"flip": at} for at in (0, 15, 31)),
    ],
    "price_wrong_type": [
        {"owner": PROGRAM},
        {"owner": PROGRAM, "discriminator": bytes(8)},
        {"discriminator": bytes(8)},
        {"discriminator": LEGACY_MAGIC},
        {"discriminator": HEAD[::-1]},
        {"discriminator": HEAD[:7] + bytes([HEAD[7] ^ 1])},
        *({"length": length} for length in (0, 1, 7, 8, 40, 41, 100, 132)),
    ],
    "price_not_positive": [{"price": 0}, {"price": -1}, {"price": -MAX - 1}],
    "price_bad_exponent": [
        *({"exponent": exponent} for exponent in (1, 8, 18, 20, 2**31 - 1, -19, -(2**31)))
    ],
    "price_too_wide": [
        {"confidence": PRICE // 100 + 1},
        {"confidence": MAX},
        {"confidence": 2**64 - 1},
    ],
    "price_stale": [
        {"publish_time": 0},
        {"publish_time": -1},
        {"publish_time": -MAX},
        {"age_s": 63},
    ],
    "price_too_small": [{"exponent": -18, "price": 1, "confidence": 0}],
    "price_too_large": [{"exponent": 0, "price": MAX, "confidence": 0}],
}
CASES = [(reason, fields) for reason, many in HOSTILE.items() for fields in many]


@pytest.fixture
async def stage(tmp_path):
    made = Replay(tmp_path, {"SOL": "150"})
    made.publish("SOL", dollars(150, 0.1))
    made.ticks(12)
    yield made
    await made.close()


def put(stage: Replay, fields: dict[str, Any]) -> None:
    """Leave a price account with these fields in the place of the good one."""
    feed, changes = stage.specs["SOL"].feed, dict(fields)
    now_s = stage.world.unix_ms // 1_000 - changes.pop("age_s", 0)
    if "flip" in changes:
        changes["feed_id"] = flipped(feed, changes.pop("flip"))
    good = {"price": PRICE, "confidence": CONFIDENCE, "exponent": -8, "publish_time": now_s}
    made = Price(**{**good, "feed_id": feed, "owner": RECEIVER, **changes}).account()
    state = AccountState(lamports=made.lamports, data=made.data, owner=made.owner)
    stage.world.set_account(stage.specs["SOL"].price_account, state)


async def test_each_of_more_than_forty_hostile_accounts_is_refused_for_its_own_reason(stage):
    keeper = stage.keeper()
    await keeper.start()
    stage.publish("SOL", None)
    wrong = []
    for reason, fields in CASES:
        put(stage, fields)
        stage.ticks(2)
        await look(stage, keeper)
        if (keeper.engine.coverage().unknown, len(keeper.engine.queue)) != ({reason: 10}, 0):
            wrong.append((reason, fields, keeper.engine.coverage().unknown))
        await work_off(keeper)

    assert len(CASES) >= 40
    assert wrong == []
    assert stage.rows("SELECT COUNT(*) FROM intent") == [(0,)]


async def test_the_same_account_without_a_fault_would_have_been_believed(stage):
    keeper = stage.keeper()
    await keeper.start()
    stage.publish("SOL", None)

    put(stage, {})
    stage.ticks(2)
    await look(stage, keeper)
    await work_off(keeper)

    assert keeper.engine.coverage().unknown == {}
    assert stage.rows("SELECT COUNT(*) FROM attempt")[0][0] > 0


@pytest.mark.parametrize("ahead_s", [8, 3_600, MAX // 2])
async def test_a_price_of_the_future_is_a_verdict_and_no_transaction(stage, ahead_s):
    """The program takes it; we do not send on it."""
    keeper = stage.keeper()
    await keeper.start()
    stage.publish("SOL", None)

    put(stage, {"age_s": -ahead_s})
    stage.ticks(2)
    await look(stage, keeper)
    await work_off(keeper)

    assert len(keeper.engine.queue) > 0
    assert {entry.reason for entry in keeper.engine.queue.entries()} == {"price_from_future"}
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]
