"""`liqctl watch` as a process: its streams, its view, what it does when the world breaks."""

import json
import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from liqctl.cli.live import Room
from liqctl.core.status import state_name
from liqctl.store.open import open_store
from tests.cli.chain_fixture import (
    PROGRAM,
    Chain,
    Desk,
    chain,
    environment_of,
    wait_for,
)
from tests.crash.books import SqliteBooks, let_leases_end

SUMMARY = {
    "type", "positions", "liquidated_full", "liquidated_partial", "failed", "bad_debt",
    "insurance_fund_balance", "verified_on_chain", "coverage", "missed", "double_liquidations",
    "decision_latency_us",
}  # fmt: skip
LOADED = r"positions [1-9]\d*/\d+[\s\S]*queue +state"
TERMINAL_CODES = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture(scope="module")
def shared() -> Iterator[Chain]:
    with chain() as running:
        yield running


@pytest.fixture
def desk(shared: Chain, tmp_path: Path) -> Desk:
    return Desk(place=tmp_path, chain=shared)


def started(desk: Desk, *options: object, **streams: Any) -> subprocess.Popen[str]:
    """Start a keeper and return it once it has read everything."""
    log = (desk.place / "log").open("w")
    keeper = desk.start("watch", *options, *desk.signing, "-v", stderr=log, **streams)
    log.close()
    wait_for(desk.place / "log", "snapshot_taken")
    return keeper


def log_of(desk: Desk) -> str:
    return (desk.place / "log").read_text()


def test_json_is_one_event_a_line_and_the_summary_comes_last(desk):
    desk.chain.price("SOL", 990_000)
    with desk.start("watch", *desk.signing, "--json", "--duration", "3") as keeper:
        out, err = keeper.communicate(timeout=20)

    *events, summary = [json.loads(line) for line in out.splitlines()]
    assert keeper.returncode == 0, err
    assert [event["seq"] for event in events] == sorted({event["seq"] for event in events})
    assert {"insurance_fund", "price_update", "queue", "liquidation"} <= {
        event["type"] for event in events
    }
    assert summary.keys() >= SUMMARY
    assert summary["type"] == "summary"
    assert (summary["liquidated_full"], summary["liquidated_partial"]) == (1, 2)
    assert (summary["failed"], summary["missed"], summary["double_liquidations"]) == (0, 0, 0)
    assert summary["verified_on_chain"] is True
    assert "Traceback" not in err
    assert {json.loads(line)["event"] for line in err.splitlines()} >= {
        "liquidation_triggered", "transaction_submitted", "transaction_confirmed", "stopped",
    }  # fmt: skip


def test_a_venue_that_nobody_watches_any_more_is_forgotten(desk):
    with closing(open_store(f"sqlite:{desk.database}")) as store:
        store.put_state(state_name("gone"), "{}", 1)
        desk.run("watch", "-k", desk.key, "--duration", 0)

        assert store.state("genesis") is not None
        assert store.state(state_name("gone")) is None


