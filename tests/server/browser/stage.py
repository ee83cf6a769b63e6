"""What the tests of the page need: a keeper with its API on an embedded chain, and a browser."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

ROOT = Path(__file__).parents[3]
TOKEN = "t" * 20 + "0123456789abcdef"
# A name that is not loopback: whoever comes by it needs a token.
NAME = "dashboard.example"
WAIT_S = 30
STARTS = {"BTC": 65_000, "ETH": 3_200, "SOL": 150}
STEPS, STEP_PERMILLE, STEP_MS = 40, 5, 800
STEPS_IN_A_ROW, REST_MS = 8, 5_000
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    f"--host-resolver-rules=MAP {NAME} 127.0.0.1",
)


@dataclass(frozen=True, slots=True)
class Running:
    """`watch --serve` on an embedded chain."""

    process: subprocess.Popen[bytes]
    port: int
    database_url: str
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> dict[str, object]:
        """Return what the API answers."""
        found: dict[str, object] = httpx.get(
            self.url + path, timeout=WAIT_S, trust_env=False
        ).json()
        return found

    @contextmanager
    def killed_server(self) -> Iterator[None]:
        """End the API as a crash would; its keeper starts another one afterwards."""
        [server] = [pid for pid in _children(self.process.pid) if "serve" in _arguments(pid)]
        with self.silent_keeper():
            os.kill(server, signal.SIGKILL)
            yield

    @contextmanager
    def silent_keeper(self) -> Iterator[None]:
        """Let the keeper do nothing meanwhile."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)


@contextmanager
def chain(folder: Path, *, positions: int = 200, path: str | None = None) -> Iterator[Running]:
    """Run a keeper with its API while the prices of all markets slide."""
    token_file = folder / "tokens"
    token_file.write_text(TOKEN + "\n")
    token_file.chmod(0o600)
    port, database_url = _free_port(), f"sqlite:{folder / 'live.db'}"
    command = [
        *(sys.executable, "-m", "liqctl", "watch", "--localnet", "--serve"),
        *("--positions", str(positions), "--path", path or str(_slide(folder))),
    ]
    environment = {
        "HOME": str(folder),
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": database_url,
        "SERVER_PORT": str(port),
        "LIQCTL_SERVER_TOKEN_FILE": str(token_file),
        "LIQCTL_ALLOWED_HOSTS": NAME,
    }
    with (folder / "watch.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=log
        )
        running = Running(process, port, database_url, Path(log.name))
        try:
            _wait(running)
            yield running
        finally:
            process.terminate()
            process.wait(WAIT_S)


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a Chromium that resolves our own name and asks nothing of the world by itself."""
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        try:
            yield opened
        finally:
            opened.close()


def until(page: Page, condition: str, argument: object = None) -> None:
    """Wait until a function of the page is true; the page's policy forbids it to wait by itself."""
    deadline = time.monotonic() + WAIT_S
    while not page.evaluate(condition, argument):
        assert time.monotonic() < deadline, f"not so: {condition}"
        page.wait_for_timeout(50)


def _slide(folder: Path) -> Path:
    """Return a file of prices that fall by half a per cent at a time, with rests in between."""
    rows = [
        (
            step * STEP_MS + step // STEPS_IN_A_ROW * REST_MS,
            symbol,
            start - start * step * STEP_PERMILLE / 1_000,
        )
        for symbol, start in STARTS.items()
        for step in range(STEPS)
    ]
    file = folder / "slide.csv"
    file.write_text("".join(f"{ms},{symbol},{price}\n" for ms, symbol, price in sorted(rows)))
    return file


def _wait(running: Running) -> None:
    """Wait until the keeper has written its state and the API shows it."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        assert running.process.poll() is None, running.log.read_text()[-2_000:]
        try:
            if running.get("/health").get("keepers") and running.get("/positions")["items"]:
                return
        except (httpx.HTTPError, json.JSONDecodeError):
            pass
        time.sleep(0.1)
    raise AssertionError(f"nothing is shown: {running.log.read_text()[-2_000:]}")


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _arguments(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
