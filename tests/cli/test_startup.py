"""What a fresh interpreter loads: the gate is a set of modules, not a time."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from liqctl.cli import COMMANDS

ROOT = Path(__file__).parents[2]
HEAVY = {
    "anchorpy", "solana", "solders", "numpy", "httpx", "fastapi",
    "uvicorn", "websockets", "sqlite_utils", "pythclient", "psycopg", "pydantic",
    "pydantic_settings", "msgspec", "structlog", "apprise", "plotext", "rich",
}  # fmt: skip
CHAIN = {"anchorpy", "solana", "solders", "httpx", "websockets", "numpy", "sqlite_utils"}
EXISTING = [name for name, (module, _) in COMMANDS.items() if importlib.util.find_spec(module)]


def loaded_by(code: str, tmp_path: Path) -> set[str]:
    """Return the top-level modules that a fresh interpreter has loaded after the code."""
    report = f"{code}\nimport sys\nprint('LOADED', *{{m.partition('.')[0] for m in sys.modules}})"
    run = subprocess.run(
        [sys.executable, "-c", report],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COVERAGE_PROCESS_START": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(run.stdout.rpartition("LOADED")[2].split())


def invoke(*arguments: str) -> str:
    return (
        "from liqctl.cli import app\n"
        f"try: app({list(arguments)!r}, prog_name='liqctl')\n"
        "except SystemExit as end: assert not end.code, end.code\n"
    )


@pytest.mark.parametrize(
    "code",
    ["import liqctl.cli", "import liqctl.__main__", invoke("--help"), invoke("--version")],
    ids=["import", "main", "help", "version"],
)
def test_the_root_loads_nothing_heavy(code, tmp_path):
    assert loaded_by(code, tmp_path) & HEAVY == set()


@pytest.mark.parametrize("name", EXISTING)
def test_the_help_of_a_command_loads_no_chain_library(name, tmp_path):
    assert loaded_by(invoke(name, "--help"), tmp_path) & CHAIN == set()


def test_the_probe_sees_what_is_loaded(tmp_path):
    assert {"httpx", "solders"} <= loaded_by("import httpx, solders.pubkey", tmp_path)
