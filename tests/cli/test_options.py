"""The shared options, the session they open, and the questions it asks."""

import io
from typing import Annotated

import pytest
import typer
from typer.main import get_command
from typer.testing import CliRunner

from liqctl.cli import command_app
from liqctl.cli.options import Session, whole_number, with_session
from liqctl.errors import GuardError, SettingsError


@pytest.fixture(autouse=True)
def empty_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    monkeypatch.chdir(tmp_path)


def command(*requested: str) -> tuple[typer.Typer, list[tuple[Session, int]]]:
    app, calls = command_app(), []

    @app.command()
    @with_session(*requested)
    def only(session: Session, positions: Annotated[int, typer.Option("--positions")] = 5) -> None:
        calls.append((session, positions))

    return app, calls


def test_a_command_gets_its_own_options_and_a_session():
    app, calls = command("dry_run", "yes")

    CliRunner().invoke(app, ["--positions", "7", "-u", "l", "-n", "-y", "--json", "--no-input"])

    ((session, positions),) = calls
    assert positions == 7
    assert session.settings.rpc_url == "http://localhost:8899"
    assert session.origins["rpc_url"] == "--url"
    assert (session.dry_run, session.yes, session.as_json, session.no_input) == (True,) * 4
    assert session.no_color is False


def test_a_command_that_cannot_send_offers_no_dry_run():
    def options(*requested: str) -> set[str]:
        return {o for p in get_command(command(*requested)[0]).params for o in p.opts}

    assert options("dry_run", "yes") - options() == {"-n", "--dry-run", "-y", "--yes"}
    assert {"-u", "--url", "--ws", "-k", "--keypair", "-C", "--config", "--commitment"} <= options()


def test_a_number_out_of_range_is_named_with_its_option():
    assert whole_number("--positions", 5, 1, 10) == 5
    with pytest.raises(
        SettingsError, match=r"^--positions must be a whole number from 1 to 10, was -1$"
    ):
        whole_number("--positions", -1, 1, 10)


def test_a_question_that_nobody_can_answer_is_refused(monkeypatch):
    def session(**switches: bool) -> Session:
        return Session(settings=None, origins={}, screen=None, **switches)  # type: ignore[arg-type]

    session(yes=True, no_input=True).confirm("Send?")
    with pytest.raises(GuardError, match="--yes"):
        session(no_input=True).confirm("Send?")
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    with pytest.raises(GuardError, match="--yes"):
        session().confirm("Send?")
