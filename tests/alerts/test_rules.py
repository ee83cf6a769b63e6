"""Every rule at its threshold, and the words that an alert has to say."""

import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from liqctl.alerts.policy import Condition
from liqctl.alerts.rule import Look, Thresholds
from liqctl.alerts.rules import RULES, channels_judged, judged
from liqctl.alerts.trail import Growth, Trail
from liqctl.cli.alert_channels import rules_of
from liqctl.config import Settings
from liqctl.core.events import Coverage
from liqctl.core.status import Disagreement, HermesStatus, Histogram, Status
from tests.core.statuses import EMPTY, SOL, WALLET, WELL, status

DOCUMENT = Path(__file__).parents[2] / "docs" / "ALERTS.md"
DISAGREEMENT = Disagreement(
    position="pos", ours=True, theirs=False, exact=True, by="view", slot=77, at_ms=5
)


def found(now: Status, growth: Growth | None = None) -> list[Condition]:
    return list(judged(Look(status=now, growth=growth or Growth()), Thresholds()).conditions)


def test_nothing_is_wrong_with_a_keeper_that_is_well():
    assert found(WELL) == []


def hermes(down: str | None) -> HermesStatus:
    return HermesStatus(
        url="https://hermes.example", down=down, prices_age_ms=90_000, counts={"streams": 3}
    )


def wallet(lamports: int | None) -> dict[str, Any]:
    return {"wallet": replace(WALLET, balance_lamports=lamports)}


@pytest.mark.parametrize(
    "rule, wrong, right",
    [
        ("no_progress", {"check_age_ms": 6_001}, {"check_age_ms": 6_000}),
        ("no_progress", {"snapshot_age_ms": 180_001}, {"snapshot_age_ms": 180_000}),
        ("no_progress", {"slot_age_ms": 30_001}, {"slot_age_ms": 30_000}),
        ("no_progress", {"check_age_ms": None}, {"check_age_ms": None, "uptime_ms": 6_000}),
        ("stream_silent", {"streams": {"prices": 10_001}}, {"streams": {"prices": 10_000}}),
        ("stream_silent", {"streams": {"prices": None}}, {"streams": {}}),
        ("database_lost", {"failing_ms": 5_000}, {"failing_ms": 4_999}),
        ("attempt_stuck", {"oldest_in_flight_ms": 300_000}, {"oldest_in_flight_ms": 299_999}),
        ("attempt_stuck", {"oldest_in_flight_ms": 10**7}, {"oldest_in_flight_ms": None}),
        ("held", {"held": "kill_switch_row", "held_ms": 0}, {"held": None}),
        ("wallet_low", wallet(99_999_999), wallet(100_000_000)),
        ("wallet_low", wallet(0), wallet(None)),
        ("wallet_low", wallet(0), {"wallet": None}),
        ("bad_debt_uncovered", {"bad_debt_uncovered": 1}, {"bad_debt_uncovered": 0}),
        ("fund_low", {"fund_balance": 49_999_999}, {"fund_balance": 50_000_000}),
        ("fund_low", {"fund_balance": 0}, {"fund_balance": None}),
        ("fund_low", {"fund_balance": 0}, {"fund_balance": 0, "collateral_total": 0}),
        (
            "price_missing",
            {"markets": (replace(SOL, price_e6=None, refusal="price_stale"),)},
            {"markets": ()},
        ),
        (
            "price_doubted",
            {"markets": (replace(SOL, doubt="price_jumped"),)},
            {"markets": (replace(SOL, doubt=None),)},
        ),
        ("hermes_down", {"hermes": hermes("it closed the stream")}, {"hermes": hermes(None)}),
        (
            "coverage_incomplete",
            {"coverage": Coverage(positions=100, evaluated=99, unknown={"price_stale": 1})},
            {"coverage": Coverage(positions=100, evaluated=100, unknown={})},
        ),
        ("rpc_errors", {"rpc_errors_minute": 11}, {"rpc_errors_minute": 10}),
    ],
)
def test_a_rule_finds_what_is_beyond_its_threshold_and_not_what_is_on_it(rule, wrong, right):
    assert [each.rule for each in found(status(**wrong))] == [rule]
    assert found(status(**right)) == []


@pytest.mark.parametrize(
    "rule, wrong, right",
    [
        ("failed_rate", Growth(landed=94, failed=6), Growth(landed=95, failed=5)),
        ("failed_rate", Growth(failed=5), Growth(failed=4)),
        (
            "latency_high",
            Growth(decisions=5, decisions_us=500_005),
            Growth(decisions=5, decisions_us=500_000),
        ),
        (
            "latency_high",
            Growth(decisions=5, decisions_us=10**9),
            Growth(decisions=4, decisions_us=10**9),
        ),
        ("shadow_disagreement", Growth(disagreements=1), Growth()),
    ],
)
def test_a_rate_counts_from_enough_cases_on(rule, wrong, right):
    now = status(shadow_last=DISAGREEMENT)

    assert [each.rule for each in found(now, wrong)] == [rule]
    assert found(now, right) == []


