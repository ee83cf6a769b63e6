"""The host's clock is an hour off, or is set while the keeper runs."""

import pytest

from liqctl.ports import SystemClock
from tests.keeper.stage import execute, next_decision, settle

HOUR_MS = 3_600_000


class Skewed(SystemClock):
    """Wrong about the time of day, right about how time passes."""

    offset_ms = 0

    def unix_ms(self) -> int:
        return super().unix_ms() + Skewed.offset_ms


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setattr("tests.keeper.stage.SystemClock", Skewed)
    monkeypatch.setattr(Skewed, "offset_ms", 0)
    return Skewed


@pytest.mark.parametrize("offset_ms", [-HOUR_MS, HOUR_MS])
async def test_what_is_liquidatable_and_how_old_a_price_is_does_not_depend_on_the_host(
    stage, host, offset_ms
):
    host.offset_ms = offset_ms
    keeper = stage.keeper()
    await keeper.start()
    decisions = [next_decision(keeper) for _ in range(4)]

    assert keeper.engine.coverage().unknown == {}
    assert {decision.assessment.price_age_s for decision in decisions} <= {0, 1}
    await execute(keeper, decisions[0])
    await settle(stage, keeper)
    assert stage.rows("SELECT state FROM attempt") == [("FINALIZED_OK",)]


@pytest.mark.parametrize("step_ms", [-HOUR_MS, HOUR_MS])
async def test_a_clock_that_is_set_while_an_attempt_is_in_the_air_makes_no_second_one(
    stage, host, step_ms
):
    keeper, other = stage.keeper(rebroadcast_ms=0), stage.keeper(rebroadcast_ms=0)
    await keeper.start()
    await other.start()
    decision = next_decision(keeper)
    await execute(keeper, decision)

    host.offset_ms = step_ms
    stage.ticks(1)
    assert (await execute(other, decision)).live is None
    await other.settler.recover()
    await settle(stage, keeper)
    await settle(stage, other)

    assert len(set(stage.rpc.sent())) == 1
    assert stage.rows("SELECT n, state FROM attempt") == [(1, "FINALIZED_OK")]
    assert stage.rows("SELECT COUNT(*) FROM liquidations") == [(1,)]


@pytest.mark.parametrize("step_ms", [-HOUR_MS, HOUR_MS])
async def test_a_backoff_is_as_long_as_it_was_meant_whatever_is_done_to_the_clock(
    stage, host, step_ms
):
    keeper = stage.keeper()
    await keeper.start()
    before_ms = keeper._context.steady.ms()

    host.offset_ms = step_ms

    assert abs(keeper._context.steady.ms() - before_ms) < 60_000
