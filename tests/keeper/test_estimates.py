"""Verdicts that are estimates: nothing is signed unless the program's own view says the same."""

import pytest
from solders.keypair import Keypair
from structlog.testing import capture_logs

from liqctl.chain.client import Chain
from liqctl.chain.wallet import KeySigner
from liqctl.core.account import Account
from liqctl.core.events import Decision, Result
from liqctl.core.guards import SIGNATURE_FEE_LAMPORTS, Limits
from liqctl.keeper.context import Context
from liqctl.keeper.draft import Fees
from liqctl.keeper.gate import Gate
from liqctl.keeper.service import Keeper, Tuning
from liqctl.keeper.storage import StoreThread
from liqctl.ports import SystemClock, SystemRng
from liqctl.store.open import open_store
from liqctl.venues.adrena import POSITION_RENT_LAMPORTS
from tests.keeper.test_foreign_scan import Answering
from tests.keeper.test_perpetuals_scan import clock_account
from tests.venues import adrena_cases as adrena
from tests.venues.forged import NOW

KEY = Keypair.from_seed(bytes([5] * 32))
RICH = Account(
    address=str(KEY.pubkey()),
    owner="11111111111111111111111111111111",
    lamports=10**12,
    data=b"",
    slot=7,
)


class Node(Answering):
    """A shelf on which one position is below its margin by our estimate; nothing can be sent."""

    def __init__(self, returned):
        low = adrena.world(adrena.oracle(145 * adrena.DOLLAR))
        super().__init__([*low.values(), clock_account(NOW), RICH], returned=returned)
        self.asked = []

    async def call(self, method, params):
        self.asked.append(method)
        return await super().call(method, params)


@pytest.fixture
async def keeper_on(tmp_path):
    stores = []

    def made(node, *, dry=False, **tuning):
        context = Context(
            venue=adrena.VENUE,
            chain=Chain(node),
            store=StoreThread(open_store(f"sqlite:{tmp_path / 'k.db'}")),
            clock=SystemClock(),
            rng=SystemRng(),
            owner="keeper",
        )
        stores.append(context.store)
        gate = None if dry else Gate(context.chain, KeySigner(KEY), context.clock)
        return Keeper(
            context,
            gate=gate,
            liquidator=str(KEY.pubkey()),
            streams=None,
            tuning=Tuning(**tuning),
        )

    yield made
    for store in stores:
        await store.close()


async def decided(keeper: Keeper) -> Decision:
    await keeper.feeds.load()
    keeper.absorb()
    decision = keeper.engine.next(2**62)
    assert decision is not None
    assert decision.assessment.exact is False
    return decision


@pytest.mark.parametrize(
    ("returned", "reason"),
    [(b"\1", "dry_run"), (b"\0", "view_disagrees"), (b"\7", "view_silent")],
)
async def test_a_dry_run_asks_the_program_too(keeper_on, returned, reason):
    node = Node(returned)
    keeper = keeper_on(node, dry=True)

    execution = await keeper.executor.run(await decided(keeper), keeper.engine.view)

    assert execution.outcome is not None
    assert (execution.outcome.result, execution.outcome.reason) == (Result.REFUSED, reason)
    # The very transaction first, then the view.
    assert node.simulated == 2


async def test_a_program_that_disagrees_keeps_anything_from_being_signed(keeper_on):
    node = Node(b"\0")
    keeper = keeper_on(node)
    decision = await decided(keeper)

    with capture_logs() as logs:
        execution = await keeper.executor.run(decision, keeper.engine.view)

    assert execution.outcome is not None
    assert execution.outcome.reason == "view_disagrees"
    assert execution.live is None
    assert "sendTransaction" not in node.asked
    store = keeper._context.store
    assert await store.run(store.store.spent_lamports, 0) == 0
    assert "view_answered" in {line["event"] for line in logs}
    keeper.recorder.note_outcome(execution.outcome, "SOL")
    assert keeper.recorder.counts["refused_view_disagrees"] == 1


async def test_a_plan_that_needs_more_units_gets_them_within_the_same_fee(keeper_on):
    fees = Fees(price_micro_lamports=1_000_000, cap_lamports=200_000)
    keeper = keeper_on(Node(b"\1"), fees=fees, dry=True)
    decision = await decided(keeper)

    execution = await keeper.executor.run(decision, keeper.engine.view)

    assert execution.trial is not None
    draft = execution.trial.draft
    assert draft.plan.compute_units == draft.compute_unit_limit == 355_000
    assert draft.fee_lamports <= SIGNATURE_FEE_LAMPORTS + 200_000
    assert draft.price_micro_lamports == 200_000 * 10**6 // 355_000


async def test_rent_alone_pays_up_to_what_it_is_and_the_refusal_says_so(keeper_on):
    fees = Fees(price_micro_lamports=10**8, cap_lamports=2 * POSITION_RENT_LAMPORTS)
    limits = Limits(profit_floor_permille=1_000, transaction_lamports=10**9)
    keeper = keeper_on(Node(b"\1"), fees=fees, limits=limits)
    decision = await decided(keeper)

    with capture_logs() as logs:
        execution = await keeper.executor.run(decision, keeper.engine.view)

    assert execution.outcome is not None
    assert execution.outcome.reason == "rent_below_cost"
    [told] = [line for line in logs if line["event"] == "rent_below_cost"]
    assert told["returns_lamports"] == POSITION_RENT_LAMPORTS < told["cost_lamports"]
