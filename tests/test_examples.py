import base64
import json
import re
import subprocess
import sys
from pathlib import Path

from solders.keypair import Keypair

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
