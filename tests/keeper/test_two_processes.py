"""A chain and a keeper as two processes; the keeper is killed again and again."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS = int(os.environ.get("LIQCTL_KILLS", "3"))
LIQCTL = [sys.executable, "-m", "liqctl"]


@pytest.fixture
def chain(tmp_path):
    options = "--json --port 0 --exit-with-stdin --positions 400 --slot-ms 200"
    child = subprocess.Popen(
        [*LIQCTL, "localnet", *options.split(), "--keypair-out", str(tmp_path / "key.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield child, json.loads(child.stdout.readline())
    finally:
        child.stdin.close()
        child.wait(timeout=10)
        child.stdout.close()


def watch(ready: dict[str, str], place: Path, *more: str) -> list[str]:
    return [
        *(*LIQCTL, "watch", "-u", ready["rpc_url"], "--ws", ready["ws_url"]),
        *("-k", str(place / "key.json"), "--database", f"sqlite:{place / 'k.db'}"),
        *("--log-level", "error", *more),
    ]


def let_leases_end(database: Path) -> None:
    """Do what twenty seconds without their owner do."""
    connection = sqlite3.connect(database, timeout=10)
    with connection:
        there = "SELECT 1 FROM sqlite_master WHERE name = 'intent'"
        if connection.execute(there).fetchone():
            connection.execute("UPDATE intent SET lease_until = 0")
    connection.close()


@pytest.mark.timeout(120 + 10 * KILLS)
def test_a_keeper_killed_at_any_moment_loses_nothing_and_liquidates_nothing_twice(chain, tmp_path):
    localnet, ready = chain
    environment = {
        **os.environ,
        "LIQCTL_MAX_IN_FLIGHT": "32",
        "LIQCTL_SPEND_HOUR_LAMPORTS": "500000000",
    }
    moments = random.Random(7)
    for _ in range(KILLS):
        keeper = subprocess.Popen(
            watch(ready, tmp_path), env=environment, stdout=subprocess.DEVNULL
        )
        time.sleep(1.5 + 2 * moments.random())
        keeper.send_signal(signal.SIGKILL)
        keeper.wait()
        if (tmp_path / "k.db").exists():
            let_leases_end(tmp_path / "k.db")
    localnet.stdin.write("hold\n")
    localnet.stdin.flush()

    done = subprocess.run(
        watch(ready, tmp_path, "--duration", "8", "--json"),
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    summary = json.loads(done.stdout.splitlines()[-1])
    assert summary["verified_on_chain"] is True
    assert summary["double_liquidations"] == 0
    assert summary["missed"] == 0
    assert summary["liquidated_full"] + summary["liquidated_partial"] > 0
    connection = sqlite3.connect(tmp_path / "k.db")
    live = "SELECT COUNT(*) FROM attempt WHERE state IN ('SIGNED', 'SENT', 'SEEN')"
    assert connection.execute(live).fetchone() == (0,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
