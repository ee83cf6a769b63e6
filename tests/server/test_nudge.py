"""The pipe between a keeper and its API: news, signs of life, and the end."""

import asyncio
import os
import sys

import pytest

from liqctl.cli import bench_websocket
from liqctl.errors import SettingsError
from liqctl.server import nudge
from liqctl.server.run import BEHIND_THE_KEEPER


async def test_a_byte_is_news_and_the_end_of_the_pipe_is_told(monkeypatch):
    read, write = os.pipe()
    news, ended = asyncio.Event(), asyncio.Event()
    with os.fdopen(read) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        await nudge.follow_keeper(news, ended.set)

        async with asyncio.timeout(5):
            for _ in range(2):
                os.write(write, b"\n")
                await news.wait()
                news.clear()
            told_early = ended.is_set()
            os.close(write)
            await ended.wait()

    assert not told_early
    assert not news.is_set()


async def test_only_a_pipe_is_followed(monkeypatch, tmp_path):
    with (tmp_path / "file").open("w+") as file:
        monkeypatch.setattr(sys, "stdin", file)

        with pytest.raises(SettingsError, match="needs a pipe"):
            await nudge.follow_keeper(asyncio.Event(), lambda: None)


async def test_signs_of_life_end_with_the_reader(monkeypatch):
    monkeypatch.setattr(nudge, "BEAT_S", 0.001)
    read, write = os.pipe()
    with os.fdopen(write, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        beating = asyncio.create_task(nudge.beat())
        await asyncio.sleep(0.01)
        heard = os.read(read, 100)
        os.close(read)
        async with asyncio.timeout(5):
            await beating
        monkeypatch.undo()

    assert heard.strip() == b""
    assert len(heard) > 1


async def test_a_server_with_a_keeper_hears_its_word_and_stands_behind_it_for_the_processor(
    tmp_path,
):
    came = asyncio.Event()
    url = bench_websocket.database(str(tmp_path))
    with bench_websocket.serving(bench_websocket.NUDGED, url, 4) as server:
        async with asyncio.timeout(20), bench_websocket.listeners(server.port, 1, came.set):
            server.cause()
            await came.wait()
        niceness = os.getpriority(os.PRIO_PROCESS, server.pid)

    ours = os.getpriority(os.PRIO_PROCESS, 0)
    assert niceness == min(19, ours + BEHIND_THE_KEEPER)
