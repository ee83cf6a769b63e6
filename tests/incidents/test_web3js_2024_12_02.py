"""2 December 2024: two releases of a Solana library sent the keys they met to a stranger.

For five hours 1.95.6 and 1.95.7 of @solana/web3.js were what the package registry gave to everybody
who had not pinned a version; the key of whoever published it had been phished.
Source: GitHub advisory GHSA-jcxm-7wvp-g6p5 and the maintainers' report.

Here whatever is installed must match a hash that was written down before; the secret key is held by
one module, and no library that decodes accounts ever meets it; importing the program opens no
connection, and the modules that can open one are few and listed.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "liqctl"
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
REQUIREMENT = re.compile(r"^[A-Za-z0-9].*?(?=^[A-Za-z0-9]|\Z)", re.MULTILINE | re.DOTALL)
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}\b")
# The clients of nodes, of Hermes, of a database server and of the receivers of alerts. What serves an
# embedded or simulated chain or the API, and what measures that, is no part of a keeper.
EGRESS = {
    *("chain/rpc.py", "chain/hot_wire.py", "chain/stream.py", "oracle/hermes_http.py"),
    *("alerts/channels.py", "store/changes.py"),
    *("store/postgres.py", "store/postgres_errors.py"),
    *("store/postgres_link.py", "store/postgres_schema.py", "store/postgres_url.py"),
}
SERVERS = ("localnet/", "sim/", "server/", "cli/bench_")
OPENERS = {
    *("httpx", "websockets", "socket", "aiohttp", "requests", "urllib.request", "http.client"),
    *("psycopg", "apprise", "smtplib"),
}
CALLS = {"open_connection", "create_connection", "open_unix_connection"}
# One signs; the other knows a key when it sees one, to take it out of a text.
HOLDERS = {"chain/wallet.py", "cli/redact.py"}
PROBE = """
import importlib, pathlib, socket, sys
def refuse(*_, **__):
    raise SystemExit("a module opened a connection while it was imported")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
root = pathlib.Path("liqctl")
for path in sorted(root.rglob("*.py")):
    if path.stem != "__main__":
        importlib.import_module(".".join(path.with_suffix("").parts).removesuffix(".__init__"))
print(len(sys.modules))
"""


@pytest.fixture(scope="module")
def names():
    """What each module of the keeper imports, and the attributes that it uses."""
    found: dict[str, set[str]] = {}
    for path in PACKAGE.rglob("*.py"):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(SERVERS):
            found[name] = set(_names(ast.parse(path.read_text(encoding="utf-8"))))
    return found


def _names(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                yield from (alias.name for alias in aliases)
            case ast.ImportFrom(module=str(module), names=aliases):
                yield module
                yield from (f"{module}.{alias.name}" for alias in aliases)
            case ast.Attribute(attr=attribute):
                yield f".{attribute}"
            case _:
                pass


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_requirement_is_one_version_with_hashes(lock):
    requirements = REQUIREMENT.findall(lock.read_text(encoding="utf-8"))

    assert len(requirements) > 20
    assert [one for one in requirements if "==" not in one or not HASH.search(one)] == []


def test_nothing_is_installed_without_its_hash():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = [line for line in makefile.splitlines() if re.search(r"install .*(-r|-e) ", line)]

    assert len(installs) >= 3
    assert [
        one for one in installs if "--require-hashes" not in one and "--no-index" not in one
    ] == []


def test_what_is_installed_is_the_lock_and_no_later_release():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    installs = [line for line in makefile.splitlines() if "-r requirements/" in line]

    assert len(installs) == 2
    assert [one for one in installs if "--no-deps" not in one] == []


def test_the_secret_key_is_met_by_two_modules_and_no_decoder(names):
    holders = {name for name, used in names.items() if "solders.keypair.Keypair" in used}
    decoders = {name for name, used in names.items() if used & {"anchorpy", "pythclient"}}

    assert holders == HOLDERS
    assert not holders & decoders


def test_the_modules_that_can_open_a_connection_are_those_of_the_list(names):
    openers = {
        name
        for name, used in names.items()
        if any(one.startswith(tuple(OPENERS)) for one in used)
        or any(f".{call}" in used for call in CALLS)
    }

    assert openers == EGRESS


def test_importing_every_module_opens_no_connection():
    run = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert (run.returncode, run.stderr) == (0, "")
    assert int(run.stdout) > 300
