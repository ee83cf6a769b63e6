"""`liqctl scan` on a chain: what it prints, filters, queues and liquidates."""

import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.chain_fixture import Chain, Desk, chain

ROW = {
    "position", "owner", "symbol", "side", "size", "health", "equity", "maintenance_margin", "kind",
    "reward", "bad_debt",
}  # fmt: skip


@pytest.fixture(scope="module")
def crashed() -> Iterator[Chain]:
    """SOL fell by 1 % and BTC by 2 %: three and two positions are liquidatable."""
    with chain() as running:
        running.price("SOL", 990_000)
        running.price("BTC", 980_000)
        yield running


@pytest.fixture
def desk(crashed: Chain, tmp_path: Path) -> Desk:
    return Desk(place=tmp_path, chain=crashed)


def test_json_has_the_documented_shape_worst_first(desk):
    found = desk.run("scan", "--dry-run", "--json")

    scan = found.json
    assert (found.code, found.err) == (0, "")
    assert list(scan) == ["type", "slot", "venue", "coverage", "liquidatable"]
    assert (scan["type"], scan["venue"]) == ("scan", "reference")
    assert scan["coverage"] == {"positions": 60, "evaluated": 60, "unknown": {}}
    rows = scan["liquidatable"]
    assert len(rows) == 5
    assert all(set(row) >= ROW for row in rows)
    assert [row["health"] for row in rows] == sorted(row["health"] for row in rows)
    assert {row["kind"] for row in rows} == {"full", "partial"}
    integers = ("size", "equity", "maintenance_margin", "reward", "bad_debt")
    assert all(type(row[name]) is int for row in rows for name in integers)
    assert any(row["bad_debt"] > 0 for row in rows)


def test_a_dry_run_loads_no_key_and_writes_no_file(desk):
    found = desk.run("scan", "--dry-run", "-k", "no/such/key.json")

    assert (found.code, found.err) == (0, "")
    assert found.out.endswith("coverage 60 of 60 positions\n")
    assert list(desk.place.iterdir()) == []


@pytest.mark.parametrize("columns", ["40", "200"])
def test_an_address_stays_in_one_piece_on_any_width(desk, columns):
    rows = desk.run("scan", "-n", "--json").json["liquidatable"]

    found = desk.run("scan", "-n", COLUMNS=columns, LC_ALL="C", NO_COLOR="1")

    assert all(row["position"] in found.out for row in rows)
    assert "\x1b" not in found.out


def test_filters_choose_what_is_shown_and_never_shrink_coverage(desk):
    def symbols(*options: object) -> list[str]:
        scan = desk.run("scan", "-n", "--json", *options).json
        assert scan["coverage"]["evaluated"] == 60
        return [row["symbol"] for row in scan["liquidatable"]]

    assert symbols("--market", "SOL") == ["SOL", "SOL", "SOL"]
    assert symbols("--market", "ETH") == []
    assert len(symbols("--min-notional", "1000")) == 2
    assert len(symbols("--limit", "2")) == 2


def test_exit_code_3_is_for_findings_alone(desk):
    assert desk.run("scan", "-n", "--exit-code").code == 3
    assert desk.run("scan", "-n", "--exit-code", "--limit", "1").code == 3
    assert desk.run("scan", "-n", "--exit-code", "--market", "ETH").code == 0


def test_what_it_finds_waits_in_the_database(desk):
    rows = desk.run("scan", "--market", "SOL", "--limit", "2", "--json").json["liquidatable"]

    with sqlite3.connect(desk.database) as database:
        waiting = database.execute("SELECT position FROM queue ORDER BY health").fetchall()
    assert [position for (position,) in waiting] == [row["position"] for row in rows]
    assert not (desk.place / "key.json").exists()


