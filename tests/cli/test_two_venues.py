"""Two programs in one process: the built-in reference venue, and its twin by IDL and mapping."""

import json
import re
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.cli.chain_fixture import ROOT, Chain, Desk, chain
from tests.cli.test_watch import seen_by
from tests.cli.twin_chain import PROGRAM as TWIN
from tests.crash.books import SqliteBooks, let_leases_end

OWN = "reference-mapped"
IDL = ROOT / "liqctl" / "venues" / "liquidation_engine.json"
MAPPING = ROOT / "examples" / "reference_mapping.toml"
MAPPED = ("--idl", IDL, "--mapping", MAPPING)
BOTH = ("--venue", "reference", "--venue", f"{OWN}={TWIN}", *MAPPED)


@pytest.fixture(scope="module")
def shared() -> Iterator[Chain]:
    with chain(module="tests.cli.twin_chain") as running:
        yield running


@pytest.fixture
def desk(shared: Chain, tmp_path: Path) -> Desk:
    return Desk(place=tmp_path, chain=shared)


def rows(desk: Desk, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(desk.database)) as db:
        return db.execute(sql).fetchall()


def by_venue(desk: Desk, sql: str) -> dict[str, int]:
    return dict(rows(desk, sql))


def test_scan_prints_one_result_for_each_venue(desk):
    desk.chain.price("SOL", 992_000)

    found = desk.run("scan", "-n", "--json", *BOTH)
    alone = desk.run("scan", "-n", "--json").json
    text = desk.run("scan", "-n", *BOTH).out

    assert (found.code, [line["venue"] for line in found.lines]) == (0, ["reference", OWN])
    first, second = found.lines
    shape = {"type", "slot", "venue", "coverage", "liquidatable"}
    assert all(shape <= one.keys() for one in (first, second, alone))
    assert all(line["liquidatable"] for line in found.lines)
    ours, theirs = ({one["position"] for one in line["liquidatable"]} for line in found.lines)
    assert not ours & theirs
    assert f"{OWN}: {len(theirs)} liquidatable at slot" in text


def test_one_position_is_found_in_the_program_that_owns_it(desk):
    desk.chain.price("SOL", 992_000)
    lines = desk.run("scan", "-n", "--json", *BOTH).lines

    for venue, line in zip(("reference", OWN), lines, strict=True):
        position = line["liquidatable"][0]["position"]
        told = desk.run("explain", position, "--json", *BOTH).json
        assert (told["venue"], told["position"], told["agrees"]) == (venue, position, True)
        tried = desk.run("liquidate", position, "-n", "--json", *BOTH)
        assert tried.code == 0
        assert tried.lines[-1]["reason"] == "dry_run"
    stranger = desk.run("explain", desk.chain.ready["prices"]["SOL"], *BOTH)
    assert stranger.code == 1
    assert "which is none of reference (" in stranger.err


def test_doctor_reports_on_each_and_the_worst_decides(desk):
    good = desk.run("doctor", "--json", "-k", desk.key, *BOTH)
    text = desk.run("doctor", "-k", desk.key, *BOTH).out
    no_twin = f"{OWN}={desk.chain.ready['fund']}"
    twin_gone = ("--venue", no_twin, "--venue", "reference", *MAPPED)
    bad = desk.run("doctor", "--json", "-k", desk.key, *twin_gone)

    assert good.code == 0
    assert [(one["venue"], one["ok"]) for one in good.lines] == [("reference", True), (OWN, True)]
    programs = [
        check["found"]
        for one in good.lines
        for check in one["checks"]
        if check["name"] == "program"
    ]
    assert len(set(programs)) == 2
    assert [line for line in text.splitlines() if line.endswith(":")] == ["reference:", f"{OWN}:"]
    assert bad.code == 1
    assert [one["ok"] for one in bad.lines] == [False, True]


def test_insurance_shows_the_fund_of_each(desk):
    found = desk.run("insurance", "--json", *BOTH).lines

    assert [(one["venue"], one["address"]) for one in found] == [
        ("reference", desk.chain.ready["fund"]),
        (OWN, desk.chain.ready["twin_fund"]),
    ]


@pytest.mark.parametrize(
    "options, words",
    [
        (("--venue", "reference", *MAPPED), "are both the program"),
        ((*BOTH, "--program-id", TWIN), "name each program with its venue"),
        (("--venue", "reference", "--venue", "drift"), "no venue is called 'drift'"),
        (("--venue", "reference", "--venue", f"mine={TWIN}", *MAPPED), "'reference-mapped'"),
        (("--venue", "perpetuals", "--venue", "perpetuals"), "names 'perpetuals' twice"),
        (("--venue", "reference", "--venue", "perpetuals"), "no program at"),
        (("--venue", "reference=nothing"), "NAME=PROGRAM_ID"),
        (("--venue", "reference", "--venue", f"adrena={TWIN}"), "is of another version than"),
    ],
)
def test_venues_that_cannot_be_watched_together_are_refused_before_anything(desk, options, words):
    found = desk.run("scan", "-n", *options)

    assert found.code == 2
    assert words in found.err
    assert found.out == ""


