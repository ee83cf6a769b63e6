"""Planted secrets, and a search for them in everything that runs of the real program leave behind.

`python -m tests.canary [ROUNDS]` runs every scene and prints what was searched; it ends with 1 on a hit.
"""

import base64
import contextlib
import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

from solders.keypair import Keypair

from liqctl.chain.base58 import encode
from liqctl.localnet.scenario import liquidator_key
from tests.cli.chain_fixture import PROGRAM, ROOT, Chain, Run, chain, environment_of, inside

SIGNING = ROOT / "tests" / "chain" / "signing_program.py"
FRAGMENT_NUMBERS = 6
FRAGMENT_LETTERS = 16
LOOKS_PER_S = 40


@dataclass(frozen=True, kw_only=True)
class Canary:
    """One secret and every spelling of it that would give it away."""

    name: str
    forms: tuple[bytes, ...]

    def found_in(self, content: bytes) -> bool:
        """Whether one of the spellings is there."""
        return any(form in content for form in self.forms)


def canary_of_key(name: str, key: Keypair) -> Canary:
    """Return the canary of a key: its beginning in each spelling, so that a cut-off text counts.

    The public half alone is no secret: each form lies within the secret half, or in base58
    depends on it.
    """
    whole, seed = bytes(key), bytes(key)[:32]
    numbers = [str(each) for each in seed[:FRAGMENT_NUMBERS]]
    texts = {
        ", ".join(numbers),
        ",".join(numbers),
        " ".join(numbers),
        "\n".join(numbers),
        seed.hex(),
        seed.hex().upper(),
        seed.hex(" "),
        base64.b64encode(seed).decode(),
        base64.urlsafe_b64encode(seed).decode(),
        encode(whole),
        encode(seed),
    }
    shown = repr(seed[:8])[2:-1]
    return Canary(
        name=name,
        forms=(
            seed[:8],
            shown.encode(),
            *(t[: max(FRAGMENT_LETTERS, len(",".join(numbers)))].encode() for t in sorted(texts)),
        ),
    )


def canary_of_text(name: str, text: str) -> Canary:
    """Return the canary of a token or password, plain and as it would stand in a header."""
    hidden = {base64.b64encode(lead + text.encode())[8:-4] for lead in (b"abc", b"abcd", b"abcde")}
    return Canary(name=name, forms=(text.encode(), text.encode().hex().encode(), *sorted(hidden)))


@dataclass(kw_only=True)
class Secrets:
    """What is planted in one round."""

    key: Keypair = field(default_factory=lambda: liquidator_key(1))
    other_key: Keypair = field(default_factory=Keypair)
    user: str = field(default_factory=lambda: f"Usr{token_hex(6)}")
    password: str = field(default_factory=lambda: f"Pwd{token_hex(6)}")
    path: str = field(default_factory=lambda: f"Pth{token_hex(6)}")
    query: str = field(default_factory=lambda: f"Qry{token_hex(6)}")
    database: str = field(default_factory=lambda: f"Dbp{token_hex(6)}")

    def canaries(self) -> list[Canary]:
        """Return all of them, ready to be searched for."""
        texts = {name: value for name, value in vars(self).items() if isinstance(value, str)}
        return [
            canary_of_key("key", self.key),
            canary_of_key("other key", self.other_key),
            *(canary_of_text(name, text) for name, text in texts.items()),
        ]

    def url(self, plain: str) -> str:
        """Return a URL with a user, a password, a path and a query."""
        parts = urlsplit(plain)
        where = f"{self.user}:{self.password}@{parts.netloc}/v2/{self.path}"
        return f"{parts.scheme}://{where}?api-key={self.query}"

    def paths(self, place: Path) -> dict[str, Path]:
        """Write the key files, good and bad, and return them by name; they are not searched."""
        whole, seed = list(bytes(self.key)), list(bytes(self.key)[:32])
        contents = {
            "good": json.dumps(whole),
            "damaged": json.dumps(seed + list(bytes(self.other_key)[32:])),
            "short": json.dumps(whole[:63]),
            "base58": str(self.key),
            "hex": bytes(self.key).hex(),
            "raw": bytes(self.key).decode("latin-1"),
            "open": json.dumps(whole),
        }
        folder = place / "keys"
        folder.mkdir(mode=0o700)
        for name, content in contents.items():
            (folder / name).write_text(content, encoding="latin-1")
            (folder / name).chmod(0o644 if name == "open" else 0o600)
        return {name: folder / name for name in contents}


