"""One pass over everything: each finding confirmed, nothing left out, one clear error."""

from typing import Any

import pytest

from liqctl.core.record import QueueOrder, QueueState
from liqctl.errors import RpcError, RpcUnreachable
from liqctl.keeper.service import Keeper
from liqctl.keeper.survey import Survey, queue_row, survey
from tests.keeper.stage import Stage, execute, settle


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


async def look(keeper: Keeper, **choice: Any) -> Survey:
    return await survey(keeper, keeper._context, **choice)


async def test_every_liquidatable_position_is_found_once_worst_first(stage):
    keeper = stage.keeper(dry=True)
    steps: list[tuple[int, int]] = []

    found = await look(keeper, progress=lambda done, total: steps.append((done, total)))

    assert len(found.findings) == 4
    assert len({finding.position.address for finding in found.findings}) == 4
    healths = [finding.assessment.health for finding in found.findings]
    assert healths == sorted(healths)
    assert all(finding.assessment.liquidatable is True for finding in found.findings)
    assert (found.coverage.positions, found.coverage.unknown) == (60, {})
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert stage.rpc.sent() == []
    assert stage.rows("SELECT COUNT(*) FROM queue") == [(0,)]


async def test_filters_leave_the_coverage_as_it_is(stage):
    whole = await look(stage.keeper(dry=True))
    notionals = sorted(finding.assessment.notional for finding in whole.findings)

    other = await look(stage.keeper(dry=True), market="BTC")
    large = await look(stage.keeper(dry=True), min_notional=notionals[2])

    assert other.findings == ()
    assert len(large.findings) == 2
    assert other.coverage == large.coverage == whole.coverage


async def test_what_the_fresh_read_does_not_confirm_is_no_finding(stage):
    keeper, rival = stage.keeper(dry=True), stage.rival()
    await rival.start()
    before = await look(keeper)
    outdated = {
        str(params): stage.rpc.really(method, params)
        for method, params in stage.rpc.calls
        if method == "getProgramAccounts"
    }
    await execute(rival)
    await settle(stage, rival)
    stage.rpc.faults["getProgramAccounts"] = lambda params: outdated[str(params)]

    after = await look(stage.keeper(dry=True))

    assert len(before.findings) == 4
    assert len(after.findings) == 3
    assert after.coverage.positions == 60


async def test_what_the_fresh_read_cannot_judge_is_no_finding(stage):
    reads: list[Any] = []

    def without_price(params: list[Any]) -> Any:
        reads.append(params)
        answer = stage.rpc.really("getMultipleAccounts", params)
        if len(reads) > 2:
            account = str(stage.scenario.specs[0].price_account)
            answer["value"][params[0].index(account)] = None
        return answer

    stage.rpc.faults["getMultipleAccounts"] = without_price

    assert (await look(stage.keeper(dry=True))).findings == ()
    assert len(reads) == 6


async def test_a_node_that_goes_away_during_the_confirmations_is_one_typed_error(stage):
    keeper = stage.keeper(dry=True)
    reads: list[Any] = []

    def go_away(params: list[Any]) -> None:
        reads.append(params)
        if len(reads) > 2:
            raise RpcUnreachable

    stage.rpc.faults["getMultipleAccounts"] = go_away

    with pytest.raises(RpcError):
        await look(keeper)


async def test_a_finding_becomes_an_order_to_a_running_keeper(stage):
    keeper = stage.keeper(dry=True)
    [finding, *_] = (await look(keeper)).findings

    row = queue_row(finding, "reference", 77)

    assert (row.position, row.owner) == (finding.position.address, finding.position.owner)
    assert (row.state, row.order) == (QueueState.WAITING, QueueOrder.ENQUEUE)
    assert (row.size, row.health, row.since_ms) == (
        finding.position.size,
        finding.assessment.health,
        77,
    )
