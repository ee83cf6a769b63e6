"""`liqctl config`: the settings in force and where each comes from."""

from pathlib import Path
from typing import Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import ConfigFile, EnvFile, Json, Session, with_session
from liqctl.cli.redact import redact

app = command_app(help="Show the settings and where they come from.")

Origin = Annotated[bool, typer.Option("--origin", help="Show where each value comes from.")]


@app.command()
@with_session()
def show(session: Session, origin: Origin = False) -> None:
    """Print every setting in force, URLs without their secrets.

    \b
    Examples:
      liqctl config show --origin
      liqctl config show --url devnet --json
    """
    values = {name: _shown(value) for name, value in session.settings.model_dump().items()}
    if session.as_json and origin:
        session.screen.json(
            {n: {"value": v, "origin": session.origins[n]} for n, v in values.items()}
        )
    elif session.as_json:
        session.screen.json(values)
    else:
        columns = ("setting", "value", "origin") if origin else ("setting", "value")
        rows = [(n, _cell(v), session.origins[n])[: len(columns)] for n, v in values.items()]
        session.screen.table(columns, rows)


def _cell(value: object) -> object:
    """Return a value as a person reads it: a list with commas, nothing as a dash."""
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "-"
    return "-" if value is None else value


def _shown(value: object) -> object:
    """Return a setting without secrets: any text may be a URL, or the command of a signer."""
    if isinstance(value, tuple):
        return tuple(_shown(each) for each in value)
    return redact(value) if isinstance(value, str) else value


@app.command()
def path(config: ConfigFile = None, env_file: EnvFile = None, as_json: Json = False) -> None:
    """Print the files of settings, the strongest first."""
    from liqctl.cli.render import Screen  # noqa: PLC0415 - 40 ms, not for --help
    from liqctl.config import Files  # noqa: PLC0415 - 60 ms, not for --help

    files = Files.locate(config=config, env_file=env_file)
    paths = [p for p in (files.env_file, *files.own, files.solana) if p is not None]
    found = [(p, _exists(p)) for p in paths]
    if as_json:
        Screen().json([{"path": str(p), "exists": exists} for p, exists in found])
    else:
        words = {True: "yes", False: "no", None: "unreadable"}
        Screen().table(("file", "exists"), [(p, words[exists]) for p, exists in found])


def _exists(path: Path) -> bool | None:
    """Return whether a file is there; None where that cannot be told."""
    try:
        return path.is_file()
    except OSError:
        return None
