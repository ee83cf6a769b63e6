"""`liqctl history`: liquidations and failures of the database as table, JSON and CSV."""

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import fields

import pytest

from liqctl.core.intent import Claim, IntentState
from liqctl.core.record import AttemptRow, FailureRow, Liquidation
from liqctl.ports import Store
from liqctl.store.open import open_store
from tests.cli.records import FIRST, SECOND, THIRD, answers, run
from tests.store.records import OK, attempt, failure, liquidation, request

CONTRACT = [
    "id", "position_pubkey", "owner_pubkey", "symbol", "liquidated_size", "liquidation_price",
    "liquidator_pubkey", "liquidator_reward", "bad_debt", "health_factor_before",
    "is_full_liquidation", "timestamp", "created_at",
]  # fmt: skip
BEYOND_FLOATS = 2**63 + 1


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.chdir(tmp_path)


def record(store: Store, row: Liquidation) -> None:
    """Write a liquidation the only way there is: as the end of a recorded attempt."""
    claim = store.claim(request(row.position_pubkey), "me", 1_000, 60_000)
    assert isinstance(claim, Claim)
    sent = attempt(claim, row.signature, position=row.position_pubkey, symbol=row.symbol)
    assert store.record_attempt(claim, sent, 1_000)
    store.end_attempt(
        row.signature,
        OK,
        liquidation=row,
        failure=None,
        intent_state=IntentState.DONE,
        now_ms=2_000,
    )


@pytest.fixture
def store(empty_home: None) -> Iterator[Store]:
    store = open_store("sqlite:liquidation_engine.db")
    record(store, liquidation("s1", position_pubkey=FIRST, symbol="SOL", bad_debt=0))
    record(
        store,
        liquidation(
            "s2", position_pubkey=SECOND, symbol="BTC", is_full_liquidation=False,
            liquidator_reward=BEYOND_FLOATS, health_factor_before=math.nan,
        ),
    )  # fmt: skip
    record(
        store,
        liquidation(
            "s3", position_pubkey=THIRD, owner_pubkey=THIRD, symbol="SOL", timestamp=1_700_000_060
        ),
    )
    for number in range(3):
        store.record_failure(failure("oracle", position_pubkey=FIRST, symbol="SOL", at_ms=number))
    lost = failure("lost_race", position_pubkey=SECOND, symbol="BTC", detail="gone\n=1", at_ms=9)
    store.record_failure(lost)
    yield store
    store.close()


def test_liquidations_are_shown_newest_first_with_exact_amounts_and_totals(store):
    result = run("history")

    header, third, second, first, totals = result.stdout.splitlines()
    assert header.split()[:2] == ["time", "position"]
    assert third.startswith(f"2023-11-14 22:14:20Z  {THIRD}  SOL")
    assert re.search(r"partial +1\.5 +142 +9,223,372,036,854\.775809 +0\.00004 +nan$", second)
    assert re.search(rf"{FIRST} +SOL +full +1\.5 +142 +2\.13 +0\.00 +0\.7500$", first)
    assert totals == (
        "3 shown; in total 2 full, 1 partial, 3 failed, 1 lost to others, "
        "rewards 9,223,372,036,859.035809, bad debt 0.00008, fees 15,000 lamports (0.000015 SOL)"
    )


def test_json_lines_keep_every_column_and_every_digit(store):
    third, second, first, totals = answers("history")

    assert list(third) == ["type", *(field.name for field in fields(Liquidation))]
    assert list(third)[1:14] == CONTRACT
    assert [row["signature"] for row in (third, second, first)] == ["s3", "s2", "s1"]
    assert second["liquidator_reward"] == BEYOND_FLOATS
    assert second["health_factor_before"] is None
    assert totals == {
        "type": "totals", "shown": 3, "full": 2, "partial": 1, "failed": 3, "lost_races": 1,
        "rewards": BEYOND_FLOATS + 2 * 2_130_000, "bad_debt": 80, "bad_debt_uncovered": 0,
        "fees_lamports": 15_000,
    }  # fmt: skip


def test_csv_has_the_columns_of_the_database_and_no_other_line(store):
    result = run("history", "--csv")

    header, _, second, first = csv.reader(io.StringIO(result.stdout))
    assert header[:13] == CONTRACT
    assert header == [field.name for field in fields(Liquidation)]
    row = dict(zip(header, second, strict=True))
    assert row["liquidator_reward"] == str(BEYOND_FLOATS)
    assert (row["health_factor_before"], row["is_full_liquidation"]) == ("", "false")
    assert dict(zip(header, first, strict=True))["health_factor_before"] == "0.75"


@pytest.mark.parametrize(
    ("options", "signatures"),
    [
        (("--market", "SOL"), ["s3", "s1"]),
        (("--position", SECOND), ["s2"]),
        (("--position", SECOND, "--market", "SOL"), []),
        (("--limit", "1"), ["s3"]),
        (("--limit", "0"), ["s3", "s2", "s1"]),
    ],
)
def test_market_position_and_limit_choose(store, options, signatures):
    *rows, totals = answers("history", *options)

    assert [row["signature"] for row in rows] == signatures
    assert (totals["shown"], totals["full"]) == (len(signatures), 2)


def test_failures_are_shown_and_counted_by_class(store):
    result = run("history", "--failures")

    _, newest, *_, totals = result.stdout.splitlines()
    assert re.search(rf"{SECOND} +BTC +lost_race +gone\\n=1$", newest)
    assert totals.startswith("4 shown: 3 oracle, 1 lost_race; in total 2 full")
    *rows, last = answers("history", "--failures", "--position", FIRST, "--limit", "2")
    assert [(row["type"], row["at_ms"]) for row in rows] == [("failure", 2), ("failure", 1)]
    assert (last["shown"], last["classes"], last["failed"]) == (2, {"oracle": 2}, 3)


