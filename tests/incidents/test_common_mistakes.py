"""Mistakes that many liquidation bots share, each by itself.

They were found by reading published bots, not in one incident. One more belongs here, an engine
that ends with its HTTP server; it is tested with the server.
"""

import pytest
from solders.pubkey import Pubkey

from liqctl.core.events import CheckDue
from liqctl.core.guards import TOKEN_ACCOUNT_RENT_LAMPORTS, Limits
from liqctl.core.price import price_e6
from liqctl.errors import present
from liqctl.keeper.draft import Fees
from liqctl.localnet.account import CLOSED
from tests.incidents.replay import Published, Replay, dollars, look, work_off
from tests.keeper.stage import execute, next_decision, settle


async def test_a_candidate_is_remembered_until_its_execution_has_ended(tmp_path):
    """A set of seen candidates that is cleared when the work begins lets the next tick in."""
    stage = Replay(tmp_path, {"SOL": "150"})
    stage.publish("SOL", dollars(150, 0.1))
    stage.ticks(12)
    keeper = stage.keeper()
    await keeper.start()
    await stage.show(keeper, "SOL", dollars(140, 0.1))
    taken = next_decision(keeper).position.address

    for price in (139.5, 139):
        await stage.show(keeper, "SOL", dollars(price, 0.1))
        keeper.mailbox.put(CheckDue())
        keeper.absorb()

    others = []
    while (decision := keeper.engine.next(2**62)) is not None:
        others.append(decision.position.address)
    assert len(others) == len(set(others)) > 0
    assert taken not in others
    await stage.close()


async def test_a_price_is_its_mantissa_times_ten_to_the_exponent(tmp_path):
    """Divided by 10**-8 instead it would be ten to the sixteenth too high."""
    stage = Replay(tmp_path, {"SOL": "150"})
    stage.publish("SOL", Published(mantissa=15_679_769_099, confidence=1_000_000))
    stage.ticks(12)
    keeper = stage.keeper(dry=True)

    await keeper.start()

    assert keeper.engine.mark_prices_e6()["SOL"] == 156_797_690
    assert price_e6(15_679_769_099, -8) == 156_797_690
    await stage.close()


@pytest.mark.parametrize("price", ["closed", "of another feed"])
async def test_a_symbol_without_a_price_has_none_and_not_one(tmp_path, price):
    """A table of prices with 1.0 as its default values every unknown coin at a dollar."""
    stage = Replay(tmp_path, {"SOL": "150"})
    stage.publish("SOL", dollars(150, 0.1))
    stage.ticks(12)
    keeper = stage.keeper()
    await keeper.start()
    account = stage.specs["SOL"].price_account

    stage.publish("SOL", None)
    if price == "closed":
        stage.world.set_account(account, CLOSED)
    else:
        other = stage.world.account(Pubkey.from_string(str(stage.specs["BTC"].price_account)))
        stage.world.set_account(account, present(other, "BTC has a price"))
    stage.ticks(2)
    await look(stage, keeper)
    await work_off(keeper)

    assert "SOL" not in keeper.engine.mark_prices_e6()
    assert sum(keeper.engine.coverage().unknown.values()) == 10
    assert stage.rows("SELECT COUNT(*) FROM attempt") == [(0,)]
    await stage.close()


async def test_the_recorded_health_is_equity_over_maintenance_margin(stage):
    """The margin ratio, equity over notional, is another number, twenty times smaller at 5 %."""
    keeper = stage.keeper()
    await keeper.start()
    decisions = [next_decision(keeper) for _ in range(4)]
    decision = max(decisions, key=lambda each: each.assessment.equity)
    verdict = decision.assessment

    await execute(keeper, decision)
    await settle(stage, keeper)

    [(health,)] = stage.rows("SELECT health_factor_before FROM liquidations")
    assert health == pytest.approx(verdict.equity / verdict.maintenance_margin)
    assert health != pytest.approx(verdict.equity / verdict.notional)
    assert health < 1


async def test_caps_are_lamports_and_what_is_paid_is_what_was_reckoned(stage):
    """200,000 units at 1,000,000 micro-lamports are 200,000 lamports, 0.0002 SOL, and no more."""
    fees, limits = Fees(price_micro_lamports=1_000_000), Limits(transaction_lamports=205_000)
    keeper = stage.keeper(fees=fees, limits=limits)
    await keeper.start()
    decision = next_decision(keeper)
    first = await execute(keeper, decision)
    assert first.outcome is not None
    assert first.outcome.reason == "cost_over_transaction_cap"

    rich = stage.keeper(fees=fees)
    await rich.start()
    await execute(rich, decision)
    await settle(stage, rich)

    [(reckoned, paid)] = stage.rows("SELECT max_cost_lamports, fee_paid FROM attempt")
    assert (reckoned, paid) == (205_000 + 2 * TOKEN_ACCOUNT_RENT_LAMPORTS, 205_000)


@pytest.mark.parametrize("price", [10**6, 10**9, 10**12, 2**63])
async def test_a_price_per_unit_of_any_size_is_cut_down_to_the_cap_in_lamports(stage, price):
    keeper = stage.keeper(fees=Fees(price_micro_lamports=price))
    await keeper.start()

    await execute(keeper)

    [(limit, micro)] = stage.rows("SELECT cu_limit, cu_price FROM attempt")
    assert limit * micro <= 200_000 * 10**6
