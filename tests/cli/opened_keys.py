"""Runs commands and counts how often each opens a file: `python opened_keys.py FILE COMMANDS`."""

import json
import sys
from pathlib import Path

from typer.testing import CliRunner

from liqctl.cli import app


def main(path: str, commands: list[list[str]]) -> None:
    """Print one count for each command, in their order."""
    name = Path(path).name
    opened: list[object] = []

    def look(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and str(arguments[0]).endswith(f"/{name}"):
            opened.append(arguments[0])

    sys.addaudithook(look)
    counts = []
    for command in commands:
        before = len(opened)
        done = CliRunner().invoke(app, command, prog_name="liqctl")
        sys.stderr.write(f"{command}: {done.exit_code}\n{done.stderr}")
        counts.append(len(opened) - before)
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    main(sys.argv[1], json.loads(sys.argv[2]))
