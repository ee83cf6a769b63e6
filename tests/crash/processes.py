"""A chain that lives on, and `liqctl` processes that come and go on it."""

import json
import os
import select
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
LIQCTL = [sys.executable, "-m", "liqctl"]
LIMITS = {"LIQCTL_MAX_IN_FLIGHT": "8", "LIQCTL_SPEND_HOUR_LAMPORTS": "500000000"}


@dataclass(slots=True, kw_only=True)
class Chain:
    """`liqctl localnet` in a process of its own."""

    ready: dict[str, Any]
    child: subprocess.Popen[str]

    def hold(self) -> None:
        """Let the prices stand still."""
        assert self.child.stdin is not None
        self.child.stdin.write("hold\n")
        self.child.stdin.flush()

    def call(self, method: str, *params: object) -> Any:
        """Ask the chain directly, past everything of the keeper."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        request = urllib.request.Request(  # noqa: S310 - the chain that was just started
            self.ready["rpc_url"], json.dumps(body).encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - see above
            return json.load(answer)["result"]


@contextmanager
def chain(place: Path, options: str) -> Iterator[Chain]:
    """Run a chain whose liquidator's key is `key.json` in that place."""
    with subprocess.Popen(
        [
            *LIQCTL,
            *("localnet", "--json", "--port", "0", "--exit-with-stdin"),
            *options.split(),
            *("--keypair-out", str(place / "key.json")),
        ],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Of every client that dies in a handshake the server has much to say.
        stderr=subprocess.DEVNULL,
        text=True,
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        try:
            yield Chain(ready=json.loads(child.stdout.readline()), child=child)
        finally:
            child.stdin.close()
            child.wait(timeout=20)


class Life:
    """One `liqctl` process, and what it has said on stderr so far; `silent` at the end of that."""

    def __init__(self, nursery: "Nursery", pid: int, reader: int) -> None:
        self._nursery = nursery
        self._reader = reader
        self.pid = pid
        self.said = b""
        self.silent = False

    def listen(self, seconds: float) -> bytes:
        """Return what is said within the time; it comes back at the first words or at the end."""
        ready, _, _ = select.select([self._reader], [], [], max(0.0, seconds))
        found = os.read(self._reader, 1 << 20) if ready else b""
        self.silent = bool(ready) and not found
        self.said += found
        return found

    def hears(self, word: bytes, seconds: float, times: int = 1) -> bool:
        """Return whether it has been said so many times, at once when it has."""
        end = time.monotonic() + seconds
        while self.said.count(word) < times:
            left = end - time.monotonic()
            if left <= 0 or self.silent:
                return False
            self.listen(left)
        return True

    def end(self, number: int) -> int:
        """Send a signal, and return how the process ended."""
        os.kill(self.pid, number)
        return self.wait()

    def wait(self) -> int:
        code = self._nursery.reaped()
        while self.listen(0):
            pass
        os.close(self._reader)
        return code


class Nursery:
    """Starts `liqctl` in a few milliseconds; see nursery.py. One life at a time."""

    def __init__(self, place: Path) -> None:
        self._place = place
        self._lives = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def start(self, *argv: str, env: dict[str, str] | None = None) -> Life:
        """Start `liqctl` with these arguments; its stdout goes to the file `out`."""
        self._lives += 1
        pipe = self._place / f"stderr{self._lives}"
        os.mkfifo(pipe)
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        order = {
            "argv": argv,
            "env": env or {},
            "out": str(self._place / "out"),
            "err": str(pipe),
        }
        (self._place / "out").unlink(missing_ok=True)
        life = Life(self, self._ask(json.dumps(order)), reader)
        pipe.unlink()
        return life

    def output(self) -> str:
        """Return what the last life has printed."""
        return (self._place / "out").read_text()

    def reaped(self) -> int:
        """Wait for the last life to end and return how it did."""
        return self._ask("")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=20)
        self._process.stdout.close()

    def _ask(self, line: str) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> int:
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())


def watch(ready: dict[str, Any], place: Path, database: str, *more: str) -> list[str]:
    """Return the arguments of a keeper on that chain, with the key in that place."""
    return [
        *("watch", "-u", ready["rpc_url"], "--ws", ready["ws_url"]),
        *("-k", str(place / "key.json"), "--database", database),
        *more,
    ]
