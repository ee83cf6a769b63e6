"""A command run in an empty home, and the addresses of its rows."""

import json
from typing import Any

from solders.pubkey import Pubkey
from typer.testing import CliRunner, Result

from liqctl.cli import app

FIRST, SECOND, THIRD, ABSENT = (str(Pubkey(bytes([n]) * 32)) for n in (1, 2, 3, 9))


def run(*arguments: str) -> Result:
    """Return what `liqctl` with these arguments printed, and how it ended."""
    return CliRunner().invoke(app, list(arguments), prog_name="liqctl")


def answers(*arguments: str) -> list[dict[str, Any]]:
    """Return the JSON lines of a command that must succeed."""
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]
