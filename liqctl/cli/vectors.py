"""`liqctl dev check-vectors`: our arithmetic against what a real program answered."""

import json
from pathlib import Path
from typing import Annotated

import typer

from liqctl.cli.options import Json, NoColor
from liqctl.errors import SettingsError

VECTORS_EXAMPLE = "Example: liqctl dev check-vectors --venue perpetuals perpetuals_golden.json"


def check_vectors(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The vectors, as JSON.")],
    *,
    venue: Annotated[
        str, typer.Option("--venue", metavar="NAME", help="The venue whose program answered.")
    ],
    as_json: Json = False,
    no_color: NoColor = False,
) -> None:
    """Replay what a program answered on known accounts and compare every answer with ours.

    Prints each answer that differs: state, liquidation price, profit and loss, reward, payout and
    error code. The last line is always JSON with the counts. Ends with exit code 1 when anything
    differs.
    """
    from liqctl.cli.render import Screen  # noqa: PLC0415 - 40 ms, not for --help
    from liqctl.cli.vector_replay import replay  # noqa: PLC0415 - 150 ms, not for --help

    screen = Screen(no_color=no_color)
    checked = disagreeing = 0
    for number, differences in replay(venue, _document(file)):
        checked += 1
        disagreeing += bool(differences)
        for one in differences:
            if as_json:
                screen.json(
                    {
                        "type": "difference",
                        "vector": number,
                        "field": one.field,
                        "expected": one.expected,
                        "computed": one.computed,
                    }
                )
            else:
                screen.print(
                    f"vector {number}: {one.field} was {one.expected!r}, we say {one.computed!r}"
                )
    screen.json(
        {
            "type": "vectors",
            "checked": checked,
            "agree": checked - disagreeing,
            "disagree": disagreeing,
        }
    )
    if disagreeing:
        raise typer.Exit(1)


def _document(file: Path) -> object:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read {file}: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{file} is not JSON: {error}") from error
