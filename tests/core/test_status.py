"""The status as text: what one process writes, another one of the same version reads."""

import json

import pytest

from liqctl.core.events import Coverage
from liqctl.core.status import read_status, state_name, status_text
from liqctl.errors import StoreError
from tests.core.statuses import WELL, status


@pytest.mark.parametrize(
    "written",
    [
        WELL,
        status(wallet=None, markets=(), fund_balance=None, check_age_ms=None),
        status(coverage=Coverage(positions=2, evaluated=1, unknown={"price_stale": 1})),
        status(rpc={"https://node": {"calls": 3, "busy": 1}}, streams={"prices": None}),
        status(collateral_total=2**70, fund_balance=2**63),
    ],
)
def test_what_is_written_is_read_back(written):
    assert read_status(status_text(written)) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "{}",
        "null",
        "[" * 100_000,
        '{"venue":' * 100_000,
        "\ud800",
        json.dumps({**WELL.as_json(), "slot": "ten"}),
        json.dumps({name: value for name, value in WELL.as_json().items() if name != "pulse"}),
    ],
)
def test_anything_else_is_refused_with_advice(text):
    with pytest.raises(StoreError, match="same version"):
        read_status(text)


@pytest.mark.parametrize(
    ("balance", "collateral", "share"),
    [(None, 100, None), (5, 0, None), (5, 100, 500), (49_999, 1_000_000, 499), (7, 3, 23_333)],
)
def test_the_fund_as_a_share_of_the_collateral_is_rounded_down(balance, collateral, share):
    shown = status(fund_balance=balance, collateral_total=collateral)
    assert shown.fund_share_bps == share


def test_each_venue_has_a_state_of_its_own():
    assert state_name("reference") != state_name("perpetuals")
