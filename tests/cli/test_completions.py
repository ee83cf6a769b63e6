"""The scripts in completions/ are what the program prints, and they work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from liqctl.cli import COMMANDS

BASH = shutil.which("bash") or ""
ROOT = Path(__file__).parents[2]
SCRIPTS = {"bash": "bash", "zsh": "zsh", "fish": "fish", "ps1": "powershell"}


def liqctl(tmp_path: Path, **variables: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "liqctl"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize("ending", SCRIPTS)
def test_the_committed_script_is_the_one_that_the_program_prints(ending, tmp_path):
    printed = liqctl(tmp_path, _LIQCTL_COMPLETE=f"source_{SCRIPTS[ending]}")

    assert (ROOT / "completions" / f"liqctl.{ending}").read_text() == printed


def test_every_command_is_offered(tmp_path):
    offered = liqctl(
        tmp_path, _LIQCTL_COMPLETE="complete_bash", COMP_WORDS="liqctl ", COMP_CWORD="1"
    )

    assert offered.split() == list(COMMANDS)


def test_options_of_a_command_are_offered(tmp_path):
    offered = liqctl(
        tmp_path,
        _LIQCTL_COMPLETE="complete_bash",
        COMP_WORDS="liqctl config show --or",
        COMP_CWORD="3",
    )

    assert offered.split() == ["--origin"]


@pytest.mark.skipif(not BASH, reason="bash is not installed")
def test_bash_completes_a_command(tmp_path):
    command = tmp_path / "liqctl"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m liqctl "$@"\n')
    command.chmod(0o755)
    press_tab = """
        source "$1"
        COMP_WORDS=(liqctl s) COMP_CWORD=1
        "$(complete -p liqctl | sed 's/.*-F \\([^ ]*\\).*/\\1/')" liqctl s liqctl
        printf '%s\\n' "${COMPREPLY[@]}"
    """

    run = subprocess.run(
        [
            BASH,
            "--noprofile",
            "--norc",
            "-c",
            press_tab,
            "tab",
            str(ROOT / "completions/liqctl.bash"),
        ],
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert run.stdout.split() == ["scan", "serve"]
