"""A keeper whose PostgreSQL is away still ends in order when it is told to."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from tests.cli.chain_fixture import Chain, Desk, chain, wait_for
from tests.store.postgres_server import fresh_url, server

END_S_MAX = 10


@pytest.fixture(scope="module")
def shared() -> Iterator[Chain]:
    with chain() as running:
        yield running


@contextmanager
def crashed() -> Iterator[None]:
    server().crash()
    try:
        yield
    finally:
        server().start()


@contextmanager
def suspended() -> Iterator[None]:
    with server().suspended():
        yield


Away = Callable[[], AbstractContextManager[None]]


@pytest.mark.parametrize("output", [[], ["--json"]], ids=["log", "json"])
@pytest.mark.parametrize("away", [crashed, suspended])
def test_a_signal_ends_a_keeper_whose_database_is_away(
    shared: Chain, tmp_path: Path, away: Away, output: list[str]
) -> None:
    desk = Desk(place=tmp_path, chain=shared)
    url = fresh_url("ending")
    log = tmp_path / "log"
    with (
        log.open("w") as errors,
        desk.start(
            *("watch", *desk.signing, "--database", url, "-v", *output), stderr=errors
        ) as keeper,
    ):
        wait_for(log, "snapshot_taken")
        with away():
            keeper.send_signal(signal.SIGTERM)
            keeper.communicate(timeout=END_S_MAX)

    assert keeper.returncode == 0, log.read_text()
    assert '"event": "stopped"' in log.read_text()
