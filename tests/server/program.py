"""`liqctl serve` as a program of its own, which ends if anything opens the key."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

# An exception in an audit hook is raised where the file is opened.
GUARDED = """
import sys
def look(event, arguments):
    if event == "open" and str(arguments[0]).endswith("liquidator.json"):
        raise SystemExit("the key was opened")
sys.addaudithook(look)
from liqctl.__main__ import main
main()
"""
WAIT_S = 20


@dataclass(frozen=True, slots=True)
class Program:
    """A server that listens."""

    process: subprocess.Popen[str]
    url: str

    def get(self, path: str) -> httpx.Response:
        return httpx.get(self.url + path, timeout=WAIT_S)

    def end(self) -> int:
        """Return the exit code of a program that was told to stop."""
        return self.process.wait(WAIT_S)


def started(place: Path, *options: str, **environment: str) -> subprocess.Popen[str]:
    """Start the program in a folder with nothing of the tests' environment."""
    key = place / "liquidator.json"
    key.write_text("no key")
    return subprocess.Popen(
        [sys.executable, "-c", GUARDED, "serve", "--json", *options],
        cwd=place,
        env={
            "HOME": str(place),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "LIQCTL_KEYPAIR": str(key),
            "DATABASE_URL": "sqlite:api.db",
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def serving(place: Path, *options: str, **environment: str) -> Iterator[Program]:
    """Run the program on a free port until the block ends."""
    process = started(place, *options, **environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate(timeout=WAIT_S)[1]
        ready = json.loads(line)
        assert ready["type"] == "ready"
        yield Program(process, ready["url"])
    finally:
        process.terminate()
        process.communicate(timeout=WAIT_S)