def test_a_dry_run_decides_and_sends_nothing(desk):
    desk.chain.price("BTC", 980_000)
    command = ("watch", "-n", "-k", "no/key.json", *desk.chain.where, "--json", "--duration", "2")
    with desk.start(*command) as keeper:
        out, err = keeper.communicate(timeout=20)
    left = desk.run("scan", "-n", "--json").json["liquidatable"]

    *events, summary = [json.loads(line) for line in out.splitlines()]
    assert keeper.returncode == 0, err
    assert "queue" in {event["type"] for event in events}
    assert '"reason": "dry_run"' in err
    assert "transaction_submitted" not in err
    assert (summary["liquidated_full"], summary["missed"]) == (0, 2)
    assert len(left) == 2
    assert list(desk.place.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_ends_it_in_order(desk, number):
    with started(desk) as keeper:
        keeper.send_signal(number)

        out, _ = keeper.communicate(timeout=10)
    assert (keeper.returncode, out) == (0, "")
    assert '"event": "stopped"' in log_of(desk)


def catches(pid: int, number: int) -> bool:
    """Return whether the process has a handler for the signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) >> number - 1 & 1)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc is of Linux")
def test_the_kill_switch_by_signal_is_heeded_before_the_node_has_answered(desk):
    log = (desk.place / "log").open("w")
    os.kill(desk.chain.child.pid, signal.SIGSTOP)
    with log, desk.start("watch", *desk.signing, "-v", stderr=log) as keeper:
        try:
            deadline = time.monotonic() + 20
            while not catches(keeper.pid, signal.SIGUSR1):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            keeper.send_signal(signal.SIGUSR1)
        finally:
            os.kill(desk.chain.child.pid, signal.SIGCONT)
        wait_for(desk.place / "log", '"source": "signal"')
        keeper.terminate()
        keeper.communicate(timeout=10)

    assert keeper.returncode == 0


def test_a_second_signal_ends_it_at_once_and_its_heir_settles_what_was_in_the_air(tmp_path):
    with chain() as own:
        desk = Desk(place=tmp_path, chain=own)
        with started(desk) as keeper:
            own.price("SOL", 990_000)
            wait_for(desk.place / "log", "transaction_submitted")
            os.kill(own.child.pid, signal.SIGSTOP)
            try:
                keeper.terminate()
                wait_for(desk.place / "log", '"event": "stopping"')
                keeper.send_signal(signal.SIGINT)
                assert keeper.wait(2) == -signal.SIGINT
            finally:
                os.kill(own.child.pid, signal.SIGCONT)
        assert '"event": "stopped"' not in log_of(desk)
        let_leases_end(SqliteBooks(desk.database))

        summary = desk.run("watch", *desk.signing, "--json", "--duration", "8").lines[-1]

    assert (summary["missed"], summary["double_liquidations"]) == (0, 0)
    assert (summary["unrecorded"], summary["left_in_flight"]) == (0, 0)
    assert summary["verified_on_chain"] is True


def test_a_node_that_hangs_does_not_hold_up_the_end(desk):
    with started(desk) as keeper:
        os.kill(desk.chain.child.pid, signal.SIGSTOP)
        try:
            keeper.terminate()
            assert keeper.wait(10) == 0
        finally:
            os.kill(desk.chain.child.pid, signal.SIGCONT)


def test_a_chain_that_goes_away_and_comes_back_is_watched_again(desk):
    with started(desk) as keeper:
        desk.chain.tell(do="down")
        wait_for(desk.place / "log", "stream_down")
        wait_for(desk.place / "log", "read_failed")
        assert keeper.poll() is None
        desk.chain.tell(do="up")
        desk.chain.price("ETH", 1_020_000)
        wait_for(desk.place / "log", "transaction_confirmed")
        keeper.terminate()
        assert keeper.wait(10) == 0

    assert "Traceback" not in log_of(desk)


def test_a_chain_that_stays_away_ends_a_run_in_time_with_one_line(desk):
    with started(desk, "--json", "--duration", "3") as keeper:
        desk.chain.tell(do="down")
        out, _ = keeper.communicate(timeout=10)
        desk.chain.tell(do="up")

    last = log_of(desk).splitlines()[-1]
    assert keeper.returncode == 4
    assert last.startswith("liqctl: no connection to http://127.0.0.1:")
    assert all(json.loads(line)["type"] != "summary" for line in out.splitlines())
    assert "Traceback" not in log_of(desk)


def test_a_reader_that_leaves_ends_it_in_order(desk):
    with started(desk, "--json", stdout=subprocess.PIPE) as keeper:
        assert keeper.stdout is not None
        keeper.stdout.close()
        keeper.stdout = None
        desk.chain.price("ETH", 999_000)
        assert keeper.wait(10) == 1

    assert '"event": "reader_left"' in log_of(desk)
    assert '"event": "stopped"' in log_of(desk)
    assert "Traceback" not in log_of(desk)


def test_an_output_without_room_ends_it_in_order(desk):
    with (
        Path("/dev/full").open("w") as full,
        started(desk, "--json", "--duration", "20", stdout=full) as keeper,
    ):
        desk.chain.price("ETH", 999_500)
        assert keeper.wait(10) == 1

    assert '"event": "stopped"' in log_of(desk)
    assert log_of(desk).splitlines()[-1] == (
        "liqctl: cannot write the output: no space is left; make room and try again"
    )


@pytest.mark.parametrize("meanwhile", [True, False])
def test_a_summary_says_what_the_same_key_did_meanwhile_in_other_books(tmp_path, meanwhile):
    with chain(seed=2) as other:
        watching, by_hand = (Desk(place=tmp_path / name, chain=other) for name in ("a", "b"))
        for desk in (watching, by_hand):
            desk.place.mkdir()
        (watching.place / "STOP").touch()
        other.price("SOL", 980_000)
        scan = ("scan", "--liquidate", "--json", "-k", by_hand.key)
        if not meanwhile:
            by_hand.run(*scan)
        with watching.start("watch", *watching.signing, "--duration", "8") as keeper:
            while (
                '"keeper_age_ms":null' in (seen := watching.run("queue", "--json").out) or not seen
            ):
                time.sleep(0.1)
            found = by_hand.run(*scan) if meanwhile else None
            out, _ = keeper.communicate(timeout=30)

    if found is None:
        assert keeper.returncode == 0
        assert out.endswith("verified on chain: yes\n")
    else:
        landed = sum(line.get("result") == "landed" for line in found.lines)
        assert landed > 0
        assert keeper.returncode == 1
        told = f"NO, {landed} of this key on chain but not in this database\n"
        assert out.endswith(f"verified on chain: {told}")


def test_an_embedded_chain_that_dies_ends_its_keeper_with_one_line(tmp_path):
    with subprocess.Popen(
        [str(PROGRAM), "watch", "--localnet", "--positions", "3", "--json", "-v"],
        cwd=tmp_path,
        env=environment_of(tmp_path),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as keeper:
        assert keeper.stdout is not None
        assert json.loads(keeper.stdout.readline())["seq"] == 1
        children = Path(f"/proc/{keeper.pid}/task/{keeper.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        _, err = keeper.communicate(timeout=15)

    assert keeper.returncode == 1
    assert err.splitlines()[-1].startswith("liqctl: the embedded chain ended by itself")
    assert "Traceback" not in err


def test_the_kill_switch_needs_a_database_and_tells_scripts(desk):
    desk.run("scan")

    stopped, resumed = (desk.run("watch", option, "--json") for option in ("--stop", "--resume"))

    database = "sqlite:liquidation_engine.db"
    assert stopped.json == {"type": "switch", "stopped": True, "database": database}
    assert resumed.json == {"type": "switch", "stopped": False, "database": database}


def seen_by(desk: Desk, columns: int, *options: object, until: str) -> tuple[str, int]:
    """Return what a terminal of this width shows until that matches, and the exit code."""
    ours, theirs = pty.openpty()
    with (desk.place / "log").open("w") as log:
        child = subprocess.Popen(
            [str(PROGRAM), "watch", *map(str, options), *desk.signing],
            stdin=theirs,
            stdout=theirs,
            stderr=log,
            cwd=desk.place,
            env=environment_of(desk.place, TERM="xterm", COLUMNS=str(columns), LINES="40"),
            start_new_session=True,
        )
    os.close(theirs)
    shown, end = b"", time.monotonic() + 15
    while not re.search(until, text := TERMINAL_CODES.sub(b"", shown).decode(errors="ignore")):
        assert time.monotonic() < end, text
        if select.select([ours], [], [], 0.2)[0]:
            shown += os.read(ours, 65_536)
    child.terminate()
    while select.select([ours], [], [], 0.5)[0]:
        try:
            shown += os.read(ours, 65_536)
        except OSError:
            break
    code = child.wait(10)
    os.close(ours)
    return text, code


@pytest.mark.parametrize(("columns", "whole"), [(120, True), (80, False)])
def test_the_live_view_fits_the_terminal_and_cuts_no_figure(desk, columns, whole):
    text, code = seen_by(desk, columns, until=LOADED)

    assert code == 0
    for words in (
        "liqctl watch", "positions ", "insurance fund ", "mark price", "closest position", "SOL",
        "health", "queue", "in flight ",
    ):  # fmt: skip
        assert words in text
    rows = re.findall(r"^([1-9A-HJ-NP-Za-km-z…]{13,44}) +(?:SOL|BTC|ETH) .*$", text, re.MULTILINE)
    assert rows
    assert all((len(address) > 40) is whole for address in rows)
    assert "…" not in re.sub(r"^\S{6}…\S{6}", "", text, flags=re.MULTILINE)
    assert all(len(line.rstrip()) <= columns for line in text.splitlines())
    assert '"event": "stopped"' in log_of(desk)


@pytest.mark.parametrize("height", range(10, 61))
def test_the_lists_share_the_height_of_the_terminal(height):
    room = Room.of(80, height, markets=3)

    for recent in range(15):
        closest, shown = room.closest(recent), min(recent, room.third)
        assert closest >= room.third > 0
        assert closest + shown + room.third == room.rows
    assert room.rows + 16 <= max(height, 19)


def test_the_live_view_says_that_it_is_a_dry_run(desk):
    text, code = seen_by(desk, 100, "--dry-run", until="DRY RUN")

    assert code == 0
    assert "positions " in text
