"""A field was read as a time stamp; in one class of markets nothing was liquidated, for long.

Nothing failed. The bot believed that those positions could not be judged yet and left them out,
and nobody looked at how many it had left out.
Source: dcccrypto/percolator-launch#427.

Here a position that cannot be judged is unknown with a reason, whether its market or the position
itself is the cause, and coverage below 100 % is shown with every pass and every status.
"""

from dataclasses import replace

import pytest
from solders.pubkey import Pubkey

from liqctl.keeper.survey import survey
from tests.localnet.program_world import decode_struct, encode_account


def rewrite(stage, address, kind, **changes):
    """Change fields of an account on the chain."""
    key = Pubkey.from_string(str(address))
    held = stage.world.account(key)
    fields = decode_struct(kind, held.data) | changes
    stage.world.set_account(key, replace(held, data=encode_account(kind, fields)))


async def test_a_market_whose_fields_make_no_sense_makes_its_positions_unknown(stage):
    market = stage.scenario.addresses.markets["SOL"]
    rewrite(stage, market, "Market", target_health_bps=0)
    stage.ticks(4)
    keeper = stage.keeper()

    await keeper.start()

    coverage = keeper.status().coverage
    assert coverage.evaluated == 40
    assert coverage.unknown.pop("absurd_value") == 1
    assert list(coverage.unknown.values()) == [20]


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [("leverage", 255, "leverage_too_high"), ("entry_price", 2**64 - 1, "overflow")],
)
async def test_a_position_that_cannot_be_judged_is_counted_as_unknown(stage, field, value, reason):
    keeper = stage.keeper(dry=True)
    await survey(keeper, keeper._context)
    address = keeper.engine.queue.entries()[0].position
    rewrite(stage, address, "Position", **{field: value})
    stage.ticks(4)

    found = await survey(keeper, keeper._context)

    assert len(found.findings) == 3
    assert found.coverage.unknown == {reason: 1}
    assert (found.coverage.positions, found.coverage.evaluated) == (60, 59)
