"""A node that gives a part of the accounts, or says that it cannot give them at all."""

import pytest

from liqctl.errors import RpcError, RpcRefused
from liqctl.keeper.survey import survey
from tests.keeper.stage import execute, until

TROUBLES = {
    "excluded from its index": RpcRefused("excluded from account secondary indexes", code=-32010),
    "scan aborted": RpcRefused("scan aborted", code=-32012),
    "too busy": RpcRefused("busy", code=429),
}


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_a_refused_snapshot_removes_nothing_and_is_made_good_later(stage, trouble):
    keeper = stage.keeper()
    await keeper.start()

    def refuse(_):
        raise TROUBLES[trouble]

    stage.rpc.faults["getProgramAccounts"] = refuse
    with pytest.raises(RpcError):
        await keeper.feeds.load()
    keeper.absorb()

    assert keeper.engine.coverage().positions == 60
    assert len(keeper.engine.queue) == 4
    assert (await execute(keeper)).live is not None


@pytest.mark.parametrize("kept", [0, 1, 30, 59])
async def test_a_snapshot_with_fewer_accounts_has_the_missing_read_one_by_one(stage, kept):
    keeper = stage.keeper()
    await keeper.start()

    def shorten(params):
        told = stage.rpc.really("getProgramAccounts", params)
        return {**told, "value": told["value"][:kept]} if len(told["value"]) == 60 else told

    stage.rpc.faults["getProgramAccounts"] = shorten
    stage.ticks(2)
    stage.rpc.calls.clear()
    await keeper.feeds.load()
    keeper.absorb()
    missing = {*keeper.feeds._wanted}

    assert len(missing) == 60 - kept
    assert keeper.engine.coverage().positions == 60
    assert len(keeper.engine.queue) == 4


async def test_a_pass_says_how_many_it_could_judge_although_the_node_gave_less(stage):
    keeper = stage.keeper(dry=True)
    await survey(keeper, keeper._context)
    stage.rpc.faults["getProgramAccounts"] = lambda params: {
        **stage.rpc.really("getProgramAccounts", params),
        "value": [],
    }

    found = await survey(keeper, keeper._context)

    assert found.coverage.positions == 60
    assert len(found.findings) == 4


async def test_what_really_closed_is_forgotten_after_it_was_read_as_gone(stage):
    ours, theirs = stage.keeper(), stage.rival()
    await ours.start()
    await theirs.start()
    closed = (await execute(theirs)).live
    assert closed is not None
    stage.ticks(6)
    await ours.feeds.load()
    ours.absorb()
    assert ours.engine.position(closed.attempt.position) is not None

    await ours.feeds.read(ours.feeds._wanted)
    ours.absorb()

    assert ours.engine.position(closed.attempt.position) is None
    await until(lambda: ours.engine.coverage().positions == 59)
