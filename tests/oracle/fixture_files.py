"""Real account data beside the checkout; tests that need it are skipped where it is missing."""

import base64
import json
import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
ROOT = Path(os.environ.get("LIQCTL_FIXTURES", CHECKOUT.parent / "shared" / "fixtures"))


def fixture_path(name: str) -> Path:
    """Return the path of a fixture, or skip the test that asks."""
    path = ROOT / name
    if not path.exists():
        pytest.skip(f"no fixture {name}: set LIQCTL_FIXTURES")
    return path


def account_bytes(name: str) -> bytes:
    """Return the account data of a .bin file, or of the JSON that `solana account` prints."""
    path = fixture_path(name)
    if path.suffix == ".json":
        return base64.b64decode(json.loads(path.read_text())["account"]["data"][0])
    return path.read_bytes()
