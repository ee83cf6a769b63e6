"""Which commands open the key, and that the key may live in another program."""

import fcntl
import json
import os
import pty
import select
import shlex
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from solders.keypair import Keypair

from liqctl.localnet.scenario import liquidator_key
from tests.cli.chain_fixture import ROOT, Chain, Desk, chain, environment_of, inside

EXAMPLE = ROOT / "examples" / "external_signer.py"
SIGNING = ROOT / "tests" / "chain" / "signing_program.py"
KEYS = Path(__file__).with_name("opened_keys.py")


@pytest.fixture(scope="module")
def crashed() -> Iterator[Chain]:
    """SOL fell by 1 %, BTC by 2 %, ETH not at all."""
    with chain() as running:
        running.price("SOL", 990_000)
        running.price("BTC", 980_000)
        yield running


@pytest.fixture
def desk(crashed: Chain, tmp_path: Path) -> Desk:
    return Desk(place=tmp_path, chain=crashed)


def external(desk: Desk) -> str:
    """Return the signing source that is the example with the liquidator's key."""
    return "exec:" + shlex.join([sys.executable, str(EXAMPLE), str(desk.key)])


def test_only_what_signs_opens_the_key(desk):
    quiet = [
        ["scan"],
        ["scan", "--dry-run"],
        ["watch", "--dry-run", "--duration", "0"],
        ["liquidate", "11111111111111111111111111111112", "--dry-run"],
        ["queue"],
        ["insurance"],
        ["history"],
        ["config", "show"],
        ["watch", "--stop"],
        ["watch", "--resume"],
    ]
    loud = [
        ["doctor"],
        ["scan", "--liquidate", "--yes", "--limit", "1"],
        ["liquidate", "11111111111111111111111111111112", "--yes"],
        ["watch", "--duration", "0"],
    ]

    done = subprocess.run(
        [sys.executable, str(KEYS), str(desk.key), json.dumps(quiet + loud)],
        cwd=desk.place,
        env=environment_of(
            desk.place,
            PYTHONPATH=str(ROOT),
            LIQCTL_RPC_URL=desk.chain.ready["rpc_url"],
            LIQCTL_KEYPAIR=str(desk.key),
        ),
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert {" ".join(c): n for c, n in zip(quiet + loud, counts, strict=True) if n} == {
        " ".join(command): 1 for command in loud
    }


@pytest.mark.parametrize(
    "command",
    [
        ("scan", "--dry-run"),
        ("watch", "--dry-run", "--duration", "0"),
        ("queue",),
        ("config", "show"),
    ],
)
def test_a_program_that_signs_is_not_started_where_nothing_is_signed(desk, command):
    desk.run("scan")

    done = desk.run(*command, "-k", f"exec:/bin/touch {desk.place / 'started'}")

    assert done.code == 0, done
    assert not (desk.place / "started").exists()


def test_a_position_is_liquidated_with_a_key_that_liqctl_never_sees(desk):
    row = desk.run("scan", "-n", "--json").json["liquidatable"][-1]

    done = desk.run("liquidate", row["position"], "--yes", "-k", external(desk))

    assert done.code == 0, done
    assert "liquidated (" in done.out
    with closing(sqlite3.connect(desk.database)) as db:
        ((liquidator,),) = db.execute("SELECT liquidator_pubkey FROM liquidations").fetchall()
    assert liquidator == str(liquidator_key(1).pubkey())


def test_a_scan_liquidates_with_an_external_signer(desk):
    found = desk.run("scan", "-n", "--json").json["liquidatable"]

    done = desk.run("scan", "--liquidate", "--yes", "--limit", "2", "-k", external(desk), "--json")

    assert done.code == 0, done
    assert len(found) >= 2
    assert [line["result"] for line in done.lines[1:]] == ["landed", "landed"]


def test_the_keeper_works_with_an_external_signer_and_ends_it(tmp_path):
    with chain() as running:
        desk = Desk(place=tmp_path, chain=running)
        running.price("SOL", 990_000)

        done = desk.run("watch", "--duration", "2", "--json", "-k", external(desk))

    assert done.code == 0, done
    summary = done.lines[-1]
    assert summary["type"] == "summary"
    assert summary["liquidated_full"] + summary["liquidated_partial"] > 0
    assert summary["verified_on_chain"] is True


def test_a_signer_with_a_wrong_signature_lets_nothing_out(desk):
    row = desk.run("scan", "-n", "--json").json["liquidatable"][-1]
    wrong = f"exec:{sys.executable} {SIGNING} wrong_key {desk.key}"

    done = desk.run("liquidate", row["position"], "--yes", "-k", wrong)

    assert (done.code, done.err.count("\n")) == (7, 1)
    assert f"gave a signature that is not of {liquidator_key(1).pubkey()}" in done.err
    with closing(sqlite3.connect(desk.database)) as db:
        assert db.execute("SELECT count(*) FROM attempt").fetchone() == (0,)


@pytest.mark.parametrize(
    ("how", "state", "said"),
    [
        ("well", "ok", "a trial was verified"),
        ("refuse_odd", "warn", "refuses to sign"),
        ("wrong_key", "fail", "gave a signature that is not of"),
        ("exit_at_start", "fail", "ended before it said whom it signs for"),
    ],
)
def test_doctor_tries_an_external_signer(desk, how, state, said):
    done = desk.run("doctor", "--json", "-k", f"exec:{sys.executable} {SIGNING} {how} 7")

    (key,) = [one for one in done.json["checks"] if one["name"] == "key"]
    assert key["state"] == state
    assert said in key["found"]


def wait_until_read(pipe: int) -> None:
    """Return when somebody has read what was written."""
    end = time.monotonic() + 15
    while struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"0000"))[0]:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize("command", ["watch", "scan --liquidate --yes"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_wait_for_a_key_on_standard_input(desk, command, number, code):
    reading, writing = os.pipe()
    os.write(writing, b" ")
    options = (*desk.chain.where, "-k", "stdin:")
    with desk.start(*command.split(), *options, stdin=reading) as child:
        wait_until_read(writing)
        child.send_signal(number)
        out, err = child.communicate(timeout=5)
    os.close(reading)
    os.close(writing)

    assert (child.returncode, out, err) == (code, "", "")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_wait_for_a_seed_phrase(desk, number, code):
    ours, theirs = pty.openpty()
    streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "start_new_session": True}
    options = (*desk.chain.where, "-k", "prompt:")
    with desk.start("watch", *options, **streams) as child:
        shown = b""
        while b"seed phrase: " not in shown:
            assert select.select([ours], [], [], 15)[0], shown
            shown += os.read(ours, 4_096)
        child.send_signal(number)
        ended = child.wait(5)
    os.close(ours)
    os.close(theirs)

    assert (ended, b"Traceback" in shown) == (code, False)


def test_a_key_on_the_command_line_is_refused_and_not_repeated(tmp_path):
    key = Keypair()
    for secret in (str(key), json.dumps(list(bytes(key))), bytes(key).hex()):
        for command in (["watch"], ["config", "show"], ["doctor"], ["scan", "--dry-run"]):
            done = inside(tmp_path, *command, "-k", secret)

            assert (done.code, done.out) == (2, "")
            assert done.err.startswith("liqctl: --keypair is to name the key, and holds the key")
            assert done.err.count("\n") == 1
            assert secret[:20] not in done.err
        assert inside(tmp_path, "config", "show", LIQCTL_KEYPAIR=secret).code == 2
        stray = inside(tmp_path, secret)
        assert stray.code == 2
        assert secret[:20] not in stray.err
