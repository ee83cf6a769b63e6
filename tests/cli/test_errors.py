"""How the program ends: one line, one exit code, no traceback except for a bug."""

import importlib
import importlib.util
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from liqctl import errors
from liqctl.cli import COMMANDS, app
from liqctl.cli.exits import exit_code_of
from liqctl.errors import (
    InvariantError,
    LiqctlError,
    PriceError,
    RpcRefused,
    RpcUnreachable,
    SpendCapReached,
)

ROOT = Path(__file__).parents[2]


def raising(error: BaseException) -> Callable[[], None]:
    def run() -> None:
        raise error

    return run


def kinds(root: type[LiqctlError] = LiqctlError) -> Iterator[type[LiqctlError]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield from kinds(kind)


@pytest.mark.parametrize("kind", [k for k in kinds() if k not in {RpcRefused, SpendCapReached}])
def test_an_error_is_one_line_and_its_exit_code(kind, capsys):
    code = exit_code_of(raising(kind()))

    out, err = capsys.readouterr()
    assert code == kind.exit_code != 0
    assert (out, err) == ("", f"liqctl: {kind()}\n")


def test_the_exit_codes_are_those_of_the_documentation():
    by_name = {kind.__name__: kind.exit_code for kind in kinds()}

    assert by_name == {
        "LiqctlError": 1, "LayoutError": 1, "StoreError": 1, "StoreBusy": 1,
        "DeliveryError": 1,
        "SettingsError": 2, "StoreUnusable": 2,
        "RpcError": 4, "RpcUnreachable": 4, "RpcMalformed": 4, "RpcRefused": 4,
        "PriceError": 5, "HermesError": 5, "HermesUnreachable": 5, "HermesMalformed": 5,
        "HermesRefused": 5, "TransactionError": 6, "GuardError": 7,
        "SpendCapReached": 7,
    }  # fmt: skip


def test_errors_of_several_tasks_are_each_said_once_and_the_first_decides(capsys):
    inner = ExceptionGroup("inner", [PriceError("stale"), RpcUnreachable("down")])

    code = exit_code_of(raising(ExceptionGroup("tasks", [RpcUnreachable("down"), inner])))

    assert code == 4
    assert capsys.readouterr().err == "liqctl: down\nliqctl: stale\n"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("odd"),
        InvariantError("odd"),
        BaseExceptionGroup("tasks", [PriceError("stale"), InvariantError("odd")]),
    ],
)
def test_a_bug_is_shown_with_its_traceback(error, capsys):
    code = exit_code_of(raising(error))

    err = capsys.readouterr().err
    assert code == 1
    assert "Traceback (most recent call last)" in err
    assert "odd" in err
    assert err.endswith("liqctl: this is a bug in liqctl; please report it with the lines above\n")


def test_no_message_carries_a_secret_or_a_control_character(capsys):
    text = "https://me:PW@rpc.example/SECRET?api-key=SECRET said \x1b[2J\nliqctl: all is well"

    for error in (RpcUnreachable(text), ValueError(text)):
        exit_code_of(raising(error))
        err = capsys.readouterr().err
        assert "SECRET" not in err
        assert "PW" not in err
        assert "\x1b" not in err
        assert "https://rpc.example/..." in err
    exit_code_of(raising(RpcUnreachable(text)))
    assert capsys.readouterr().err.count("\n") == 1


def test_a_number_that_a_command_returns_is_the_exit_code():
    assert [exit_code_of(run) for run in (lambda: None, lambda: 0, lambda: 3)] == [0, 0, 3]
    assert exit_code_of(raising(KeyboardInterrupt())) == 130


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), prog_name="liqctl")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (("scna",), "No such command 'scna'. Did you mean 'scan'? See `liqctl --help`."),
        (("config", "showw"), "No such command 'showw'. Did you mean 'show'? See `liqctl config --help`."),
        (("config",), "Missing command. See `liqctl config --help`."),
        (("--bogus",), "No such option: --bogus. See `liqctl --help`."),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, line):
    result = run(*arguments)

    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"liqctl: {line}\n")


def test_a_command_that_is_not_there_yet_fails_only_when_it_is_called(monkeypatch):
    monkeypatch.setitem(COMMANDS, "scan", ("liqctl.cli.not_there", COMMANDS["scan"][1]))

    assert run("--help").exit_code == 0
    result = run("scan")
    assert result.exit_code == 2
    assert (
        result.stderr == "liqctl: `liqctl scan` is not part of this version; see `liqctl --help`\n"
    )


def test_no_arguments_show_the_help():
    result = run()

    assert result.exit_code == 2
    assert result.stdout == run("-h").stdout
    assert all(name in result.stdout for name in COMMANDS)


@pytest.mark.parametrize(
    "name", [n for n, (m, _) in COMMANDS.items() if importlib.util.find_spec(m)]
)
def test_the_line_in_the_table_is_the_first_line_of_the_help(name):
    module, line = COMMANDS[name]

    command = get_command(importlib.import_module(module).app)

    assert (command.help or "").strip().splitlines()[0] == line


def program(tmp_path: Path, body: str) -> list[str]:
    """Return the command line of a program whose only command does what `body` says."""
    (tmp_path / "only.py").write_text(
        "import sys, time\nfrom liqctl.cli import command_app\napp = command_app()\n"
        "@app.command()\ndef only() -> None:\n    'Do it.'\n" + textwrap.indent(body, "    ")
    )
    start = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(tmp_path)!r}]\n"
        "import liqctl.cli\nliqctl.cli.COMMANDS['only'] = ('only', 'Do it.')\n"
        "from liqctl.__main__ import main\nsys.argv = ['liqctl', 'only']\nmain()"
    )
    return [sys.executable, "-c", start]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_program_quietly(number, code, tmp_path):
    command = program(tmp_path, "print('ready', flush=True)\ntime.sleep(20)\n")
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"

        child.send_signal(number)

        _, err = child.communicate(timeout=20)
    assert (child.returncode, err) == (code, "")


@pytest.mark.parametrize(
    "body", ["print('x' * 200_000)\n", "print('x')\n"], ids=["long", "buffered"]
)
def test_a_reader_that_leaves_is_not_an_error(body, tmp_path, monkeypatch):
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    command = program(tmp_path, "sys.stdin.readline()\n" + body)
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.close()
        child.stdout = None

        _, err = child.communicate("go\n", timeout=20)
    assert (child.returncode, err) == (1, "")


def test_what_fails_in_a_destructor_is_told_without_secrets(tmp_path):
    body = (
        "class Last:\n    def __del__(self): raise ValueError('https://rpc.example/SECRET\\x1b')\n"
        "last = Last()\ndel last\n"
    )

    done = subprocess.run(program(tmp_path, body), capture_output=True, text=True, check=True)

    assert done.stderr.startswith("liqctl: ignored: Traceback")
    assert "https://rpc.example/..." in done.stderr
    assert "SECRET" not in done.stderr
    assert "\x1b" not in done.stderr
