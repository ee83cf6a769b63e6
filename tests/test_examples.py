import re
import subprocess
import sys
from pathlib import Path

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
