"""`liqctl dev chaos-proxy`: the ready line, the summary, the list, bad options, how it ends."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from liqctl.cli import app
from liqctl.sim.chaos.faults import Fault
from liqctl.sim.chaos.profiles import PROFILES

ROOT = Path(__file__).parents[2]
COMMAND = ("dev", "chaos-proxy")
NOBODY = ("--upstream", "http://127.0.0.1:1/SECRETPATH?api-key=SECRETKEY")


def inside(*options: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [*COMMAND, *options], prog_name="liqctl")
    return done.exit_code, done.stdout, done.stderr


def started(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "liqctl", *COMMAND, *NOBODY, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def ask(url: str, count: int) -> None:
    for number in range(count):
        request = {"jsonrpc": "2.0", "id": number, "method": "getSlot"}
        httpx.post(url, json=request, trust_env=False, timeout=5)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_where_it_listens_and_at_the_end_what_it_did(number):
    options = ("--profile", "rate-limited", "--rate", "retry_after=0", "--rate", "rate_limited=100")
    with started(*options, "--seed", "7", "--json") as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        ready: dict[str, Any] = json.loads(first)
        ask(ready["rpc_url"], 3)
        child.send_signal(number)
        out, err = child.communicate(timeout=10)

    summary = json.loads(out)
    assert child.returncode == 0
    assert (ready["type"], ready["profile"], ready["seed"]) == ("ready", "rate-limited", 7)
    assert ready["rates"] == {"rate_limited": 100}
    port = int(ready["rpc_url"].removeprefix("http://127.0.0.1:"))
    assert ready["ws_url"] == f"ws://127.0.0.1:{port + 1}"
    assert (summary["type"], summary["requests"], summary["faults"]) == ("summary", 3, 3)
    assert summary["requests_by_method"] == {"getSlot": 3}
    assert summary["faults_by_method"] == {"rate_limited": {"getSlot": 3}}
    assert (err, "SECRET" in first + out) == ("", False)


def test_people_get_one_line_and_a_table_and_no_secret():
    with started("--profile", "calm", "--rate", "reset=0") as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        ask(first.split()[3], 2)
        child.terminate()
        out, err = child.communicate(timeout=10)

    assert first.startswith("calm (seed 1): http://127.0.0.1:")
    assert "before http://127.0.0.1:1/…" in first
    assert out == (
        "2 calls in 2 requests, 0 frames on 0 sockets, 0 faults, 2 failures of the node itself\n"
    )
    assert (err, "SECRET" in first + out) == ("", False)


def test_it_ends_by_itself_after_its_duration():
    code, out, _ = inside(*NOBODY, "--profile", "flaky", "--duration", "0", "--json")

    assert code == 0
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["ready", "summary"]


def test_profiles_and_faults_are_listed():
    code, text, _ = inside("--list-profiles")
    _, line, _ = inside("--list-profiles", "--json")

    listed = json.loads(line)
    assert code == 0
    assert {each["name"]: each["rates"] for each in listed["profiles"]} == {
        name: dict(profile.rates) for name, profile in PROFILES.items()
    }
    assert [each["kind"] for each in listed["faults"]] == list(Fault)
    assert all(f"\n{name} " in f"\n{text}" for name in (*PROFILES, *Fault))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "--upstream and --profile are needed"),
        (("--profile", "calm"), "--upstream and --profile are needed"),
        ((*NOBODY, "--profile", "sunny"), "choose one of calm"),
        ((*NOBODY, "--profile", "calm", "--rate", "rain=5"), "choose one of reset"),
        ((*NOBODY, "--profile", "calm", "--rate", "reset=500"), "0 to 100 percent"),
        (("--upstream", "http://rpc.example/SECRET", "--profile", "calm"), "not encrypted"),
        (("--upstream", "rpc.example/SECRET", "--profile", "calm"), "URL"),
        ((*NOBODY, "--upstream-ws", "http://x/SECRET", "--profile", "calm"), "ws://"),
        ((*NOBODY, "--profile", "calm", "--port", "65535"), "no port follows 65535"),
        ((*NOBODY, "--profile", "calm", "--duration", "nan"), "--duration"),
    ],
)
def test_bad_options_end_it_with_one_line(options, told):
    code, out, err = inside(*options)

    assert (code, out) == (2, "")
    assert told in err
    assert len(err.splitlines()) == 1
    assert "SECRET" not in err