def test_what_was_queued_is_said_and_what_was_left_out(desk):
    few = desk.run("scan", "--limit", "2")
    again = desk.run("scan", "-n")

    assert "5 liquidatable at slot " in few.out
    assert ", 2 shown; coverage 60 of 60 positions\n" in few.out
    assert few.err.startswith("queued 2 in sqlite:liquidation_engine.db; a running `liqctl watch`")
    assert ", 5 shown" not in again.out


def test_the_capacity_of_a_keeper_hides_nothing_from_a_pass(desk):
    found = desk.run("scan", "-n", "--json", LIQCTL_QUEUE_CAPACITY="2")

    assert len(found.json["liquidatable"]) == 5


def test_a_market_that_is_not_there_is_named_with_those_that_are(desk):
    found = desk.run("scan", "-n", "--json", "--market", "DOGE")

    assert (found.code, found.out) == (2, "")
    assert found.err == "liqctl: no market is called 'DOGE'; there is: BTC, ETH, SOL\n"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"age_s": 300}, "price_stale"),
        ({"confidence": 10**10}, "price_too_wide"),
        ({"price": 0}, "price_not_positive"),
        ({"price": -1}, "price_not_positive"),
        ({"exponent": 20}, "price_bad_exponent"),
    ],
)
def test_a_price_that_cannot_be_used_is_counted_and_hides_no_other_market(desk, fields, reason):
    desk.chain.raw_price("SOL", **fields)
    scan = desk.run("scan", "-n", "--json").json
    text = desk.run("scan", "-n").out
    worst = desk.run("liquidate", sol_position(desk), "-n")
    desk.chain.price("SOL", 990_000)

    assert scan["coverage"] == {"positions": 60, "evaluated": 40, "unknown": {reason: 20}}
    assert [row["symbol"] for row in scan["liquidatable"]] == ["BTC", "BTC"]
    assert f"coverage 40 of 60 positions, unknown: 20 {reason}\n" in text
    assert worst.code == 5
    assert f"liqctl: the verdict is unknown, nothing was sent: {reason}: " in worst.err


def sol_position(desk: Desk) -> str:
    """A SOL position, whatever the price is now."""
    return "9nJBL5irfFoCy8pkyW5dNPfygvNwekzKBp2e8vnNkAUk"


@pytest.mark.parametrize(
    ("changed", "coverage"),
    [
        (lambda body: body[:-1], (60, 59, {"wrong_length": 1})),
        (lambda body: body + b"\0", (60, 59, {"wrong_length": 1})),
        (lambda body: body[:8] + b"\xff" * (len(body) - 8), (60, 59, {"absurd_value": 1})),
        (lambda body: b"\1" * 8 + body[8:], (59, 59, {})),
    ],
    ids=["short", "long", "absurd", "another kind"],
)
def test_one_malformed_account_hides_no_other(desk, changed, coverage):
    position = sol_position(desk)
    body = desk.chain.read(position)
    desk.chain.account(position, changed(body))
    scan = desk.run("scan", "-n", "--json").json
    by_hand = desk.run("liquidate", position, "-n", "--json")
    desk.chain.account(position, body)

    assert tuple(scan["coverage"].values()) == coverage
    assert len(scan["liquidatable"]) == 4
    assert (by_hand.code, by_hand.out) == (1, "")
    assert f"liqctl: {position} is not a position of the reference program" in by_hand.err


def test_a_running_keeper_takes_what_a_scan_has_queued(tmp_path):
    with chain(seed=3) as calm:
        desk = Desk(place=tmp_path, chain=calm)
        assert desk.run("scan").code == 0
        assert desk.run("watch", "--stop").code == 0
        with desk.start("watch", *desk.signing, stderr=subprocess.DEVNULL) as keeper:
            queued(desk, lambda listing: listing["keeper_age_ms"] is not None)
            calm.price("SOL", 900_000)
            found = desk.run("scan", "--json").json["liquidatable"]
            held = queued(desk, lambda listing: not any(row["order"] for row in listing["rows"]))
            assert desk.run("watch", "--resume").code == 0
            queued(desk, lambda listing: not listing["rows"])
            keeper.terminate()
            assert keeper.wait(10) == 0
        left = desk.run("scan", "-n", "--json").json["liquidatable"]

    assert {row["position"] for row in found} == {row["position"] for row in held["rows"]} != set()
    assert left == []


