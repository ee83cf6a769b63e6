"""`liqctl watch --serve`: the API as a child that dies, hangs and ends without harm to the keeper."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from structlog.testing import capture_logs

from liqctl.cli import serve_child
from liqctl.cli.options import open_session
from liqctl.keeper.context import Context
from liqctl.keeper.storage import StoreThread
from liqctl.ports import SystemClock, SystemRng
from liqctl.server.run import BEHIND_THE_KEEPER
from liqctl.store.open import open_store
from tests.cli.chain_fixture import PROGRAM, Chain, Desk, Started, chain, environment_of, wait_for
from tests.cli.chain_fixture import inside as run_inside
from tests.server.guarded import free_port

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it looks at children in /proc")


@pytest.fixture(scope="module")
def shared() -> Iterator[Chain]:
    with chain() as running:
        yield running


@pytest.fixture
def desk(shared: Chain, tmp_path: Path) -> Desk:
    return Desk(place=tmp_path, chain=shared)


def child_of(pid: int) -> int:
    """Return the child of a process that serves."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    (serving,) = [c for c in children if b"\0serve\0" in Path(f"/proc/{c}/cmdline").read_bytes()]
    return int(serving)


def niceness(pid: int) -> int:
    return os.getpriority(os.PRIO_PROCESS, pid)


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def holds(condition: Callable[[], bool], within_s: float = 15) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