def test_while_the_chain_is_not_seen_what_follows_from_it_is_not_judged():
    now = status(
        slot_age_ms=31_000,
        markets=(
            replace(SOL, price_e6=None, refusal="price_stale"),
            replace(SOL, symbol="BTC", doubt="price_jumped"),
        ),
        coverage=Coverage(positions=100, evaluated=0, unknown={"price_stale": 100}),
        failing_ms=9_000,
        streams={"prices": 40_000},
    )

    findings = judged(Look(status=now), Thresholds())

    assert {each.rule for each in findings.conditions} == {"no_progress", "database_lost"}
    assert ("price_missing", "reference") in findings.unjudged
    assert judged(Look(status=WELL), Thresholds()).unjudged == frozenset()


def test_a_price_that_is_missing_is_not_doubted_too():
    now = status(markets=(replace(SOL, price_e6=None, refusal="price_stale", doubt="price_stale"),))

    assert [each.rule for each in found(now)] == ["price_missing"]


def test_every_market_is_an_alert_of_its_own():
    silent = replace(SOL, price_e6=None, refusal="price_stale")
    now = status(markets=(silent, replace(silent, symbol="BTC"), replace(SOL, symbol="ETH")))

    assert [each.subject for each in found(now)] == ["reference/SOL", "reference/BTC"]


AT_ONCE = status(
    failing_ms=9_000,
    held="breaker_failures",
    held_ms=1_000,
    wallet=replace(WALLET, balance_lamports=0),
    fund_balance=0,
    oldest_in_flight_ms=300_000,
    bad_debt_uncovered=5,
    markets=(
        replace(SOL, price_e6=None, refusal="price_stale"),
        replace(SOL, symbol="BTC", doubt="price_sources_disagree"),
    ),
    hermes=hermes("it answered HTTP 503"),
    coverage=Coverage(positions=2, evaluated=1, unknown={"price_stale": 1}),
    rpc={"http://node": {"calls": 90, "busy": 80}},
    rpc_errors_minute=80,
    shadow_last=DISAGREEMENT,
    streams={"prices": 20_000, "accounts": None},
)
BADLY = Growth(landed=1, failed=9, decisions=10, decisions_us=10**9, disagreements=1)
EVERYTHING = [
    *found(AT_ONCE, BADLY),
    *found(status(slot_age_ms=31_000)),
    *channels_judged({"slack": "it answered HTTP 404"}).conditions,
]


def test_there_is_a_case_of_every_rule():
    assert {each.rule for each in EVERYTHING} == set(RULES)


@pytest.mark.parametrize("condition", EVERYTHING, ids=lambda each: each.rule)
def test_an_alert_says_what_was_found_what_is_expected_and_what_to_do(condition):
    assert re.search(r"Found: .+ Expected: .+ Do: .+\.$", condition.body)
    assert condition.severity is RULES[condition.rule].severity
    assert condition.title
    assert len(condition.title) + len(condition.body) < 1_000  # PagerDuty cuts at 1,024


def test_the_defaults_of_the_rules_are_those_of_the_settings():
    assert rules_of(Settings(), ()).thresholds == Thresholds()


def test_every_threshold_follows_from_a_setting():
    changed = {
        name: info.default + 60
        for name, info in Settings.model_fields.items()
        if name.startswith("alert_") and isinstance(info.default, int) and "hour" not in name
    }

    rules = rules_of(Settings.model_validate(changed), ())

    fixed = {"database_ms_max", "coverage_ms_max"}
    same = {
        each.name
        for each in fields(Thresholds)
        if getattr(rules.thresholds, each.name) == getattr(Thresholds(), each.name)
    }
    assert same == fixed


def test_the_document_has_every_rule_as_the_code_has_it():
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| (.+?) \| (.*?) \|$", DOCUMENT.read_text(), re.MULTILINE
    )

    assert rows == [
        (
            rule.name,
            rule.severity.value,
            rule.when,
            ", ".join(f"`{name}`" for name in rule.settings) or "-",
        )
        for rule in RULES.values()
    ]


def test_the_document_names_every_setting_with_its_default():
    text = DOCUMENT.read_text()
    rows = dict(re.findall(r"^\| `(alert_\w+)` \| (\S+) \|", text, re.MULTILINE))

    expected = {
        name: str(info.default) if isinstance(info.default, int) else "-"
        for name, info in Settings.model_fields.items()
        if name.startswith("alert_")
    }
    assert rows == expected


def at(landed: int, failed: int, decisions: int = 0) -> Status:
    latencies: Histogram = replace(EMPTY, count=decisions, sum=decisions * 1_000)
    return status(full=landed, failed=failed, decision_us=latencies)


def test_a_trail_knows_what_grew_within_its_window():
    trail = Trail(600_000)

    assert trail.grown(at(100, 7), 0) == Growth()
    assert trail.grown(at(110, 9, 4), 300_000) == Growth(
        landed=10, failed=2, decisions=4, decisions_us=4_000
    )
    assert trail.grown(at(111, 9, 4), 599_000).landed == 11
    assert trail.grown(at(111, 9, 4), 900_000) == Growth(landed=1)
    assert trail.grown(at(111, 9, 4), 1_500_000) == Growth()


def test_a_trail_stays_small_however_often_it_is_asked():
    trail = Trail(600_000)

    grown = [trail.grown(at(second, 0), second * 1_000) for second in range(10_000)]

    assert len(trail._samples) <= 62
    assert 600 <= grown[-1].landed <= 611