def test_failures_of_a_market_are_found_behind_many_of_another(store):
    for number in range(1_500):
        store.record_failure(failure("oracle", symbol="ETH", at_ms=100 + number))

    *rows, _ = answers("history", "--failures", "--market", "SOL", "--limit", "2")

    assert [row["at_ms"] for row in rows] == [2, 1]


def test_failures_as_csv(store):
    result = run("history", "--failures", "--csv", "--limit", "1")

    header, row = csv.reader(io.StringIO(result.stdout))
    assert header == [field.name for field in fields(FailureRow)]
    assert row == ["4", SECOND, "BTC", "lost_race", "gone\\n=1", "sig", "900", "9"]


def test_attempts_are_shown_with_their_state_and_fee(store):
    claim = store.claim(request(FIRST, generation=8), "me", 5_000, 60_000)
    assert store.record_attempt(claim, attempt(claim, "s4", position=FIRST, symbol="SOL"), 5_000)

    header, newest, *_, totals = run("history", "--attempts").stdout.splitlines()

    assert header.split()[:5] == ["signed", "position", "market", "state", "sends"]
    assert re.search(rf"^1970-01-01 00:00:05Z +{FIRST} +SOL +SIGNED +0 +- +- +s4$", newest)
    assert totals.startswith("4 shown: 3 FINALIZED_OK, 1 SIGNED; in total 2 full")
    *rows, last = answers("history", "--attempts", "--position", SECOND)
    assert [(row["type"], row["signature"], row["fee_lamports"]) for row in rows] == [
        ("attempt", "s2", 5_000)
    ]
    assert (last["shown"], last["states"]) == (1, {"FINALIZED_OK": 1})


def test_attempts_as_csv(store):
    result = run("history", "--attempts", "--csv", "--market", "BTC")

    header, row = csv.reader(io.StringIO(result.stdout))
    assert header == [field.name for field in fields(AttemptRow)]
    assert row[:3] == ["s2", "2", "1"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--since", "2023-11-14T22:14"), ["s3"]),
        (("--until", "2023-11-14T22:14"), ["s2", "s1"]),
        (("--until", "2023-11-14"), []),
        (("--since", "2023-11-14", "--until", "2023-11-15", "--market", "BTC"), ["s2"]),
        (("--owner", THIRD), ["s3"]),
        (("--owner", SECOND), []),
        (("--venue", "reference"), ["s3", "s2", "s1"]),
        (("--venue", "jupiter"), []),
        (("--attempts", "--since", "1970-01-01T00:00:01+00:00"), ["s3", "s2", "s1"]),
        (("--attempts", "--since", "1970-01-01T00:00:02"), []),
        (("--attempts", "--until", "1970-01-01T00:00:01"), []),
        (("--attempts", "--venue", "jupiter"), []),
        (("--attempts", "--venue", "reference", "--market", "SOL"), ["s3", "s1"]),
    ],
)
def test_time_owner_and_venue_choose(store, options, found):
    *rows, _ = answers("history", *options)

    assert [row["signature"] for row in rows] == found


@pytest.mark.parametrize(
    ("options", "times"),
    [
        (("--class", "lost_race"), [9]),
        (("--failures", "--class", "oracle"), [2, 1, 0]),
        (("--class", "oracle", "--market", "BTC"), []),
        (("--failures", "--since", "1970-01-01T00:00:01"), []),
        (("--failures", "--until", "1970-01-01T00:00:01"), [9, 2, 1, 0]),
    ],
)
def test_class_and_time_choose_failures(store, options, times):
    *rows, _ = answers("history", *options)

    assert [row["at_ms"] for row in rows] == times


def test_a_configured_venue_is_no_filter(store, monkeypatch):
    monkeypatch.setenv("LIQCTL_VENUE", "jupiter")

    assert len(answers("history")) == 4


def test_an_empty_database_has_totals_only():
    open_store("sqlite:liquidation_engine.db").close()

    assert run("history").stdout.startswith("0 shown; in total 0 full")
    assert len(answers("history", "--failures")) == len(answers("history", "--attempts")) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--csv", "--json"), "--csv and --json exclude each other"),
        (("--position", "nonsense"), "'nonsense' is no public key in base58"),
        (("--owner", "nonsense"), "'nonsense' is no public key in base58"),
        (("--since", "yesterday"), "--since must be a date such as 2026-11-24"),
        (("--until", "2026-13-01"), "--until must be a date such as 2026-11-24"),
        (("--attempts", "--failures"), "--attempts and --failures (or --class) exclude"),
        (("--attempts", "--class", "oracle"), "--attempts and --failures (or --class) exclude"),
        (("--attempts", "--owner", FIRST), "the owner is recorded for liquidations only"),
        (("--failures", "--owner", FIRST), "the owner is recorded for liquidations only"),
        (("--failures", "--venue", "reference"), "the venue is not recorded for failures"),
        (("--venue", "jupiter", "--venue", "reference"), "history shows one venue or all"),
        (("--market", "\udcff"), "--market is not UTF-8 text"),
        (("--class", "\udcff"), "--class is not UTF-8 text"),
        (("--limit", "-1"), "--limit must be a whole number from 0"),
        (("--database", "sqlite:none.db"), "`liqctl watch` creates it"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(store, arguments, words):
    result = run("history", *arguments)

    assert (result.exit_code, result.stdout) == (2, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1


def test_the_help_says_the_unit_of_money_and_has_examples():
    text = " ".join(run("history", "--help").stdout.split())

    assert "money is in 1e-6 quote" in text
    assert "liqctl history --failures" in text
