"""Two keepers on two databases: nothing keeps them apart but the program's refusal and the caps."""

import pytest

from liqctl.core.guards import Limits
from tests.keeper.stage import execute, next_decision, settle, signature_of

HOUR = 5_000_000
FEE = 205_000


async def test_each_position_is_closed_once_and_what_is_paid_in_vain_is_bounded_by_the_caps(stage):
    limits = Limits(hour_lamports=4 * HOUR)
    ours = stage.keeper(limits=limits)
    theirs = stage.keeper(database="o.db", key_file=stage.rival_file, limits=limits)
    await ours.start()
    await theirs.start()
    held = []

    def hold_back(params):
        held.append(params[0])
        return signature_of(params[0])

    stage.rpc.faults["sendTransaction"] = hold_back
    for decision in [next_decision(ours) for _ in range(4)]:
        await execute(ours, decision)
        await execute(theirs, decision)
        for raw in held:
            unchecked = {"encoding": "base64", "skipPreflight": True}
            stage.rpc.really("sendTransaction", [raw, unchecked])
        held.clear()
        await settle(stage, ours)
        await settle(stage, theirs)

    closed = stage.rows("SELECT position_pubkey FROM liquidations")
    assert len(closed) == len(set(closed)) == 4
    assert stage.rows("SELECT COUNT(*) FROM liquidations", "o.db") == [(0,)]
    paid = "SELECT SUM(fee_paid), COUNT(*) FROM attempt WHERE state = 'FINALIZED_ERR'"
    [(lamports, failed)] = stage.rows(paid, "o.db")
    assert failed == 4
    assert 0 < lamports <= 4 * FEE
    totals = theirs._context.store.store.totals()
    assert (totals.failed, totals.lost_races) == (0, 4)


@pytest.mark.parametrize("database", ["k.db", "o.db"])
async def test_each_database_counts_its_own_hour_and_stops_at_its_cap(stage, database):
    keeper = stage.keeper(database=database, limits=Limits(hour_lamports=HOUR))
    await keeper.start()

    reasons = []
    for _ in range(4):
        execution = await execute(keeper)
        reasons += [execution.outcome.reason] if execution.outcome else []

    assert reasons == ["cost_over_hour_cap"] * 3
    assert stage.rows("SELECT SUM(max_cost_lamports) FROM attempt", database)[0][0] <= HOUR
