import json

import pytest
from typer.testing import CliRunner

from liqctl.cli import app, bench_websocket
from liqctl.cli.bench import CALM, PRICE, _engine, _tick
from liqctl.cli.bench_scan import LIQUIDATABLE_EVERY, scans


def test_each_figure_stands_beside_a_rival_and_none_is_judged(monkeypatch):
    for name, few in (("CLIENTS", 20), ("ROUNDS", 2), ("EVENTS", 3)):
        monkeypatch.setattr(bench_websocket, name, few)

    done = CliRunner().invoke(app, ["bench", "--positions", "1000", "--json"], prog_name="liqctl")

    assert done.exit_code == 0
    figures = [json.loads(line) for line in done.stdout.splitlines()]
    assert [figure["name"] for figure in figures] == [
        "tick",
        "tick",
        "tick at 1,000 positions",
        "decode positions",
        "decode accounts into columns",
        "scan perpetuals positions",
        "record before send, p50",
        "record before send, p99",
        "page of liquidations over HTTP",
        "first to last of WebSocket clients",
        "first to last of WebSocket clients",
        "record to client, told by the keeper, p50",
        "record to client, told by the keeper, p99",
        "record to client, by polling, p50",
        "record to client, by polling, p99",
    ]
    for figure in figures:
        assert figure["type"] == "bench"
        assert figure["value"] > 0
        assert round(figure["baseline"] / figure["value"], 6) == round(figure["ratio"], 6)


@pytest.mark.parametrize("plain", [False, True])
def test_the_measured_tick_really_crosses_k_positions_and_leaves_none_waiting(plain, monkeypatch):
    engine = _engine(1_000, plain=plain)
    crossed = []
    put = engine.queue.put

    def note(position, **more):
        crossed.append(position)
        return put(position, **more)

    monkeypatch.setattr(engine.queue, "put", note)

    _tick(engine, 0)
    assert crossed == []

    _tick(engine, 10)
    assert len(crossed) in {10, 11}
    assert len(engine.queue) == 0
    assert engine.markets()[0][1] == CALM > PRICE


def test_the_measured_scan_judges_every_position():
    scan, _ = scans(10 * LIQUIDATABLE_EVERY, 1)

    assert scan() == 10
