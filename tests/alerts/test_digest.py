"""The daily proof of life."""

from dataclasses import replace

from liqctl.alerts.digest import DAY_MS, HOUR_MS, Digest, digest_deliveries, digest_text, due_day
from liqctl.core.alert import Alert, AlertState, Severity
from liqctl.core.record import Totals
from tests.core.statuses import status

BEFORE = Totals(
    full=10,
    partial=5,
    failed=1,
    lost_races=2,
    rewards=1_000_000,
    bad_debt=0,
    bad_debt_uncovered=0,
    fees_lamports=5_000,
)
NOW = Totals(
    full=12,
    partial=6,
    failed=2,
    lost_races=2,
    rewards=3_500_000,
    bad_debt=7_000_000,
    bad_debt_uncovered=1,
    fees_lamports=1_005_000,
)
ALERT = Alert(
    rule="fund_low",
    subject="reference",
    severity=Severity.WARNING,
    state=AlertState.FIRING,
    title="the fund is low",
    body="",
    raised_ms=0,
)
DIGEST = Digest(statuses=[status(held="kill_switch_row")], totals=NOW, before=BEFORE, firing=[])


def test_the_counts_are_those_since_the_last_digest():
    title, body = digest_text(DIGEST)

    assert title == "[digest] liqctl is running: 3 liquidations, nothing is wrong"
    assert "2 full and 1 partial liquidations, 1 failed, 0 lost to others" in body
    assert "rewards 2.5, bad debt 7, of it uncovered 0.000001, fees 0.001 SOL" in body
    assert "100 of 100 positions judged" in body
    assert "insurance fund 100 (10 % of the collateral)" in body
    assert "wallet 1 SOL" in body
    assert "held by kill_switch_row" in body


def test_the_first_digest_counts_from_the_first_record_and_names_what_is_firing():
    title, body = digest_text(replace(DIGEST, before=None, firing=[ALERT]))

    assert title == "[digest] liqctl is running: 18 liquidations, 1 alerts firing"
    assert "Since the first record: 12 full" in body
    assert "Firing now: the fund is low." in body


def test_a_digest_is_due_from_its_hour_on():
    day = 20_000

    assert due_day(day * DAY_MS + 8 * HOUR_MS - 1, 8) == day - 1
    assert due_day(day * DAY_MS + 8 * HOUR_MS, 8) == day
    assert due_day((day + 1) * DAY_MS, 8) == day


def test_every_channel_gets_one_and_it_is_no_alert():
    mail, slack = digest_deliveries(DIGEST, ["mailto", "slack"], 5)

    assert (mail.channel, slack.channel) == ("mailto", "slack")
    assert (mail.alert_id, mail.severity, mail.resolves) == (None, Severity.INFO, False)
