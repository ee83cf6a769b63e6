"""Data goes to stdout as text or JSON, and neither carries more than it should."""

import dataclasses
import json
from enum import StrEnum

import pytest

from liqctl.cli.render import Screen, health, json_line, lamports, quote


class Kind(StrEnum):
    FULL = "full"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    health: float
    reward: int
    kind: Kind


def test_json_keeps_integers_and_has_no_infinity():
    row = Row(health=float("-inf"), reward=2**63 + 1, kind=Kind.FULL)

    line = json_line({"rows": (row,), "none": None, "symbol": "S\n\u202e"})

    assert line.isascii()
    assert "\n" not in line
    assert json.loads(line) == {
        "rows": [{"health": None, "reward": 2**63 + 1, "kind": "full"}], "none": None, "symbol": "S\n\u202e",
    }  # fmt: skip


def test_json_refuses_what_it_cannot_say():
    with pytest.raises(TypeError):
        json_line({"key": b"bytes"})


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (lamports(1), "1 lamports (0.000000001 SOL)"),
        (lamports(5_000_000_000), "5,000,000,000 lamports (5 SOL)"),
        (quote(-1_234_567_890), "-1,234.56789"),
        (quote(0), "0.00"),
        (quote(12_345, 2), "123.45"),
        (health(1.0), "1.0000"),
        (health(-0.5), "-0.5000"),
        (health(0.999_999), "0.9999"),
    ],
)
def test_amounts_are_exact_decimals(shown, text):
    assert shown == text


def test_data_and_notes_go_to_their_own_streams(capsys):
    screen = Screen()

    screen.print("data")
    screen.note("note")
    screen.json({"n": 1})

    assert capsys.readouterr() == ('data\n{"n":1}\n', "note\n")


def test_a_table_takes_cells_as_they_are_but_no_control_characters(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    Screen().table(("symbol", "size"), [("[red]SOL\x1b[2J", 10), ("x" * 150, 2)], right=("size",))

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["[red]SOL\\x1b[2J", "10"]
    assert lines[2].split() == ["x" * 150, "2"]
    assert [line.rstrip() for line in lines] == lines


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}, {}])
def test_no_escape_sequences_where_colour_is_off(variables, monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    Screen(no_color=not variables).table(("a",), [("b",)])

    assert "\x1b" not in capsys.readouterr().out