class Evidence:
    """Everything that was left behind, by name; something empty proves nothing and is refused."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.artefacts: dict[str, bytes] = {}

    def add(self, name: str, content: bytes) -> None:
        """Keep an artefact."""
        if not content:
            raise AssertionError(f"{name} is empty, so nothing was searched")
        self.artefacts[name] = content

    def hits(self, canaries: Iterable[Canary]) -> list[str]:
        """Return what was found where, without repeating it."""
        return [
            f"{canary.name} in {name}"
            for name, content in self.artefacts.items()
            for canary in canaries
            if canary.found_in(content)
        ]


@contextlib.contextmanager
def every_command_line() -> Iterator[set[bytes]]:
    """Collect the arguments of all processes of this host until the end of the block."""
    seen: set[bytes] = set()
    over = threading.Event()

    def look() -> None:
        while not over.wait(1 / LOOKS_PER_S):
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    seen.add(place.read_bytes())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


class Ended(Run):
    """How a run of the real program ended."""

    def must(self, *codes: int, say: str = "") -> "Ended":
        """Return itself if it ended with one of the codes and said this."""
        if self.code not in codes or say not in self.err:
            raise AssertionError(f"ended with {self.code}: {self.err[-2000:]}")
        return self

    def last_position(self) -> str:
        """Return the position at the end of a scan's list."""
        return str(self.json["liquidatable"][-1]["position"])


