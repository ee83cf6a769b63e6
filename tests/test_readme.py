"""Every console block of the README is run, in order, against an embedded chain."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from liqctl.cli import COMMANDS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
STEP = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
FALL = "unix_ms_offset,symbol,price\n0,SOL,150\n400,SOL,140\n600000,SOL,140\n"


def matches(expected: str, actual: str) -> bool:
    """Whether the text is the expected one, where `...` stands for any text."""
    pattern = ".*".join(map(re.escape, expected.split("...")))
    return re.fullmatch(pattern, actual, re.DOTALL) is not None


@pytest.fixture
def chain(tmp_path):
    (tmp_path / "fall.csv").write_text(FALL)
    options = "--positions 60 --seed 1 --port 0 --start-delay 0 --path fall.csv"
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "liqctl", "localnet", "--json", "--exit-with-stdin"),
            *("--keypair-out", "liquidator.json", *options.split()),
        ],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        yield json.loads(child.stdout.readline())
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait(timeout=10)
        child.stdout.close()


def wait_for_the_fall(environment: dict[str, str], place: Path) -> None:
    for _ in range(60):
        found = run("liqctl scan --dry-run --json", environment, place)
        if '"price_e6":140000000' in found.stdout:
            return
    raise AssertionError("the price did not fall")


def run(command: str, environment: dict[str, str], place: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command.replace("\\\n", " "))
    assert words[0] == "liqctl"
    return subprocess.run(
        [sys.executable, "-m", "liqctl", *words[1:]],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_there_is_a_console_session_and_the_two_commands():
    assert BLOCKS
    assert "make demo" in README
    assert "make test" in README


@pytest.mark.timeout(120)
def test_the_console_session_is_true(chain, tmp_path, monkeypatch):
    import os

    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LIQCTL_")},
        "HOME": str(tmp_path),
        "LIQCTL_RPC_URL": chain["rpc_url"],
        "LIQCTL_WS_URL": chain["ws_url"],
        "LIQCTL_KEYPAIR": "liquidator.json",
        "LIQCTL_LOG_LEVEL": "error",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }
    wait_for_the_fall(environment, tmp_path)
    for block in BLOCKS:
        code = 0
        steps = STEP.findall(block)
        for number, (command, expected) in enumerate(steps):
            if command == "echo $?":
                assert expected.strip() == str(code)
                continue
            done = run(command, environment, tmp_path)
            code = done.returncode
            explained = number + 1 < len(steps) and steps[number + 1][0] == "echo $?"
            assert code == 0 or explained, f"{command}: {code}, {done.stderr}"
            assert matches(expected, done.stdout), f"{command}:\n{done.stdout}\n{done.stderr}"


def test_every_command_is_in_the_readme_with_its_first_line():
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", README, re.MULTILINE), name


def test_the_matcher_is_strict_outside_the_dots():
    assert matches("a ... c\n", "a b c\n")
    assert not matches("a ... c\n", "a b d\n")
    assert not matches("a\n", "a\nb\n")
