"""A program that pays its liquidator no fee: what is said of that before and after."""

from liqctl.cli.carry_out import Finish
from liqctl.cli.explain_report import Cost, Report, lines
from liqctl.core.events import Result
from liqctl.core.position import Position
from liqctl.keeper.draft import Fees
from liqctl.keeper.explanation import explain
from liqctl.venues.adrena import POSITION_RENT_LAMPORTS
from tests.venues import adrena_cases as adrena
from tests.venues.forged import NOW, address

SAID = f"pays no fee to the liquidator, only the rent of {POSITION_RENT_LAMPORTS:,} lamports"


def test_explain_says_that_rent_is_all_and_what_the_program_needs_in_units():
    view = adrena.view_of(adrena.world())
    position = view[adrena.LONG_AT].value
    assert isinstance(position, Position)
    plan = adrena.VENUE.plan(position, view, address(60))
    cheap = Fees(price_micro_lamports=100_000)
    report = Report(
        venue=adrena.VENUE,
        explanation=explain(adrena.VENUE, position, view, NOW, {}),
        now_from="node",
        cost=Cost.of(cheap, plan, plan.creates, address(60)),
    )

    told = "\n".join(lines(report))

    assert SAID in told
    assert report.cost is not None
    assert report.cost.fee_lamports == 5_000 + 355_000 // 10
    assert Cost.of(Fees(), plan, (), None).fee_lamports == 5_000 + Fees().cap_lamports


def test_a_refusal_by_the_profit_floor_says_so_too():
    refused = Finish(
        position="position",
        result=Result.REFUSED,
        reason="rent_below_cost",
        signature=None,
        slot=None,
        returns_lamports=POSITION_RENT_LAMPORTS,
    )

    assert refused.text == f"refused: the program {SAID}, below what it costs"
