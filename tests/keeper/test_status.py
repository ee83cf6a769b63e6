"""What a running keeper tells of itself, and what it leaves for others to read."""

from dataclasses import replace

import pytest

from liqctl.core.health_grade import grade
from liqctl.core.record import PositionQuery
from liqctl.core.status import Status, read_status, state_name
from liqctl.errors import RpcUnreachable
from liqctl.keeper.mirror import Pace
from liqctl.keeper.service import Keeper
from tests.keeper.stage import Stage, execute, settle, until
from tests.keeper.test_service import QUICK, running


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


async def test_after_a_run_state_and_rows_agree_with_what_was_done(stage):
    keeper = stage.keeper(**QUICK, pace=Pace(tick_ms=10, plan_ms=40, round_ms=100))
    async with running(stage, keeper):
        await until(lambda: keeper.status().full == 4)
        await until(lambda: keeper.mirror.rounds > 1)

    store = keeper._context.store.store
    [(name, body, at_ms)] = store.states("keeper:")
    status = read_status(body)
    assert name == state_name("reference")
    assert (status.full, status.attempts, status.in_flight) == (4, 4, 0)
    assert status.landing_slots.count == 4
    assert (status.landing_ms.count, status.decision_us.count) == (0, 0)  # nothing but polling
    assert status.wallet is not None
    assert status.wallet.balance_lamports is not None
    assert status.wallet.balance_lamports > 50 * 10**9
    assert status.spent.hour_lamports is not None
    assert status.coverage.positions == status.near[-1].positions + far(keeper, status)
    assert grade(status, at_ms, at_ms).state == "healthy"

    rows = store.positions(PositionQuery(limit=1_000))
    assert {row.position for row in rows} == set(keeper.engine.addresses())
    assert len(rows) == 56
    assert sum(row.collateral for row in rows) == status.collateral_total
    assert not any(row.liquidatable for row in rows)


async def test_what_the_keeper_closes_at_its_very_end_has_no_row_any_more(stage):
    keeper = stage.keeper(**QUICK, pace=Pace(tick_ms=10, plan_ms=10**6, near=0))
    async with running(stage, keeper):
        await until(lambda: keeper.status().full == 4)

    rows = keeper._context.store.store.positions(PositionQuery(limit=1_000))
    assert {row.position for row in rows} == set(keeper.engine.addresses())


def far(keeper: Keeper, status: Status) -> int:
    """How many positions are farther away than the farthest distance, by their exact price."""
    engine, widest = keeper.engine, status.near[-1].within_bps
    prices = {market.address: price for market, price in engine.markets()}
    count = 0
    for address in engine.addresses():
        position = engine.position(address)
        assert position is not None
        line = keeper._context.venue.bound_price_e6(position, engine.view)
        price = prices[position.market]
        assert isinstance(price, int)
        assert line is not None
        distance = price - line if position.side == "long" else line - price
        count += distance * 10_000 > widest * price
    return count


async def test_an_attempt_in_the_air_has_an_age_and_its_landing_is_measured_from_the_notice(stage):
    keeper = stage.keeper()
    await keeper.start()
    decision = keeper.engine.next(2**62)
    assert decision is not None
    began_ns = keeper._context.clock.monotonic_ns()
    execution = await execute(keeper, replace(decision, tick_ns=began_ns))
    assert execution.live is not None
    status = keeper.status()
    assert status.oldest_in_flight_ms is not None
    assert 0 <= status.oldest_in_flight_ms < 60_000
    assert (status.attempts, status.decision_us.count, status.landing_ms.count) == (1, 1, 0)

    await settle(stage, keeper)
    status = keeper.status()
    assert status.oldest_in_flight_ms is None
    assert (status.landing_ms.count, status.landing_slots.count) == (1, 1)
    assert 0 < status.landing_slots.sum < 20
    took_ns = keeper._context.clock.monotonic_ns() - began_ns
    assert status.landing_ms.sum <= took_ns // 10**6


async def test_a_wallet_that_cannot_be_read_is_an_error_that_counts_and_no_balance(stage):
    keeper = stage.keeper()

    def silent(_: object) -> object:
        raise RpcUnreachable

    stage.rpc.faults["getMultipleAccounts"] = silent
    await keeper.purse.read()
    wallet = keeper.status().wallet
    assert wallet is not None
    assert (wallet.balance_lamports, wallet.read_age_ms) == (None, None)
    assert keeper.status().rpc_errors == 1

    stage.rpc.faults.clear()
    await keeper.purse.read()
    wallet = keeper.status().wallet
    assert wallet is not None
    assert wallet.balance_lamports == 100 * 10**9


async def test_a_dry_run_says_so(stage):
    assert stage.keeper(dry=True).status().dry_run
    assert not stage.keeper(database="other.db").status().dry_run
