import json

import pytest
from typer.testing import CliRunner

from liqctl.cli import app
from liqctl.cli.bench import CALM, PRICE, _engine, _tick


def test_each_figure_stands_beside_a_rival_and_none_is_judged():
    done = CliRunner().invoke(app, ["bench", "--positions", "1000", "--json"], prog_name="liqctl")

    assert done.exit_code == 0
    figures = [json.loads(line) for line in done.stdout.splitlines()]
    assert [figure["name"] for figure in figures] == [
        "tick",
        "tick",
        "tick at 1,000 positions",
        "decode positions",
        "decode accounts into columns",
        "record before send, p50",
        "record before send, p99",
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
