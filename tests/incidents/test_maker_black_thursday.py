"""12 March 2020: MakerDAO's keepers kept to a fixed price of gas while the network's rose tenfold.

Their bids never arrived, and whoever noticed won more than a third of the auctions with a bid of
zero: 8.3 million dollars of collateral for nothing.
Source: MakerDAO's report on the Black Thursday response, and public analyses of the auctions.

Here the fee of a new attempt follows what recent blocks took and rises with each attempt, up to a
cap in lamports; reaching the cap is logged as a warning. A new attempt exists only once it is proven that the
one before it can no longer land.
"""

from structlog.testing import capture_logs

from liqctl.core.guards import Limits
from liqctl.keeper.draft import Fees
from tests.incidents.replay import look
from tests.keeper.stage import next_decision, signature_of

FEES = Fees(dynamic=True, compute_unit_limit=60_000, cap_lamports=30_000)
RECENT = [{"slot": 1, "prioritizationFee": 400_000}]


async def test_each_attempt_offers_more_up_to_the_cap_which_is_told(stage):
    keeper = stage.keeper(fees=FEES, limits=Limits(attempts_max=4))
    await keeper.start()
    stage.rpc.faults["sendTransaction"] = lambda params: signature_of(params[0])
    stage.rpc.faults["getRecentPrioritizationFees"] = lambda _: RECENT
    decision = next_decision(keeper)
    address = decision.position.address
    await keeper.executor._draft(decision, keeper.engine.view, None)
    await keeper.executor._drafter.prices.refresh()

    with capture_logs() as logs:
        for _ in range(3):
            await keeper._work(decision)
            stage.ticks(200)
            await keeper.settler.settle_once()
            await look(stage, keeper)
            decision = next_decision(keeper)
            while decision.position.address != address:
                decision = next_decision(keeper)

    rows = stage.rows("SELECT n, cu_price, cu_limit, state, proof_json FROM attempt ORDER BY n")
    fees = [price * limit // 10**6 for _, price, limit, _, _ in rows]
    assert [n for n, *_ in rows] == [1, 2, 3]
    assert all(state == "EXPIRED" and proof for *_, state, proof in rows)
    assert fees[0] < fees[1] < fees[2] <= FEES.cap_lamports
    capped = [line["attempt"] for line in logs if line["event"] == "priority_fee_capped"]
    assert capped == [3]


async def test_a_second_price_is_never_offered_while_the_first_can_still_land(stage):
    keeper = stage.keeper(fees=FEES)
    await keeper.start()
    stage.rpc.faults["sendTransaction"] = lambda params: signature_of(params[0])
    decision = next_decision(keeper)
    await keeper._work(decision)

    for _ in range(5):
        stage.ticks(20)
        await keeper.settler.settle_once()
        await keeper._work(decision)

    assert len(set(stage.rpc.sent())) == 1
    assert stage.rows("SELECT n FROM attempt") == [(1,)]