def started(desk: Desk, port: int) -> Started:
    """Start a keeper that serves, with a key and a secret in its environment."""
    (desk.place / "liqctl.toml").write_text(f"server_port = {port}\n")
    variables = {"WALLET_PATH": str(desk.key), "SIGNER_PASSWORD": "canary-of-the-signer"}
    with (desk.place / "log").open("w") as log:
        return Started(
            [str(PROGRAM), "watch", "--serve", *desk.chain.where, "-v"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            cwd=desk.place,
            env=environment_of(desk.place, **variables),
            text=True,
        )


def test_the_keeper_outlives_its_api_and_the_api_never_its_keeper(desk):
    port = free_port()
    log = desk.place / "log"
    with started(desk, port) as keeper:
        wait_for(log, "api_serving")
        wait_for(log, "snapshot_taken")
        first = child_of(keeper.pid)
        shown = (
            Path(f"/proc/{first}/environ").read_bytes()
            + Path(f"/proc/{first}/cmdline").read_bytes()
        )

        os.kill(first, signal.SIGKILL)
        holds(lambda: log.read_text().count("api_serving") == 2)
        second = child_of(keeper.pid)
        assert niceness(second) == min(niceness(keeper.pid) + BEHIND_THE_KEEPER, 19)
        # A session of its own would be given as much of the processors as the keeper's.
        assert os.getsid(second) == os.getsid(keeper.pid)
        assert os.getpgid(second) != os.getpgid(keeper.pid)
        os.kill(second, signal.SIGSTOP)
        desk.chain.price("SOL", 990_000)
        wait_for(log, "transaction_confirmed")
        os.kill(second, signal.SIGCONT)
        url = f"http://127.0.0.1:{port}/liquidations/recent"
        holds(lambda: bool(httpx.get(url, trust_env=False, timeout=5).json()["items"]))
        assert keeper.poll() is None
        keeper.kill()
        keeper.wait(10)
        holds(lambda: not is_there(second))

    for secret in (b"key.json", b"WALLET", b"KEYPAIR", b"canary-of-the-signer", b"RPC"):
        assert secret not in shown
    assert '"reason": "exit code -9"' in log.read_text()


async def test_an_api_that_hangs_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(serve_child, "SILENT_S_MAX", 4.0)
    monkeypatch.setattr(serve_child, "PAUSE_S_MIN", 0.1)
    api = child(tmp_path, monkeypatch)
    living = asyncio.create_task(api.run())
    async with asyncio.timeout(30):
        await until(lambda: api.url is not None)
        os.kill(child_of(os.getpid()), signal.SIGSTOP)
        await until(lambda: api.url is not None and api.starts == 2)

        second = child_of(os.getpid())
        living.cancel()
        with suppress(asyncio.CancelledError):
            await living

    assert not is_there(second)


async def test_what_cannot_start_is_tried_again_after_longer_pauses(tmp_path, monkeypatch):
    paused: list[float] = []

    class Hurried(SystemClock):
        async def sleep(self, seconds: float) -> None:
            paused.append(seconds)
            await super().sleep(0)

    monkeypatch.setattr("sys.executable", str(tmp_path / "missing"))
    api = child(tmp_path, monkeypatch, clock=Hurried())
    living = asyncio.create_task(api.run())
    while api.starts < 12:
        await asyncio.sleep(0.001)
        api.nudge()
    living.cancel()

    assert all(earlier < later for earlier, later in pairwise(paused[:6]))
    assert all(30 <= pause <= 37.5 for pause in paused[7:])


COUNTING = """
import os
print('{"url": "0"}', flush=True)
count = 0
while os.read(0, 100):
    count += 1
    print('{"url": "%d"}' % count, flush=True)
"""
BABBLING = "print('no word of ours', flush=True); import time; time.sleep(60)"


def stand_in(place: Path, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Have another program started in the place of the API."""
    script = place / "stand_in"
    script.write_text(f"#!{sys.executable}\n{code}\n")
    script.chmod(0o700)
    monkeypatch.setattr("sys.executable", str(script))


async def test_many_writes_at_once_are_one_byte_and_a_later_one_is_another(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, COUNTING)
    api = child(tmp_path, monkeypatch)
    api.nudge()  # before there is anybody
    living = asyncio.create_task(api.run())
    seen = []
    async with asyncio.timeout(20):
        for expected in ("0", "1", "2"):
            await until(partial(shows, api, expected))
            await asyncio.sleep(0.05)
            seen.append(api.url)
            for _ in range(100):
                api.nudge()
        living.cancel()
        with suppress(asyncio.CancelledError):
            await living

    assert seen == ["0", "1", "2"]
    api.nudge()  # after it


async def test_the_store_of_a_keeper_tells_after_each_write(tmp_path):
    store = StoreThread(open_store(f"sqlite:{tmp_path / 'one.db'}"))
    seen: list[int] = []
    store.after_call = lambda: seen.append(len(seen))

    for _ in range(3):
        await store.run(store.store.append_event, "queue", "{}", 1)
    await store.close()

    assert seen == [0, 1, 2]


async def test_a_child_that_babbles_is_ended_and_tried_again(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, BABBLING)
    monkeypatch.setattr(serve_child, "PAUSE_S_MIN", 0.01)
    monkeypatch.setattr(serve_child, "END_S_MAX", 0.1)
    api = child(tmp_path, monkeypatch)
    living = asyncio.create_task(api.run())
    with capture_logs() as logs:
        async with asyncio.timeout(20):
            await until(lambda: api.starts >= 3)
            living.cancel()
            with suppress(asyncio.CancelledError):
                await living

    assert {line["reason"] for line in logs} == {"it said what is no word of ours"}


def child(place: Path, monkeypatch: pytest.MonkeyPatch, **parts: Any) -> serve_child.ServeChild:
    """Return an API on a free port, with a database that is not there."""
    monkeypatch.chdir(place)
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    session = open_session(server_port=free_port(), database_url="sqlite:none.db")
    store = SimpleNamespace(after_call=None)
    parts = {"clock": SystemClock(), "rng": SystemRng(), "store": store, **parts}
    return serve_child.ServeChild(session, cast("Context", SimpleNamespace(**parts)))


def shows(api: serve_child.ServeChild, url: str) -> bool:
    return api.url == url


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - another process makes it true
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("options", "variables", "said"),
    [
        ((), {"LIQCTL_SERVER_HOST": "0.0.0.0"}, "they need a token"),  # noqa: S104
        ((), {"LIQCTL_SERVER_TOKEN_FILE": "none"}, "no token file at none"),
        ((), {"LIQCTL_TLS_CERT": "none"}, "--tls-key belong together"),
        (("--dry-run",), {}, "--dry-run records nothing"),
    ],
)
def test_an_api_that_could_never_start_is_refused_before_anything_is(
    tmp_path, options, variables, said
):
    done = run_inside(tmp_path, "watch", "--localnet", "--serve", *options, **variables)

    assert (done.code, done.out) == (2, "")
    assert said in done.err
