"""Plans of the reference venue executed as they are, and the program's refusals classified."""

from dataclasses import replace

import pytest
from solders.pubkey import Pubkey

from liqctl.core.fixed import U64_MAX
from liqctl.core.instruction import Failure, Outcome
from liqctl.venues.tokens import associated_token_account
from tests.venues import planted as at
from tests.venues.program_cases import NOW, Case
from tests.venues.program_vm import Answer, ProgramVm
from tests.venues.test_reference_verdict import CASE, VENUE, position_of, view_of

BANKRUPT = replace(CASE, mantissa=9_700_000_000, collateral=10_000_000, fund=50_000_000)
OWED = replace(CASE, collateral=4_000_000, fee_bps=20, fund=10)


@pytest.fixture(scope="module")
def chain():
    return ProgramVm()


def liquidate(chain: ProgramVm, case: Case, **options: int) -> Answer:
    chain.plant(case)
    chain.plant_vault(case.collateral + case.fund + case.pool)
    plan = VENUE.plan(position_of(case), view_of(case), str(at.LIQUIDATOR), **options)
    answer = chain.send(*plan.instructions)
    assert answer.compute_units <= plan.compute_units
    return answer


def balance(chain, owner):
    return chain.amount(Pubkey.from_string(associated_token_account(str(owner), str(at.MINT))))


@pytest.mark.parametrize("case", [CASE, OWED, BANKRUPT])
def test_a_plan_creates_the_token_accounts_and_pays_what_the_verdict_says(chain, case):
    verdict = VENUE.assess(position_of(case), view_of(case), NOW)
    before = [balance(chain, one) for one in (at.LIQUIDATOR, at.OWNER)]

    answer = liquidate(chain, case)

    effects = VENUE.effects(answer.logs)
    assert answer.error is None
    assert effects is not None
    assert effects["closed_size"] == verdict.close_size
    assert effects["bad_debt_covered"] == verdict.bad_debt_covered
    assert balance(chain, at.LIQUIDATOR) - before[0] == verdict.reward == effects["reward"]
    assert balance(chain, at.OWNER) - before[1] == verdict.owner_payout == effects["owner_payout"]


@pytest.mark.parametrize(
    "case, limit, outcome",
    [
        (replace(CASE, collateral=50_000_000), U64_MAX, Outcome.HEALTHY),
        (replace(CASE, paused=True), U64_MAX, Outcome.PAUSED),
        (replace(CASE, publish_time=NOW - 61), U64_MAX, Outcome.ORACLE),
        (replace(CASE, entry_price=98_000_000, collateral=20_000_000), U64_MAX, Outcome.NO_FUNDS),
        (BANKRUPT, 1, Outcome.RETRY),
    ],
)
def test_a_refusal_of_the_program_has_its_outcome(chain, case, limit, outcome):
    answer = liquidate(chain, case, max_size=limit)

    failure = Failure(instruction=2, code=answer.code, name="Custom", logs=tuple(answer.logs))
    assert VENUE.classify(failure) is outcome
    assert VENUE.effects(answer.logs) is None


def test_whoever_comes_second_learns_that_the_position_is_gone(chain):
    liquidate(chain, BANKRUPT)
    plan = VENUE.plan(position_of(BANKRUPT), view_of(BANKRUPT), str(at.LIQUIDATOR), max_size=10**18)

    answer = chain.send(*plan.instructions)

    failure = Failure(instruction=2, code=answer.code, name="Custom")
    assert VENUE.classify(failure) is Outcome.GONE
