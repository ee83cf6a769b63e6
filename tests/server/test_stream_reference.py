import json

from liqctl.core.events import FundMoved, PriceMoved
from liqctl.core.insurance import InsuranceState
from liqctl.keeper.frames import fund_frame, price_frame
from liqctl.server.stream_reference import FRAMES
from liqctl.server.websocket import ALWAYS, TYPES
from liqctl.store.columns import liquidation_event
from tests.store.records import liquidation

ANSWERS = {"subscribed", "pong", "error"}


def fields(kind: str) -> set[str]:
    return set(FRAMES[kind][0].split(", "))


def test_every_type_of_frame_is_described_and_no_other():
    assert FRAMES.keys() == TYPES | ALWAYS | ANSWERS


def test_the_described_fields_are_those_of_the_frames():
    price = PriceMoved(market="m", symbol="SOL", price_e6=1, slot=2)
    fund = InsuranceState(
        address="f",
        balance=1,
        bad_debt_covered=0,
        bad_debt_uncovered=0,
        liquidation_count=0,
        mint="m",
        vault="v",
    )
    bodies = (
        liquidation_event(liquidation()),
        price_frame("reference", price)[1],
        fund_frame("reference", FundMoved(fund=fund, slot=3))[1],
    )

    for body in map(json.loads, bodies):
        assert fields(body["type"]) == body.keys() - {"type"}
