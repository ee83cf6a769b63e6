"""`liqctl queue`: the rows of the database, how old they are, and orders for them."""

import re
import time
from collections.abc import Iterator
from dataclasses import fields

import pytest

from liqctl.core.queue import NEVER_MS
from liqctl.core.record import Exclusion, QueueOrder, QueueRow, QueueState
from liqctl.ports import Store
from liqctl.store.open import open_store
from tests.cli.records import ABSENT, FIRST, SECOND, THIRD, answers, run
from tests.store.records import queue_row


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.chdir(tmp_path)


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@pytest.fixture
def store(empty_home: None) -> Iterator[Store]:
    """The database that the commands find by default, open as a running keeper has it."""
    store = open_store("sqlite:liquidation_engine.db")
    rows = [
        queue_row(
            FIRST, 0.91, symbol="SOL", size=1_500_000_000, tries=2, reason="blockhash",
            next_try_ms=now_ms() + 60_000, since_ms=now_ms() - 125_000,
        ),
        queue_row(SECOND, 0.4, symbol="BTC", side="short", state=QueueState.IN_FLIGHT),
        queue_row(
            THIRD, 0.7, symbol="SOL", state=QueueState.QUARANTINED, reason="dropped",
            next_try_ms=NEVER_MS,
        ),
    ]  # fmt: skip
    store.put_queue(rows, [])
    store.put_state("keeper:reference", "{}", now_ms())
    yield store
    store.close()


def orders(store: Store) -> dict[str, QueueOrder | None]:
    return {row.position: row.order for row in store.queue()}


def test_rows_are_shown_least_health_first_with_everything_that_decides_the_next_try(store):
    result = run("queue")

    assert result.exit_code == 0
    header, second, third, first, counts = result.stdout.splitlines()
    assert header.split("  ")[0] == "position"
    assert second.startswith(SECOND)
    assert re.search(r"BTC +short .* 0\.4000 +in flight +- +0 +- ", second)
    assert re.search(r" 0\.7000 +quarantined +dropped +0 +on retry ", third)
    assert re.search(
        r"SOL +long +1\.5 +0\.9100 +waiting +blockhash +2 +in (60|59) s +2 min \d s ago$", first
    )
    assert counts == "1 waiting, 1 in flight, 1 quarantined"
    assert re.fullmatch(r"the keeper wrote [\d,]+ ms ago\n", result.stderr)


def test_json_is_one_object_with_the_age_of_what_the_keeper_wrote(store):
    (answer,) = answers("queue")

    assert answer["type"] == "queue"
    assert 0 <= answer["keeper_age_ms"] < 10_000
    assert [row["position"] for row in answer["rows"]] == [SECOND, THIRD, FIRST]
    _, dropped, first = answer["rows"]
    assert dropped["next_try_in_ms"] is None
    assert 50_000 < first.pop("next_try_in_ms") <= 60_000
    assert set(first) == {field.name for field in fields(QueueRow)} - {"next_try_ms"}
    assert (first["size"], first["state"], first["order"]) == (1_500_000_000, "waiting", None)


@pytest.mark.parametrize(
    ("options", "found"),
    [
        (("--market", "SOL"), [THIRD, FIRST]),
        (("--state", "in_flight"), [SECOND]),
        (("--state", "quarantined", "--market", "SOL"), [THIRD]),
        (("--market", "sol"), []),
    ],
)
def test_a_market_and_a_state_narrow_the_list(store, options, found):
    (answer,) = answers("queue", *options)

    assert [row["position"] for row in answer["rows"]] == found


@pytest.mark.parametrize(
    ("age_ms", "words"),
    [
        (9_000, r"the keeper wrote (9,\d\d\d|10,000) ms ago"),
        (11_000, "no keeper seems to be running: the last one wrote 11 s ago"),
    ],
)
def test_a_keeper_that_has_been_silent_for_ten_seconds_seems_not_to_run(store, age_ms, words):
    store.put_state("keeper:reference", "{}", now_ms() - age_ms)

    assert re.fullmatch(words + "\n", run("queue").stderr)


def test_a_database_that_no_keeper_has_written_to_says_so():
    open_store("sqlite:other.db").close()

    result = run("queue", "--database", "sqlite:other.db")

    assert result.stdout == "0 waiting, 0 in flight, 0 quarantined\n"
    assert "no keeper has written to this database" in result.stderr
    (answer,) = answers("queue", "--database", "sqlite:other.db")
    assert answer == {"type": "queue", "keeper_age_ms": None, "rows": [], "excluded": []}


