"""Fee and cost that the ledger tells are believed only as far as the attempt can have cost them."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from liqctl.core.guards import TOKEN_ACCOUNT_RENT_LAMPORTS
from liqctl.keeper.late import fill_in
from tests.keeper.stage import Stage, execute, settle

FEE_LAMPORTS, RENT = 205_000, TOKEN_ACCOUNT_RENT_LAMPORTS


@pytest.fixture
async def stage(tmp_path):
    made = Stage(tmp_path)
    yield made
    await made.close()


def tell_fallen(stage: Stage, lamports: int | None) -> None:
    """Have the node tell that the payer's balance fell by so much, or nothing of balances."""
    balances = (
        {} if lamports is None else {"preBalances": [2**62], "postBalances": [2**62 - lamports]}
    )

    def told(params: list[Any]) -> object:
        shown = stage.rpc.really("getTransaction", params)
        if not shown:
            return shown
        rest = {name: it for name, it in shown["meta"].items() if not name.endswith("Balances")}
        return {**shown, "meta": rest | balances}

    stage.rpc.faults["getTransaction"] = told


def tell_fee(stage: Stage, fee_lamports: int) -> None:
    """Have the node tell this fee of every landed transaction."""

    def told(params: list[Any]) -> object:
        shown = stage.rpc.really("getTransaction", params)
        return shown and {**shown, "meta": {**shown["meta"], "fee": fee_lamports}}

    stage.rpc.faults["getTransaction"] = told


@pytest.mark.parametrize("fee_lamports", [0, 10**10, 2**62, 2**63 - 1])
async def test_a_fee_that_cannot_be_is_a_fee_that_was_not_told(stage, fee_lamports):
    keeper = stage.keeper()
    await keeper.start()
    tell_fee(stage, fee_lamports)
    await execute(keeper)
    with capture_logs() as logs:
        await settle(stage, keeper)

    assert stage.rows("SELECT state, fee_paid FROM attempt") == [("FINALIZED_OK", None)]
    assert stage.rows("SELECT fee_lamports FROM liquidations") == [(None,)]
    assert [line["fee_lamports"] for line in logs if line["event"] == "cost_not_believed"] == [
        fee_lamports
    ]


@pytest.mark.parametrize("fee_lamports", [0, 2**63 - 1])
async def test_a_fee_that_cannot_be_is_not_filled_in_later_either(stage, fee_lamports):
    keeper = stage.keeper()
    await keeper.start()
    tell_fee(stage, fee_lamports)
    await execute(keeper)
    await settle(stage, keeper)

    assert await fill_in(keeper._context) == 0
    assert stage.rows("SELECT fee_paid FROM attempt") == [(None,)]

    stage.rpc.faults.clear()
    assert await fill_in(keeper._context) == 1
    assert stage.rows("SELECT fee_paid FROM attempt") == [(FEE_LAMPORTS,)]
    assert stage.rows("SELECT fee_lamports FROM liquidations") == [(FEE_LAMPORTS,)]


async def test_the_whole_of_what_an_attempt_may_cost_is_believed(stage):
    keeper = stage.keeper()
    await keeper.start()
    execution = await execute(keeper)
    assert execution.live is not None
    most_lamports = execution.live.attempt.max_cost_lamports
    tell_fee(stage, most_lamports)
    await settle(stage, keeper)

    assert stage.rows("SELECT fee_paid FROM attempt") == [(most_lamports,)]


@pytest.mark.parametrize(
    ("fallen", "counted"),
    [
        (FEE_LAMPORTS + RENT, FEE_LAMPORTS + RENT),
        (FEE_LAMPORTS - 1, FEE_LAMPORTS),
        (-RENT, FEE_LAMPORTS),
        (FEE_LAMPORTS + 2 * RENT + 1, None),
        (2**62, None),
        (None, None),
    ],
)
async def test_a_cost_is_at_least_the_fee_and_at_most_what_was_signed_for(stage, fallen, counted):
    keeper = stage.keeper()
    await keeper.start()
    tell_fallen(stage, fallen)
    await execute(keeper)
    await settle(stage, keeper)

    assert stage.rows("SELECT fee_paid, cost_lamports FROM attempt") == [(FEE_LAMPORTS, counted)]
    most = FEE_LAMPORTS + 2 * RENT
    assert keeper._context.store.store.spent_lamports(0) == (most if counted is None else counted)


async def test_the_cost_is_what_the_balance_fell_by(stage):
    keeper = stage.keeper()
    await keeper.start()
    before = await stage.chain.balance(stage.liquidator)
    await execute(keeper)
    await settle(stage, keeper)

    paid = before - await stage.chain.balance(stage.liquidator)
    assert paid > FEE_LAMPORTS
    assert stage.rows("SELECT cost_lamports FROM attempt") == [(paid,)]
