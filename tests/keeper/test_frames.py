"""The bodies of events: JSON that every client reads alike."""

import json
from dataclasses import replace
from typing import Any

import pytest

from liqctl.core.events import FundMoved, PriceMoved, Queued
from liqctl.core.health import Assessment, Kind
from liqctl.core.insurance import InsuranceState
from liqctl.core.position import Position, Side
from liqctl.core.queue import Entry
from liqctl.core.record import QueueState
from liqctl.keeper.frames import (
    Frame,
    fund_frame,
    left_frame,
    price_frame,
    queued_frame,
    state_frame,
)

POSITION = Position(
    address="p",
    owner="o",
    market="m",
    side=Side.SHORT,
    size=2**60,
    entry_price_e6=1,
    collateral=1,
    leverage=1,
    generation=1,
)
VERDICT = Assessment(
    position="p",
    symbol="SOL",
    slot=1,
    liquidatable=True,
    health=0.5,
    kind=Kind.FULL,
    equity=-(2**53) - 1,
    maintenance_margin=2**53,
)
FUND = InsuranceState(
    address="f",
    balance=2**53 + 1,
    bad_debt_covered=1,
    bad_debt_uncovered=2,
    liquidation_count=3,
    mint="m",
    vault="v",
)


def body(frame: Frame) -> dict[str, Any]:
    kind, text = frame
    told: dict[str, Any] = json.loads(text)
    assert told.pop("type") == kind
    assert told.pop("venue") == "reference"
    return {"kind": kind, **told}


@pytest.mark.parametrize(("health", "told"), [(0.5, 0.5), (float("-inf"), None)])
def test_a_candidate_is_told_with_exact_figures_and_a_health_that_json_can_say(health, told):
    verdict = replace(VERDICT, health=health)
    queued = Queued(position=POSITION, assessment=verdict)
    assert body(queued_frame("reference", queued)) == {
        "kind": "full",
        "change": "added",
        "position_id": "p",
        "symbol": "SOL",
        "side": "short",
        "size": str(2**60),
        "health": told,
        "equity": str(-(2**53) - 1),
        "maintenance_margin": 2**53,
    }


def test_a_candidate_is_told_when_it_moves_and_when_it_leaves():
    entry = Entry(
        position="p", health=1.0, size=1, state=QueueState.QUARANTINED, reason="why", tries=3
    )
    moved = body(state_frame("reference", entry))
    assert (moved["change"], moved["state"], moved["reason"]) == ("state", "quarantined", "why")
    assert (moved["position_id"], moved["tries"]) == ("p", 3)
    left = body(left_frame("reference", "p", "recovered"))
    assert (left["change"], left["position_id"], left["reason"]) == ("removed", "p", "recovered")


def test_a_refused_price_is_null():
    moved = PriceMoved(market="m", symbol="SOL", price_e6=150, slot=7)
    told = body(price_frame("reference", moved))
    assert (told["symbol"], told["price"], told["refusal"], told["slot"]) == ("SOL", 150, None, 7)
    refused = replace(moved, price_e6=0, refusal="price_stale")
    told = body(price_frame("reference", refused))
    assert (told["price"], told["refusal"]) == (None, "price_stale")


def test_the_fund_is_told_with_what_it_covered_and_what_it_did_not():
    told = body(fund_frame("reference", FundMoved(fund=FUND, slot=9)))
    assert (told["balance"], told["slot"]) == (str(2**53 + 1), 9)
    assert (told["bad_debt_covered"], told["bad_debt_uncovered"]) == (1, 2)
