"""A search for planted secrets: what they look like, where they are put, what is kept of a run."""

import base64
import contextlib
import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from urllib.parse import urlsplit

from solders.keypair import Keypair

from liqctl.chain.base58 import encode
from liqctl.localnet.scenario import liquidator_key
from tests.cli.chain_fixture import PROGRAM, ROOT, Chain, Run, environment_of, inside

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
    token: str = field(default_factory=lambda: f"Tok{token_hex(20)}")
    hermes: str = field(default_factory=lambda: f"Hrm{token_hex(6)}")
    channel: str = field(default_factory=lambda: f"Chn{token_hex(10)}")

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
            "token": self.token,
            "hermes": self.hermes,
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