def test_an_order_is_left_for_the_keeper_and_shown(store):
    assert run("queue", "drop", FIRST).stdout == f"drop ordered for {FIRST}\n"
    (answer,) = answers("queue", "retry", THIRD)

    assert {k: answer[k] for k in ("type", "position", "order")} == {
        "type": "order",
        "position": THIRD,
        "order": "retry",
    }
    assert orders(store) == {SECOND: None, THIRD: QueueOrder.RETRY, FIRST: QueueOrder.DROP}
    assert "waiting, drop ordered" in run("queue", "--market", "SOL").stdout
    assert {row.position for row in store.take_orders(now_ms())} == {FIRST, THIRD}


def test_an_order_without_a_keeper_says_that_it_waits(store):
    store.put_state("keeper:reference", "{}", now_ms() - 60_000)

    result = run("queue", "retry", THIRD)

    assert result.exit_code == 0
    assert "no keeper seems to be running" in result.stderr
    assert "the order waits in the database" in result.stderr


def test_a_position_in_flight_takes_no_order_from_a_running_keeper(store):
    result = run("queue", "drop", SECOND)

    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{SECOND} is in flight and takes no orders" in result.stderr
    assert orders(store)[SECOND] is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("drop", ABSENT), 1, f"{ABSENT} is not in the queue"),
        (("retry", "nonsense"), 2, "'nonsense' is no public key in base58"),
        (("drop",), 2, "`liqctl queue drop` needs the PUBKEY of a position"),
        (("forget", FIRST), 2, "'forget' is not one of 'drop', 'retry'"),
        (("--state", "lost"), 2, "'lost' is not one of"),
        (("drop", FIRST, "--market", "SOL"), 2, "an order takes neither"),
        (("include", FIRST), 1, f"{FIRST} is not excluded"),
        (("exclude",), 2, "`liqctl queue exclude` needs the PUBKEY of a position"),
        (("exclude", FIRST, "--for", "soon"), 2, "--for must be a duration such as 30m, 2h or 7d"),
        (("exclude", FIRST, "--for", "0s"), 2, "--for must be a duration"),
        (("exclude", FIRST, "--for", "10001d"), 2, "--for must be a duration"),
        (("exclude", FIRST, "--reason", "two\nlines"), 2, "--reason must be one line"),
        (("exclude", FIRST, "--reason", "x" * 201), 2, "of at most 200 characters"),
        (("drop", FIRST, "--for", "2h"), 2, "--for and --reason are for `liqctl queue exclude`"),
        (("--reason", "x"), 2, "--for and --reason are for `liqctl queue exclude`"),
        (("--database", "sqlite:none.db"), 2, "`liqctl watch` creates it"),
        (("drop", FIRST, "--database", "sqlite:none.db"), 2, "`liqctl watch` creates it"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(store, tmp_path, arguments, code, words):
    result = run("queue", *arguments)

    assert (result.exit_code, result.stdout) == (code, "")
    assert words in result.stderr
    assert result.stderr.count("\n") == 1
    assert set(orders(store).values()) == {None}
    assert store.exclusions() == []
    assert not (tmp_path / "none.db").exists()


def test_any_position_can_be_excluded_for_a_while_with_a_reason(store):
    told = run("queue", "exclude", ABSENT, "--for", "2h", "--reason", "owner asked")

    assert told.exit_code == 0
    assert told.stdout == f"{ABSENT} is excluded for 2 h: owner asked\n"
    (held,) = store.exclusions()
    assert (held.position, held.reason) == (ABSENT, "owner asked")
    assert held.until_ms == held.since_ms + 7_200_000
    *_, heading, row, counts = run("queue").stdout.splitlines()
    assert heading.split() == ["excluded", "reason", "time", "left", "since"]
    assert re.fullmatch(rf"{ABSENT} +owner asked +1 h 59 min +\d s ago", row.strip())
    assert counts == "1 waiting, 1 in flight, 1 quarantined, 1 excluded"
    (listing,) = answers("queue")
    (excluded,) = listing["excluded"]
    assert 7_100_000 < excluded.pop("left_ms") <= 7_200_000
    assert excluded.pop("since_ms") == held.since_ms
    assert excluded == {"position": ABSENT, "reason": "owner asked"}


def test_an_exclusion_without_a_time_lasts_until_it_is_taken_back(store):
    (answer,) = answers("queue", "exclude", SECOND)
    assert (answer["type"], answer["order"], answer["position"]) == ("order", "exclude", SECOND)
    assert "until included" in run("queue").stdout

    assert run("queue", "include", SECOND).stdout == f"{SECOND} is no longer excluded\n"

    assert store.exclusions() == []
    assert run("queue", "include", SECOND).exit_code == 1


def test_an_exclusion_that_has_run_out_is_not_shown(store):
    store.exclude(Exclusion(position=FIRST, reason="old", since_ms=1, until_ms=now_ms() - 1))

    (listing,) = answers("queue")

    assert listing["excluded"] == []


def test_the_help_has_examples_of_both_orders():
    text = " ".join(run("queue", "--help").stdout.split())

    assert "liqctl queue drop PUBKEY" in text
    assert "liqctl queue retry PUBKEY" in text
