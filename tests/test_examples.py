import base64
import json
import re
import shlex
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest
from solders.keypair import Keypair

from liqctl.config import Files, load
from liqctl.core.guards import (
    SIGNATURE_FEE_LAMPORTS,
    TOKEN_ACCOUNT_RENT_LAMPORTS,
)

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str) -> str:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_liquidation_price_example_shows_every_kind_of_verdict():
    lines = run("liquidation_price.py").splitlines()

    assert lines[0] == "liquidatable at 142.105263 and below"
    assert lines[1].endswith("healthy")
    assert "partial" in lines[2]
    assert "full" in lines[4]
    assert "bad debt 0.0" not in lines[5]


def test_the_audit_example_covers_every_position():
    first, *findings = run("audit_localnet.py").splitlines()

    assert re.fullmatch(r"slot \d+: 300 of 300 positions evaluated", first)
    assert findings
    assert all("health" in line for line in findings)


def test_the_signer_example_says_who_it_is_signs_and_ends_with_its_input(tmp_path):
    key, message = Keypair(), b"message"
    path = tmp_path / "id.json"
    path.write_text(json.dumps(list(bytes(key))))
    questions = [
        {"id": 1, "message": base64.b64encode(message).decode()},
        {"id": 2, "message": ""},
    ]

    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "external_signer.py"), str(path)],
        input="".join(json.dumps(each) + "\n" for each in questions),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert [json.loads(line) for line in done.stdout.splitlines()] == [
        {"type": "signer", "pubkey": str(key.pubkey())},
        {"id": 1, "signature": str(key.sign_message(message))},
        {"id": 2, "error": "this is no transaction"},
    ]


ANALYZE = shutil.which("systemd-analyze")
UNITS = sorted(EXAMPLES.glob("*.service"))


def test_the_settings_example_is_taken_and_its_hour_is_what_its_comment_says():
    file = EXAMPLES / "liqctl.toml"
    loaded = load({}, {}, Files(env_file=None, own=(file,), solana=Path("/nonexistent")))
    settings = loaded.settings

    cost = settings.priority_fee_lamports + SIGNATURE_FEE_LAMPORTS
    assert settings.spend_hour_lamports // cost == 24
    assert settings.spend_hour_lamports // (cost + TOKEN_ACCOUNT_RENT_LAMPORTS) == 2
    assert (settings.max_in_flight, settings.shadow_rate) == (1, 0.1)
    assert "24 transactions" in file.read_text()


def unit(path: Path) -> tuple[list[str], dict[str, str]]:
    """Return the command of a unit and its other settings; of those that come twice, the last."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(path)
    service = dict(parser["Service"])
    return shlex.split(service.pop("ExecStart")), service


@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_a_unit_runs_a_command_that_understands_its_options(path):
    (program, command, *options), service = unit(path)
    known = subprocess.run(
        [sys.executable, "-m", "liqctl", command, "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout

    assert program == "/opt/liqctl/bin/liqctl"
    assert {word for word in options if word.startswith("-")} <= set(
        re.findall(r"--[a-z-]+", known)
    )
    assert service["RestartPreventExitStatus"] == "2"
    assert int(service["TimeoutStopSec"]) > 10


@pytest.mark.skipif(ANALYZE is None, reason="it is systemd's own check")
@pytest.mark.parametrize("path", UNITS, ids=lambda path: path.name)
def test_systemd_understands_a_unit(path, tmp_path):
    copy = tmp_path / path.name
    copy.write_text(path.read_text().replace("/opt/liqctl/bin/liqctl", sys.executable))

    done = subprocess.run(
        [str(ANALYZE), "verify", "--man=no", str(copy)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
