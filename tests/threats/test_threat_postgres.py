"""The PostgreSQL of a keeper restarts, is cut off or falls silent: no commit, no signature."""

import psycopg
import pytest

from liqctl.core.events import Result
from liqctl.errors import StoreBusy
from liqctl.store import postgres_link
from liqctl.store.open import open_store
from tests.keeper.stage import execute, next_decision, settle, signature_of
from tests.store.cutting_proxy import Cut, CuttingProxy
from tests.store.postgres_server import fresh_url, server


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(postgres_link, "PAUSE_MS", 0)


@pytest.fixture
def database():
    url = fresh_url("threat")
    open_store(url).close()
    return url


def rows(database, sql):
    with psycopg.connect(database) as db:
        return db.execute(sql.encode()).fetchall()


def landed_once(stage, database, execution):
    assert execution.live is not None
    assert execution.live.outcome is not None
    assert execution.live.outcome.result is Result.LANDED
    [signature] = {signature_of(raw) for raw in stage.rpc.sent()}
    assert rows(database, "SELECT signature FROM liquidations") == [(signature,)]
    assert rows(database, "SELECT sig, state FROM attempt") == [(signature, "FINALIZED_OK")]


async def test_while_the_database_is_away_nothing_is_signed_and_then_it_goes_on(stage, database):
    keeper = stage.keeper(database=database)
    await keeper.start()
    decision = next_decision(keeper)
    server().crash()
    try:
        with pytest.raises(StoreBusy):
            await execute(keeper, decision)
        assert stage.rpc.sent() == []
    finally:
        server().start()

    execution = await execute(keeper, decision)
    await settle(stage, keeper)
    landed_once(stage, database, execution)


async def test_a_restart_while_a_transaction_is_in_the_air_loses_nothing_of_it(stage, database):
    keeper = stage.keeper(database=database)
    await keeper.start()
    execution = await execute(keeper)
    server().restart()

    await settle(stage, keeper)
    landed_once(stage, database, execution)


@pytest.mark.parametrize("cut", Cut)
async def test_a_connection_cut_around_the_commit_of_an_attempt_sends_it_only_if_it_is_recorded(
    stage, database, cut
):
    with CuttingProxy(server().folder, server().port) as proxy:
        keeper = stage.keeper(database=database.replace(str(server().folder), proxy.host))
        await keeper.start()
        decision = next_decision(keeper)
        record = keeper._context.store.store.record_attempt

        def cut_off(*values, **named):
            proxy.cut = cut
            del keeper._context.store.store.record_attempt
            return record(*values, **named)

        keeper._context.store.store.record_attempt = cut_off
        if cut is Cut.AFTER:
            execution = await execute(keeper, decision)
        else:
            with pytest.raises(StoreBusy):
                await execute(keeper, decision)
            proxy.deliver()
            assert stage.rpc.sent() == []
            assert rows(database, "SELECT COUNT(*) FROM attempt") == [(0,)]
            stage.ticks(2)
            execution = await execute(keeper, decision)
        await settle(stage, keeper)
        assert proxy.cuts == 1
        landed_once(stage, database, execution)
        await stage.contexts.pop().store.close()
