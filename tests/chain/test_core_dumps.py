"""A process with a key in it leaves no core dump. Run before the tests that load one."""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from solders.keypair import Keypair

ROOT = Path(__file__).parents[2]
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "id.json"
    path.write_text(json.dumps(list(bytes(Keypair()))))
    path.chmod(0o600)
    return path


CRASH = """
import os, resource, sys
from solders.keypair import Keypair
from liqctl.chain.wallet import load_signer
hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
if sys.argv[1:]:
    load_signer(sys.argv[1])
print(*resource.getrlimit(resource.RLIMIT_CORE), flush=True)
os.abort()
"""


def crash(place: Path, *arguments: Path) -> tuple[list[str], list[Path]]:
    """Let a program end by SIGABRT; return what it said, and the files that it left behind."""
    place.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", CRASH, *map(str, arguments)],
        cwd=place,
        env={"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGABRT, done.stderr
    return done.stdout.split(), list(place.iterdir())


def test_a_crash_with_a_loaded_key_leaves_no_core_dump(key_file, tmp_path):
    limits, left = crash(tmp_path / "loaded", key_file)

    assert (limits, left) == (["0", "0"], [])


@pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc are of Linux")
def test_memory_with_a_key_is_closed_to_dumps_that_are_piped_and_to_debuggers(key_file):
    code = (
        "import ctypes, sys\nfrom liqctl.chain.wallet import load_signer\n"
        "def dumpable(): return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)\n"
        "before = dumpable()\nload_signer(sys.argv[1])\nprint(before, dumpable())"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, str(key_file)],
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout == "1 0\n"


def test_the_same_crash_without_a_key_does_leave_one(tmp_path):
    if not CORE_PATTERN.exists() or CORE_PATTERN.read_text() != "core\n":
        pytest.skip("this kernel puts core dumps elsewhere")
    if resource.getrlimit(resource.RLIMIT_CORE)[1] == 0:
        pytest.skip("an earlier test loaded a key, which cannot be undone")

    _, left = crash(tmp_path / "plain")

    assert [path.name.startswith("core") for path in left] == [True]
    left[0].unlink()
