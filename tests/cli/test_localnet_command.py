"""`liqctl localnet`: the ready line, the key file, bad options, and how it ends."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from solders.keypair import Keypair

ROOT = Path(__file__).parents[2]


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "liqctl", "localnet", *options]


def run(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*options), capture_output=True, text=True, timeout=30, check=False, cwd=ROOT
    )


@contextmanager
def running(*options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    with subprocess.Popen(
        command("--port", "0", "--json", "--exit-with-stdin", "--positions", "3", *options),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as child:
        assert child.stdout is not None
        try:
            yield child, json.loads(child.stdout.readline())
        finally:
            child.kill()


def ask(ready: dict[str, Any], method: str, *params: object) -> Any:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return httpx.post(ready["rpc_url"], json=request).json()["result"]


def test_the_ready_line_names_a_chain_that_answers_and_standard_input_ends_it(tmp_path):
    key = tmp_path / "key.json"
    with running("--keypair-out", str(key)) as (child, ready):
        owner = Keypair.from_bytes(bytes(json.loads(key.read_text())))
        balance = ask(ready, "getBalance", str(owner.pubkey()))["value"]
        program = ask(ready, "getAccountInfo", ready["program_id"], {"encoding": "base64"})
        rest, _ = child.communicate(timeout=10)

    assert list(ready) == [
        "type", "rpc_url", "ws_url", "program_id", "idl", "markets", "insurance_fund", "mint",
        "keypair", "positions", "seed",
    ]  # fmt: skip
    assert (ready["type"], ready["positions"], ready["seed"]) == ("ready", 3, 1)
    assert [market["symbol"] for market in ready["markets"]] == ["SOL", "BTC", "ETH"]
    assert json.loads(Path(ready["idl"]).read_text())["address"] == ready["program_id"]
    assert program["value"]["executable"]
    assert balance == 100 * 10**9
    assert ready["keypair"] == str(key)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert (rest, child.returncode) == ("", 0)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_cleanly(number):
    with running() as (child, _):
        child.send_signal(number)
        assert child.wait(10) == 0


def test_a_key_file_that_is_there_is_used_and_not_changed(tmp_path):
    key, own = tmp_path / "key.json", Keypair()
    key.write_text(json.dumps(list(bytes(own))))
    key.chmod(0o600)
    before = key.read_bytes()
    with running("--keypair-out", str(key)) as (_, ready):
        balance = ask(ready, "getBalance", str(own.pubkey()))["value"]

    assert balance == 100 * 10**9
    assert key.read_bytes() == before


def test_a_file_that_is_no_key_file_is_refused_and_kept(tmp_path):
    diary = tmp_path / "diary.txt"
    diary.write_text("dear diary")
    diary.chmod(0o600)
    done = run("--port", "0", "--keypair-out", str(diary))

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "holds no key" in done.stderr
    assert diary.read_text() == "dear diary"


@pytest.mark.parametrize("output", [("--json",), ()], ids=["json", "text"])
def test_a_reader_that_has_left_ends_it_quietly(output):
    reading, writing = os.pipe()
    os.close(reading)
    options = ("--port", "0", "--positions", "3", "--duration", "20", *output)
    with os.fdopen(writing, "w") as nowhere:
        done = subprocess.run(
            command(*options),
            stdout=nowhere,
            stderr=subprocess.PIPE,
            text=True,
            timeout=15,
            check=False,
            cwd=ROOT,
        )

    assert (done.returncode, done.stderr) == (1, "")


def test_a_port_in_use_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("--positions", "0", "--port", port)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert port in done.stderr


@pytest.mark.parametrize(
    "options, named",
    [
        (("--positions", "-1"), "--positions"),
        (("--markets", "9"), "--markets"),
        (("--port", "65536"), "--port"),
        (("--path", "missing.csv"), "missing.csv"),
        (("--accounts", "missing"), "missing"),
    ],
)
def test_a_wrong_option_is_one_line_and_exit_code_2(options, named):
    done = run(*options)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert named in done.stderr


def test_it_tells_people_how_to_use_the_chain(tmp_path):
    key = tmp_path / "my key.json"
    done = run("--port", "0", "--positions", "3", "--duration", "0.1", "--keypair-out", str(key))

    assert (done.returncode, done.stderr) == (0, "")
    assert "liqctl watch -u http://127.0.0.1:" in done.stdout
    assert f"-k '{key}'" in done.stdout


def test_what_it_says_to_people_has_commands_to_copy_and_no_escape_sequence():
    done = run("--port", "0", "--positions", "3", "--duration", "0")

    lines = done.stdout.splitlines()
    assert done.returncode == 0
    assert "\\" not in done.stdout
    assert lines.index("In another terminal:") == lines.index("") + 1
    assert any(line.startswith("  liqctl scan -u http://127.0.0.1:") for line in lines)
