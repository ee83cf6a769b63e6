"""The audit finds every kind of lie: records without a transaction, transactions without a record."""

from dataclasses import replace

import pytest

from liqctl.core.record import Liquidation
from liqctl.errors import RpcMalformed
from liqctl.keeper.verify import Audit, audit
from tests.keeper.stage import Stage, execute, settle


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


async def liquidated(stage: Stage, count: int = 3) -> list[Liquidation]:
    keeper = stage.keeper()
    await keeper.start()
    for _ in range(count):
        await execute(keeper)
    await settle(stage, keeper)
    rows = keeper._context.store.store.recent_liquidations()
    assert len(rows) == count
    return rows


async def audited(stage: Stage, rows: list[Liquidation]) -> Audit:
    venue = stage.contexts[0].venue
    return await audit(stage.chain, venue, rows, {stage.liquidator})


async def test_true_books_are_clean(stage):
    found = await audited(stage, await liquidated(stage))

    assert found.clean
    assert (found.recorded, found.landed) == (3, 3)


async def test_a_liquidation_that_nobody_recorded_is_found(stage):
    [first, *others] = await liquidated(stage)

    found = await audited(stage, others)

    assert found.unrecorded == (first.signature,)
    assert not found.clean


async def test_a_record_of_what_never_happened_is_found(stage):
    [first, *others] = await liquidated(stage)

    found = await audited(stage, [first, *others, replace(first, signature="1" * 64, slot=9)])

    assert found.not_on_chain == ("1" * 64,)
    assert not found.clean


@pytest.mark.parametrize(
    "change",
    [
        {"liquidated_size": 1},
        {"liquidation_price": 1},
        {"liquidator_reward": 1},
        {"is_full_liquidation": False},
        {"fund_delta": 1},
        {"bad_debt_uncovered": 10**15},
        {"slot": 1},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_a_record_with_another_figure_is_found(stage, change):
    [first, *others] = await liquidated(stage)

    found = await audited(stage, [replace(first, **change), *others])

    assert found.different == (first.signature,)
    assert not found.clean


async def test_a_second_full_liquidation_of_one_life_is_found(stage):
    [first, *others] = await liquidated(stage)
    again = replace(others[0], position_pubkey=first.position_pubkey, generation=first.generation)

    found = await audited(stage, [first, again, *others[1:]])
    another_life = await audited(stage, [first, replace(again, generation=10**9), *others[1:]])

    assert found.doubled == (first.position_pubkey,)
    assert not found.clean
    assert another_life.doubled == ()


async def test_a_failed_transaction_and_a_strangers_liquidation_are_not_ours(stage):
    rival = stage.rival()
    await rival.start()
    await execute(rival)
    await settle(stage, rival)

    found = await audited(stage, [])

    assert found.clean
    assert found.landed == 0


async def test_a_transaction_that_failed_on_the_chain_is_no_liquidation(stage):
    rows = await liquidated(stage)

    def failed(params):
        entries = stage.rpc.really("getSignaturesForAddress", params)
        error = {"InstructionError": [3, {"Custom": 6000}]}
        return [
            {**entry, "err": error if entry["signature"] == rows[0].signature else entry["err"]}
            for entry in entries
        ]

    stage.rpc.faults["getSignaturesForAddress"] = failed

    found = await audited(stage, rows)

    assert found.not_on_chain == (rows[0].signature,)
    assert (found.recorded, found.landed) == (3, 2)


async def test_a_history_of_many_pages_is_read_to_its_end(stage, monkeypatch):
    rows = await liquidated(stage)
    monkeypatch.setattr("liqctl.keeper.verify.HISTORY_PER_CALL", 1)

    def one_a_page(params):
        address, config = params
        return stage.rpc.really("getSignaturesForAddress", [address, {**config, "limit": 1}])

    stage.rpc.faults["getSignaturesForAddress"] = one_a_page

    found = await audited(stage, rows)

    assert found.landed == 3
    assert found.clean


async def test_books_without_a_row_show_what_the_liquidator_landed(stage):
    await liquidated(stage)

    assert len((await audited(stage, [])).unrecorded) == 3


async def test_what_landed_before_the_books_began_is_not_missed_in_them(stage):
    rows = await liquidated(stage)
    venue = stage.contexts[0].venue
    after = max(row.slot for row in rows) + 1

    assert (await audit(stage.chain, venue, [], {stage.liquidator}, since_slot=after)).clean


async def test_a_node_that_repeats_its_page_does_not_hold_the_audit_for_ever(stage, monkeypatch):
    rows = await liquidated(stage)
    page = stage.rpc.really("getSignaturesForAddress", [stage.liquidator, {}])
    monkeypatch.setattr("liqctl.keeper.verify.HISTORY_PER_CALL", len(page))
    stage.rpc.faults["getSignaturesForAddress"] = lambda _: page

    with pytest.raises(RpcMalformed, match="repeats"):
        await audited(stage, rows)
