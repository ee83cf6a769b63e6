"""Every console block of the README is run, in order, against an embedded chain."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from liqctl.cli import COMMANDS
from liqctl.config import MarketSettings, Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
STEP = re.compile(r"^\$ ((?:.*\\\n)*.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)
FALL = "unix_ms_offset,symbol,price\n0,SOL,150\n400,SOL,140\n600000,SOL,140\n"


def matches(expected: str, actual: str) -> bool:
    """Whether the text is the expected one, where `...` stands for any text."""
    pattern = ".*".join(map(re.escape, expected.split("...")))
    return re.fullmatch(pattern, actual, re.DOTALL) is not None


@pytest.fixture
def chain(tmp_path):
    (tmp_path / "fall.csv").write_text(FALL)
    options = "--positions 60 --seed 1 --port 0 --start-delay 0 --path fall.csv"
    child = subprocess.Popen(
        [
            *(sys.executable, "-m", "liqctl", "localnet", "--json", "--exit-with-stdin"),
            *("--keypair-out", "liquidator.json", *options.split()),
        ],
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    try:
        yield json.loads(child.stdout.readline())
    finally:
        assert child.stdin is not None
        child.stdin.close()
        child.wait(timeout=10)
        child.stdout.close()


def wait_for_the_fall(environment: dict[str, str], place: Path) -> None:
    for _ in range(60):
        found = run("liqctl scan --dry-run --json", environment, place)
        if '"price_e6":140000000' in found.stdout:
            return
    raise AssertionError("the price did not fall")


def run(command: str, environment: dict[str, str], place: Path) -> subprocess.CompletedProcess[str]:
    words = shlex.split(command.replace("\\\n", " "))
    assert words[0] == "liqctl"
    return subprocess.run(
        [sys.executable, "-m", "liqctl", *words[1:]],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_there_is_a_console_session_and_the_two_commands():
    assert BLOCKS
    assert "make demo" in README
    assert "make test" in README


@pytest.mark.timeout(120)
def test_the_console_session_is_true(chain, tmp_path, monkeypatch):
    import os

    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LIQCTL_")},
        "HOME": str(tmp_path),
        "LIQCTL_RPC_URL": chain["rpc_url"],
        "LIQCTL_WS_URL": chain["ws_url"],
        "LIQCTL_KEYPAIR": "liquidator.json",
        "LIQCTL_LOG_LEVEL": "error",
        "PYTHONPATH": str(ROOT),
        "COLUMNS": "200",
    }
    wait_for_the_fall(environment, tmp_path)
    for block in BLOCKS:
        code = 0
        steps = STEP.findall(block)
        for number, (command, expected) in enumerate(steps):
            if command == "echo $?":
                assert expected.strip() == str(code)
                continue
            done = run(command, environment, tmp_path)
            code = done.returncode
            explained = number + 1 < len(steps) and steps[number + 1][0] == "echo $?"
            assert code == 0 or explained, f"{command}: {code}, {done.stderr}"
            assert matches(expected, done.stdout), f"{command}:\n{done.stdout}\n{done.stderr}"


def test_every_command_is_in_the_readme_with_its_first_line():
    for name, (_, line) in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(line)}$", README, re.MULTILINE), name


def test_every_command_and_subcommand_shows_its_help():
    shown = re.findall(r"^\$ (liqctl.*) --help$", README, re.MULTILINE)

    assert shown == ["liqctl", *every_command(), "liqctl doctor"]


def every_command() -> Iterator[str]:
    for name, (module, _) in COMMANDS.items():
        yield f"liqctl {name}"
        command = typer.main.get_command(importlib.import_module(module).app)
        yield from (f"liqctl {name} {each}" for each in getattr(command, "commands", ()))


def rows() -> dict[str, str]:
    """Return what the tables say about each setting's default."""
    section = README[README.index("\n## Settings\n") : README.index("\n## Exit codes\n")]
    found = re.findall(r"^\| (`[^|]*`) \| ([^|]*) \| [^|]+ \|$", section, re.MULTILINE)
    return {
        name: default.strip("`")
        for names, default in found
        for name in re.findall(r"`(\w+)`", names)
    }


def as_told(default: object) -> str:
    match default:
        case bool():
            return str(default).lower()
        case int():
            return f"{default:,}"
        case float():
            return f"{default:g}"
        case tuple():
            return ", ".join(default) or "-"
        case _:
            return str(default or "-")


def test_every_setting_is_in_the_tables_with_its_default():
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in Settings.model_fields.items()
    }

    assert rows() == {
        name: as_told(value) for name, value in defaults.items() if not name.startswith("alert_")
    }


def test_every_term_of_a_market_is_named():
    start = README.index("### Prices and Hermes")
    section = README[start : README.index("###", start + 1)]

    assert set(MarketSettings.model_fields) <= set(re.findall(r"\b\w+\b", section))


def test_every_path_of_the_api_is_named():
    told = set(
        re.findall(r"^### \w+ (/\S*)$", (ROOT / "docs" / "API.md").read_text(), re.MULTILINE)
    )
    start = README.index("### serve")
    named = set(re.findall(r"`(/[^`]*)`", README[start : README.index("###", start + 1)]))

    assert {path for path in told if "{" not in path} <= named


@pytest.mark.parametrize(
    "page", ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
)
def test_every_link_leads_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, _, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(#([^)]*))?\)", text):
        place = (ROOT / page).parent / target if target else ROOT / page
        assert place.exists(), target
        if anchor:
            assert anchor in anchors(place.read_text(encoding="utf-8")), f"{target}#{anchor}"


def test_the_architecture_names_every_package_and_only_modules_that_there_are():
    text = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    packages = {
        path.stem
        for path in (ROOT / "liqctl").iterdir()
        if not path.name.startswith("_")
        and (path.suffix == ".py" or (path / "__init__.py").exists())
    }

    assert set(re.findall(r"^\| `(\w+)` \| ", text, re.MULTILINE)) == packages
    for name in re.findall(r"`(\w+/[\w/]+\.\w+)`", text):
        assert (ROOT / "liqctl" / name).exists(), name


def anchors(text: str) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_matcher_is_strict_outside_the_dots():
    assert matches("a ... c\n", "a b c\n")
    assert not matches("a ... c\n", "a b d\n")
    assert not matches("a\n", "a\nb\n")
