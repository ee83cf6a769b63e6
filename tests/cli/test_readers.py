"""Whoever reads what `watch` writes may stop reading: the keeper goes on and ends in order."""

import fcntl
import os
import pty
import select
import subprocess
import termios
from collections.abc import Iterator
from contextlib import closing, contextmanager
from io import StringIO
from pathlib import Path

import pytest

from liqctl.cli.readers import takes_more
from liqctl.store.open import open_store
from tests.cli.chain_fixture import PROGRAM, Desk, Started, chain, environment_of, wait_for

SMALLEST_PIPE = 4_096


@contextmanager
def unread() -> Iterator[int]:
    """A pipe that holds little and that nobody reads."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SMALLEST_PIPE)
    try:
        yield writing
    finally:
        os.close(reading)
        os.close(writing)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with chain() as running:
        yield Desk(place=tmp_path, chain=running)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_that_stands_still_stops_neither_keeper_nor_its_end(desk, stream):
    desk.chain.price("SOL", 990_000)
    with unread() as pipe:
        os.write(pipe, b"." * (SMALLEST_PIPE - 1))
        streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: pipe}
        options = ("-vv", "--json", "--duration", "3")
        with desk.start("watch", *desk.signing, *options, **streams) as keeper:
            code = keeper.wait(20)

    assert code == (1 if stream == "stdout" else 0)  # the summary did not reach anybody
    with closing(open_store(f"sqlite:{desk.database}", read_only=True)) as store:
        assert len(store.recent_liquidations()) == 3


@pytest.mark.parametrize("paused", [True, False], ids=["Ctrl-S", "unread"])
def test_a_terminal_that_stands_still_stops_neither_keeper_nor_its_end(desk, paused):
    ours, theirs = pty.openpty()
    if paused:
        termios.tcflow(theirs, termios.TCOOFF)
    while select.select([], [theirs], [], 0)[1]:
        os.write(theirs, b".")
    with (
        (desk.place / "log").open("w") as log,
        Started(
            [str(PROGRAM), "watch", "-v", *desk.signing],
            cwd=desk.place,
            env=environment_of(desk.place, TERM="xterm"),
            stdin=theirs,
            stdout=theirs,
            stderr=log,
        ) as keeper,
    ):
        wait_for(desk.place / "log", "snapshot_taken")
        desk.chain.price("SOL", 990_000)
        wait_for(desk.place / "log", "transaction_confirmed")
        keeper.terminate()
        assert keeper.wait(10) == 0
    os.close(ours)
    os.close(theirs)


def test_a_full_pipe_takes_nothing_and_one_without_a_reader_tells_by_the_write():
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stream:
        assert takes_more(stream)
        while select.select([], [writing], [], 0)[1]:
            os.write(writing, b"." * SMALLEST_PIPE)
        assert not takes_more(stream, 1)
        os.close(reading)
        assert takes_more(stream)


def test_a_file_and_what_is_no_stream_of_the_system_take_everything(tmp_path):
    with (tmp_path / "file").open("w") as stream:
        assert takes_more(stream)
    assert takes_more(StringIO())
