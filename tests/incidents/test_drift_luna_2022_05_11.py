"""11 May 2022: LUNA fell from 10 dollars to 0.5 within hours and Drift's first version broke.

The program's own accounting paid out more than there was, and the exchange was halted. Bots that
meet a program which refuses everything, or answers with an error that nobody has seen before, tend
to hammer it until their wallets are empty.
Source: Drift's incident report, May 2022.

Here a paused market and an error that the venue does not know stop the sending: the first for a
while, the second until a person resumes.
"""

from dataclasses import replace

from solders.pubkey import Pubkey

from liqctl.core.events import Cause
from liqctl.core.queue import Pacing
from tests.incidents.replay import look, work_off
from tests.keeper.stage import execute, next_decision
from tests.localnet.program_world import decode_struct, encode_account

EAGER = Pacing(backoff_ms=0, backoff_ms_max=0, tries_max=3)
UNKNOWN = {"InstructionError": [4, {"Custom": 99}]}


def simulated(stage, failure):
    stage.rpc.faults["simulateTransaction"] = lambda _: {
        "context": {"slot": stage.world.slot},
        "value": {"err": failure, "logs": []},
    }


async def test_an_error_that_nobody_knows_stops_everything_at_the_first_position(stage):
    keeper = stage.keeper(pacing=EAGER)
    await keeper.start()
    simulated(stage, UNKNOWN)

    for _ in range(20):
        if keeper.holds.reason() is None:
            await work_off(keeper)
        await look(stage, keeper)

    tried = [method for method, _ in stage.rpc.calls].count("simulateTransaction")
    assert keeper.holds.reason() == "breaker_unknown_error"
    assert tried <= len(keeper.engine.queue) * EAGER.tries_max
    assert stage.rpc.sent() == []
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]


async def test_when_the_simulation_is_well_again_nothing_is_signed_before_a_person_resumes(stage):
    keeper = stage.keeper(pacing=EAGER)
    await keeper.start()
    simulated(stage, UNKNOWN)
    await keeper._work(next_decision(keeper))
    stage.rpc.faults.clear()

    held = await execute(keeper)

    assert held.outcome is not None
    assert held.outcome.reason == "breaker_unknown_error"
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]


async def test_a_paused_market_is_not_sent_to_and_is_told_as_paused(stage):
    keeper = stage.keeper(pacing=EAGER)
    await keeper.start()
    market = Pubkey.from_string(str(stage.scenario.addresses.markets["SOL"]))
    held = stage.world.account(market)
    fields = decode_struct("Market", held.data) | {"paused": True}
    stage.world.set_account(market, replace(held, data=encode_account("Market", fields)))
    stage.ticks(4)

    stopped = await execute(keeper)

    assert stopped.outcome is not None
    assert (stopped.outcome.cause, stopped.outcome.reason) == (Cause.PAUSED, "market_paused")
    assert stage.rpc.sent() == []
