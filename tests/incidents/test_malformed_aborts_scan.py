"""One account that could not be decoded stopped the scan of a whole program.

The decoder raised, the loop around it did not expect that, and nobody behind that account was
looked at any more, on every pass.

Here decoding is total: what cannot be read is a value with a reason, is counted as unknown in every
result, and hides nobody.
"""

import base64

import pytest
from solders.pubkey import Pubkey

from liqctl.keeper.survey import survey
from liqctl.localnet.account import AccountState

LENGTH = 144
SHAPES = {
    "only a head": lambda head: head,
    "a byte short": lambda head: head + bytes(LENGTH - 9),
    "a byte long": lambda head: head + bytes(LENGTH - 7),
    "all zero": lambda head: head + bytes(LENGTH - 8),
    "all ones": lambda head: head + b"\xff" * (LENGTH - 8),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_accounts_like_positions_that_are_none_are_counted_and_hide_nobody(stage, shape):
    keeper = stage.keeper(dry=True)
    head = keeper._context.venue.discriminators()["position"]
    program = Pubkey.from_string(stage.scenario.addresses.program)
    for number in (0, 255):
        malformed = AccountState(lamports=10**7, data=SHAPES[shape](head), owner=program)
        stage.world.set_account(Pubkey(bytes([number]) * 31 + b"\x01"), malformed)
    stage.ticks(4)

    found = await survey(keeper, keeper._context)

    assert len(found.findings) == 4
    assert (found.coverage.positions, found.coverage.evaluated) == (62, 60)
    assert sum(found.coverage.unknown.values()) == 2


async def test_entries_that_are_no_accounts_at_all_are_counted_and_hide_nobody(stage):
    keeper = stage.keeper(dry=True)

    def spoil(params):
        told = stage.rpc.really("getProgramAccounts", params)
        if len(told["value"]) > 50:
            told["value"][:0] = [None, 7, {"pubkey": "x"}, {"account": {"data": ["%", "base64"]}}]
            told["value"].append({"pubkey": "y" * 44, "account": None})
        return told

    stage.rpc.faults["getProgramAccounts"] = spoil

    found = await survey(keeper, keeper._context)

    assert len(found.findings) == 4
    assert found.coverage.evaluated == 60
    assert sum(found.coverage.unknown.values()) == 5


async def test_a_position_that_turns_to_noise_later_is_counted_and_the_others_go_on(stage):
    keeper = stage.keeper(dry=True)
    await survey(keeper, keeper._context)
    spoiled = keeper.engine.queue.entries()[0].position

    def noise(params):
        told = stage.rpc.really("getProgramAccounts", params)
        for entry in told["value"]:
            if entry["pubkey"] == spoiled:
                blob = base64.b64decode(entry["account"]["data"][0])
                body = base64.b64encode(blob[:8] + bytes(len(blob) - 8)).decode()
                entry["account"]["data"] = [body, "base64"]
        return told

    stage.rpc.faults["getProgramAccounts"] = noise
    stage.ticks(1)
    found = await survey(keeper, keeper._context)

    assert len(found.findings) == 3
    assert (found.coverage.positions, found.coverage.evaluated) == (60, 59)