def test_venues_may_come_from_the_file_and_the_environment(desk):
    file = desk.place / "liqctl.toml"
    file.write_text(
        f'venues = ["reference", "{OWN}={TWIN}"]\nidl = "{IDL}"\nmapping = "{MAPPING}"\n'
    )

    from_file = desk.run("scan", "-n", "--json").lines
    file.unlink()
    from_environment = desk.run(
        "scan",
        "-n",
        "--json",
        LIQCTL_VENUE=f"reference,{OWN}={TWIN}",
        LIQCTL_IDL=str(IDL),
        LIQCTL_MAPPING=str(MAPPING),
    ).lines

    for found in (from_file, from_environment):
        assert [line["venue"] for line in found] == ["reference", OWN]


def test_the_live_view_has_a_headline_for_each_venue(desk):
    text, code = seen_by(desk, 120, *BOTH, until=rf"{OWN} SOL +[1-9]")

    assert code == 0
    assert re.search(r"liqctl watch reference +slot", text)
    assert re.search(rf"liqctl watch {OWN} +slot", text)
    assert re.search(r"^reference SOL +[1-9]", text, re.MULTILINE)


def submitted(text: str, positions: set[str]) -> bool:
    return any(
        json.loads(line)["position"] in positions
        for line in text.splitlines()
        if '"transaction_submitted"' in line
    )


def kill_with_both_in_the_air(desk: Desk, command: tuple[object, ...], due: list[set[str]]) -> None:
    """Start a watch, and kill it once it has sent something to each of the programs.

    In a slot that does not end nothing becomes final, so all that is sent stays in the air.
    """
    desk.chain.tell(do="freeze", on=True)
    with (desk.place / "log").open("w") as log:
        keeper = desk.start(*command, "--log-level", "info", stderr=log)
    with keeper:
        end = time.monotonic() + 30
        while not all(submitted((desk.place / "log").read_text(), one) for one in due):
            assert time.monotonic() < end
            time.sleep(0.01)
        keeper.send_signal(signal.SIGKILL)
        assert keeper.wait(10) == -signal.SIGKILL
    desk.chain.tell(do="freeze", on=False)


@pytest.mark.timeout(120)
def test_a_watch_killed_while_both_have_attempts_in_the_air_liquidates_all_once(desk):
    desk.chain.price("SOL", 970_000)
    found = desk.run("scan", "-n", "--json", *BOTH).lines
    due = [{one["position"] for one in line["liquidatable"]} for line in found]
    limits = "max_in_flight = 16\nspend_hour_lamports = 500000000\n"
    (desk.place / "liqctl.toml").write_text(limits)
    command = ("watch", *BOTH, *desk.signing)
    kill_with_both_in_the_air(desk, command, due)
    live = by_venue(
        desk,
        "SELECT venue, COUNT(*) FROM attempt JOIN intent ON intent.id = intent_id"
        " WHERE attempt.state IN ('SIGNED', 'SENT', 'SEEN') GROUP BY venue",
    )
    assert live.keys() == {"reference", OWN}
    alone = desk.run("watch", "-k", desk.key, "--duration", "0")
    assert f"{live[OWN]} attempts of other venues are on record" in alone.err

    let_leases_end(SqliteBooks(desk.database))
    with desk.start(*command, "--json", "--duration", "4") as heir:
        out, err = heir.communicate(timeout=60)

    summary = json.loads(out.splitlines()[-1])
    assert heir.returncode == 0, err
    assert '"attempt_recovered"' in err
    assert summary["verified_on_chain"] is True
    assert summary["missed"] == summary["double_liquidations"] == summary["left_in_flight"] == 0
    check_books(desk, summary, due)


def check_books(desk: Desk, summary: dict[str, Any], due: list[set[str]]) -> None:
    """Compare summary, database and what each keeper counted, venue by venue."""
    assert list(summary["venues"]) == ["reference", OWN]
    counted = by_venue(desk, "SELECT venue, COUNT(*) FROM liquidations GROUP BY venue")
    written = rows(desk, "SELECT position_pubkey, venue FROM liquidations")
    for (venue, one), positions in zip(summary["venues"].items(), due, strict=True):
        assert one["verified_on_chain"] is True
        assert one["liquidated_full"] + one["liquidated_partial"] == counted[venue]
        assert positions <= {address for address, where in written if where == venue}
    assert summary["liquidated_full"] + summary["liquidated_partial"] == sum(counted.values())
    told = desk.run("history").out
    assert re.search(r" reference SOL +(full|partial) ", told)
    assert re.search(rf" {OWN} SOL +(full|partial) ", told)
    # Each keeper has settled its own: what it counted is what is recorded of its venue.
    states = dict(rows(desk, "SELECT name, value_json FROM state"))
    for venue, count in counted.items():
        status = json.loads(states[f"keeper:{venue}"])
        assert status["full"] + status["partial"] == count