@dataclass(kw_only=True)
class Stage:
    """A directory, a chain that is reached by URLs with secrets in them, and what was left."""

    place: Path
    chain: Chain
    secrets: Secrets
    evidence: Evidence
    keys: Mapping[str, Path]
    whole: bool = False

    def environment(self, **changes: str) -> dict[str, str]:
        """Return the settings of a run; secrets come in by variables, which are not searched."""
        ready = self.chain.ready
        return {
            "LIQCTL_RPC_URL": self.secrets.url(ready["rpc_url"]),
            "LIQCTL_WS_URL": self.secrets.url(ready["ws_url"]),
            "LIQCTL_KEYPAIR": str(self.keys["good"]),
            "LIQCTL_LOG_LEVEL": "trace",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            **changes,
        }

    def run(self, name: str, command: str, *, code: str = "", **changes: str) -> Ended:
        """Run a command to its end and keep what it printed; `code` runs before the program."""
        program = [str(PROGRAM)]
        if code:
            start = f"{code}\nfrom liqctl.__main__ import main\nmain()"
            program = [sys.executable, "-c", start]
        done = subprocess.run(
            [*program, *shlex.split(command)],
            cwd=self.place,
            env=environment_of(self.place, **self.environment(**changes)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        self.evidence.add(f"{name}: output", done.stdout + done.stderr)
        return Ended(code=done.returncode, out=done.stdout.decode(), err=done.stderr.decode())

    def run_quick(self, name: str, command: str, **changes: str) -> Ended:
        """Run a command that is refused at its start: in this interpreter, unless all is wanted."""
        if self.whole:
            return self.run(name, command, **changes)
        done = inside(self.place, *shlex.split(command), **self.environment(**changes))
        self.evidence.add(f"{name}: output", (done.out + done.err).encode())
        return Ended(code=done.code, out=done.out, err=done.err)

    def keep_files(self, name: str, *, least: tuple[str, ...] = ()) -> None:
        """Keep every file of the place but the key files; some have to be there."""
        files = [p for p in self.place.rglob("*") if p.is_file() and p.parent.name != "keys"]
        for path in files:
            content = path.read_bytes()
            if content or path.name in least:
                self.evidence.add(f"{name}: {path.name}", content)
        missing = set(least) - {path.name for path in files}
        if missing:
            raise AssertionError(f"{name}: there is no {missing}")


def keeper_scene(stage: Stage) -> None:
    """A keeper signs and sends, and is looked at while its write-ahead log is full."""
    database = stage.place / "liquidation_engine.db"
    stage.chain.price("SOL", 990_000)
    with subprocess.Popen(
        [str(PROGRAM), "watch", "--json"],
        cwd=stage.place,
        env=environment_of(stage.place, **stage.environment()),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        try:
            wait_for_liquidation(database)
            stage.keep_files("keeper", least=(database.name, f"{database.name}-wal"))
        finally:
            child.send_signal(signal.SIGTERM)
            out, err = child.communicate(timeout=30)
    stage.evidence.add("keeper: stdout", out)
    stage.evidence.add("keeper: stderr", err)
    if child.returncode != 0:
        raise AssertionError(f"the keeper ended with {child.returncode}: {err.decode()[-2000:]}")


def wait_for_liquidation(database: Path, within_s: float = 40) -> None:
    """Return when a liquidation is recorded."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        time.sleep(0.1)
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as db,
        ):
            if db.execute("SELECT count(*) FROM liquidations").fetchone()[0]:
                return
    raise AssertionError("the keeper liquidated nothing")


def hand_scene(stage: Stage) -> None:
    """A person liquidates by hand with a signer that refuses and talks, and then looks around."""
    stage.chain.price("BTC", 980_000)
    position = stage.run_quick("scan", "scan --json").must(0).last_position()
    signing = [sys.executable, str(SIGNING), "refuse_odd", str(stage.keys["good"])]
    signer = "exec:" + shlex.join(signing)
    refused = stage.run("refusal", f"liquidate {position} --yes", LIQCTL_KEYPAIR=signer)
    refused.must(7, say="refuses to sign").must(7, say="signer_said")
    stage.run("doctor", "doctor")
    stage.run_quick("history", "history --json", LIQCTL_LOG_FORMAT="console").must(0)
    stage.run_quick("settings", "config show --origin").must(0)
    stage.keep_files("hand", least=("liquidation_engine.db",))


def key_scene(stage: Stage) -> None:
    """Keys that cannot be used: wrong content, wrong mode, and keys in place of their names."""
    for name in ("damaged", "short", "base58", "hex", "raw", "open"):
        path = str(stage.keys[name])
        done = stage.run_quick(f"{name} key file", "watch --yes", LIQCTL_KEYPAIR=path)
        done.must(2, say="the key file")
    inline = {
        "base58": str(stage.secrets.other_key),
        "list": json.dumps(list(bytes(stage.secrets.other_key))),
        "hex": bytes(stage.secrets.other_key).hex(),
        "base64": base64.b64encode(bytes(stage.secrets.other_key)).decode(),
    }
    for name, text in inline.items():
        done = stage.run_quick(f"{name} for a key", "doctor", LIQCTL_KEYPAIR=text)
        done.must(2, say="holds the key itself")


def address_scene(stage: Stage) -> None:
    """Addresses that lead nowhere, to a node that repeats them, or that are none at all."""
    secrets, nowhere = stage.secrets, "http://127.0.0.1:9"
    with repeating_node() as node:
        stage.run("repeating node", "scan -n", LIQCTL_RPC_URL=secrets.url(node))
        stage.run_quick("repeating node, examined", "doctor", LIQCTL_RPC_URL=secrets.url(node))
    urls = {
        "no node": secrets.url(nowhere),
        "path only": f"{nowhere}/v2/{secrets.path}",
        "plain": secrets.url("http://rpc.example"),
        "no scheme": secrets.url(nowhere).removeprefix("http://"),
        "wrong scheme": secrets.url("ftp://rpc.example"),
        "wrong port": secrets.url("http://rpc.example:99999"),
        "blank": secrets.url("http://rpc. example"),
    }
    for name, url in urls.items():
        stage.run_quick(name, "scan -n", LIQCTL_RPC_URL=url)
    more = {
        "LIQCTL_RPC_FALLBACK_URLS": secrets.url("https://second.example"),
        "LIQCTL_SEND_URLS": secrets.url(nowhere),
    }
    stage.run_quick("several nodes, shown", "config show --json", **more).must(0)
    stage.run_quick("several nodes, wrong", "scan -n", LIQCTL_SEND_URLS=secrets.url("ftp://x"))
    databases = {
        "server": f"postgresql://{secrets.user}:{secrets.database}@db.example/books",
        "wrong database": f"postgres//{secrets.user}:{secrets.database}@db.example/books",
        "foreign database": f"mysql://{secrets.user}:{secrets.database}@db.example/books",
    }
    for name, dsn in databases.items():
        stage.run_quick(name, "history", LIQCTL_DATABASE_URL=dsn)
    stage.run_quick("server, shown", "config show", LIQCTL_DATABASE_URL=databases["server"])
    stage.run_quick("server, examined", "doctor", LIQCTL_DATABASE_URL=databases["server"])


PROVOKED = """
import liqctl.chain.wallet
from pathlib import Path
async def sign(signer, message):
    secret = Path({path!r}).read_text()
    {what}
liqctl.chain.wallet.KeySigner.sign = sign
"""


def crash_scene(stage: Stage) -> None:
    """The program breaks while it holds the key in a variable: by a bug, and by a hard crash."""
    stage.chain.price("ETH", 970_000)
    position = stage.run_quick("scan before", "scan --json").must(0).last_position()
    bugs = {
        "bug": "raise RuntimeError('provoked', secret)",
        "crash": "import os, sys; sys.stderr.write('provoked'); sys.stderr.flush(); os.abort()",
    }
    for name, what in bugs.items():
        code = PROVOKED.format(path=str(stage.keys["good"]), what=what)
        done = stage.run(name, f"liquidate {position} --yes", code=code)
        done.must(1, -signal.SIGABRT, say="provoked")
    left = [path.name for path in stage.place.iterdir() if "core" in path.name]
    if left:
        raise AssertionError(f"a core dump was left: {left}")
    stage.keep_files("crash", least=("liquidation_engine.db",))


def embedded_scene(stage: Stage) -> None:
    """The keeper and its own chain, which hand a key from one to the other."""
    embedded = dict.fromkeys(("LIQCTL_RPC_URL", "LIQCTL_WS_URL", "LIQCTL_KEYPAIR"), "")
    command = "watch --localnet --positions 20 --duration 0 --json"
    stage.run("embedded", command, **embedded).must(0)


SCENES: Mapping[str, Callable[[Stage], None]] = {
    "keeper": keeper_scene,
    "hand": hand_scene,
    "key": key_scene,
    "address": address_scene,
    "crash": crash_scene,
    "embedded": embedded_scene,
}


class Repeating(BaseHTTPRequestHandler):
    """Refuses every call, with everything it was told in the text."""

    def do_POST(self) -> None:
        told = f"no access for {self.path} {self.headers.get('authorization')}"
        error = {"code": -32000, "message": told, "data": {"headers": dict(self.headers)}}
        body = json.dumps({"jsonrpc": "2.0", "id": 0, "error": error}).encode()
        self.send_response(200 if "api-key" in self.path else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass


@contextlib.contextmanager
def repeating_node() -> Iterator[str]:
    """Return the URL of a node that repeats what it hears."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Repeating) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def searched(
    running: Chain, place: Path, scene: str, *, whole: bool = False
) -> tuple[Evidence, list[str]]:
    """Run one scene in an empty directory; return what it left, and what was found in that."""
    secrets, evidence = Secrets(), Evidence()
    with every_command_line() as seen:
        stage = Stage(
            place=place,
            chain=running,
            secrets=secrets,
            evidence=evidence,
            keys=secrets.paths(place),
            whole=whole,
        )
        SCENES[scene](stage)
    evidence.add("command lines", b"\n".join(sorted(seen)))
    return evidence, evidence.hits(secrets.canaries())


def main(rounds: int) -> int:
    """Run every scene so often; return the exit code."""
    artefacts, size, hits = 0, 0, list[str]()
    for number in range(rounds):
        with chain(seed=1) as running:
            for scene in SCENES:
                with tempfile.TemporaryDirectory(prefix="canary-") as folder:
                    evidence, found = searched(running, Path(folder), scene, whole=True)
                artefacts += len(evidence.artefacts)
                size += sum(map(len, evidence.artefacts.values()))
                hits += [f"round {number}, {scene}: {hit}" for hit in found]
    line = {"type": "canary", "rounds": rounds, "artefacts": artefacts, "bytes": size, "hits": hits}
    sys.stdout.write(json.dumps(line) + "\n")
    return 1 if hits else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if sys.argv[1:] else 1))