def test_a_running_keeper_follows_orders_for_one_position(tmp_path):
    with chain(seed=3) as calm:
        desk = Desk(place=tmp_path, chain=calm)
        assert desk.run("scan").code == 0
        assert desk.run("watch", "--stop").code == 0
        with desk.start("watch", *desk.signing, stderr=subprocess.DEVNULL) as keeper:
            calm.price("SOL", 900_000)
            queued(desk, lambda listing: len(listing["rows"]) > 1)
            found = desk.run("scan", "--json").json["liquidatable"]
            dropped = found[0]["position"]
            assert desk.run("queue", "drop", dropped).code == 0
            queued(desk, lambda listing: states(listing).get(dropped) == ("quarantined", "dropped"))
            assert desk.run("watch", "--resume").code == 0
            queued(desk, lambda listing: states(listing).keys() == {dropped})
            left = desk.run("scan", "-n", "--json").json["liquidatable"]
            assert desk.run("queue", "retry", dropped).code == 0
            queued(desk, lambda listing: not listing["rows"])
            keeper.terminate()
            assert keeper.wait(10) == 0
        at_last = desk.run("scan", "-n", "--json").json["liquidatable"]

    assert [row["position"] for row in left] == [dropped]
    assert at_last == []


def states(listing: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {row["position"]: (row["state"], row["reason"]) for row in listing["rows"]}


def queued(desk: Desk, is_so: Callable[[dict[str, Any]], bool], within: float = 15) -> Any:
    """Return what `liqctl queue` lists as soon as it is so."""
    end = time.monotonic() + within
    while not is_so(listing := desk.run("queue", "--json").json):
        assert time.monotonic() < end, listing
        time.sleep(0.1)
    return listing


def test_without_a_fund_each_finding_is_named_as_blocked_and_none_is_skipped(desk):
    fund, program = desk.chain.ready["fund"], desk.chain.ready["program_id"]
    body = desk.chain.read(fund)
    desk.chain.account(fund, None)
    text = desk.run("scan", "-n").out
    done = desk.run("scan", "--liquidate", "--json", "-k", desk.key)
    by_hand = desk.run("liquidate", sol_position(desk), "-k", desk.key)
    desk.chain.account(fund, body, program)

    scan, *outcomes = done.lines
    assert text.count(" blocked ") == 5
    assert {row["kind"] for row in scan["liquidatable"]} == {None}
    assert len(outcomes) == 5
    assert {one["result"] for one in outcomes} <= {"failed", "refused"}
    assert done.code == 7
    assert done.err.startswith("liqctl: 5 of 5 liquidations did not succeed; the first: ")
    assert by_hand.code == 7
    assert "\nblocked             fund_missing: " in by_hand.out
    assert by_hand.err.startswith(
        "liqctl: refused: fund_missing: the program has no insurance fund"
    )


def test_liquidate_works_off_all_it_found_and_a_second_pass_finds_nothing(desk):
    first = desk.run("scan", "--liquidate", "--json", "-k", desk.key)
    again = desk.run("scan", "--liquidate", "--json", "-k", desk.key)

    scan, *outcomes = first.lines
    assert first.code == 0
    assert [one["type"] for one in outcomes] == ["outcome"] * 5
    assert [one["position"] for one in outcomes] == [
        row["position"] for row in scan["liquidatable"]
    ]
    assert {one["result"] for one in outcomes} == {"landed"}
    assert [one["kind"] for one in outcomes] == [row["kind"] for row in scan["liquidatable"]]
    assert again.json["liquidatable"] == []
