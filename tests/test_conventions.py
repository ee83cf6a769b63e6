"""House rules that no linter knows, checked on the syntax tree, whatever a noqa says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "liqctl"
FILES = sorted(PACKAGE.rglob("*.py"))

# Health is shown and ranked as a float; nothing is decided by it. Only what bears these names may use one.
HEALTH_AS_FLOAT = {
    "health.py": {"health"},
    "record.py": {"health", "health_factor_before", "after"},
    "queue.py": {"health", "_heap", "waiting", "_urgency"},
}
CLOCK_AND_CHANCE = {"time", "random", "uuid", "secrets", "threading", "multiprocessing"}
FORBIDDEN_CALLS = {
    "datetime.datetime.now",
    "datetime.datetime.utcnow",
    "datetime.datetime.today",
    "datetime.date.today",
    "os.urandom",
    "asyncio.to_thread",
}
EMPTY_WORDS = {"manager", "handler", "helper", "util", "data", "info", "process", "common", "misc"}


def inexact(tree: ast.AST, exempt: frozenset[str] = frozenset()) -> Iterator[str]:
    """Yield what has no place in the core: floats, true division, coroutines."""
    for node in ast.iter_child_nodes(tree):
        if declared(node) in exempt:
            continue
        match node:
            case ast.Constant(value=float()) | ast.Name(id="float"):
                yield f"line {node.lineno}: a float"
            case ast.BinOp(op=ast.Div()) | ast.AugAssign(op=ast.Div()):
                yield f"line {node.lineno}: true division"
            case ast.AsyncFunctionDef():
                yield f"line {node.lineno}: a coroutine"
            case _:
                pass
        yield from inexact(node, exempt)


def declared(node: ast.AST) -> str | None:
    """Return the name that a definition, a parameter or an annotated variable introduces."""
    match node:
        case ast.FunctionDef(name=name) | ast.arg(arg=name):
            return name
        case ast.AnnAssign(target=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name
        case _:
            return None


def unsimulated(tree: ast.AST) -> Iterator[str]:
    """Yield every way to clock, chance and threads that the simulator could not replace."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=aliases):
                imported = {a.asname or a.name.partition(".")[0]: a.name for a in aliases}
            case ast.ImportFrom(module=str(module), names=aliases):
                imported = {a.asname or a.name: f"{module}.{a.name}" for a in aliases}
            case ast.Call(args=[ast.Constant(value=str(name)), *_]) if called(node) & {
                "import_module",
                "__import__",
            }:
                imported = {"": name}
            case _:
                continue
        names |= imported
        for name in imported.values():
            if name.partition(".")[0] in CLOCK_AND_CHANCE or name in FORBIDDEN_CALLS:
                yield f"line {node.lineno}: {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and qualified(node, names) in FORBIDDEN_CALLS:
            yield f"line {node.lineno}: {qualified(node, names)}"


def called(call: ast.Call) -> set[str]:
    return {n for n in (getattr(call.func, "attr", None), getattr(call.func, "id", None)) if n}


def qualified(node: ast.expr, names: dict[str, str]) -> str:
    match node:
        case ast.Attribute(value=value, attr=attr):
            return f"{qualified(value, names)}.{attr}"
        case ast.Name(id=name):
            return names.get(name, name)
        case _:
            return ""


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sorted((PACKAGE / "core").rglob("*.py")), ids=lambda p: p.name)
def test_the_core_is_exact_and_synchronous(path):
    assert list(inexact(parse(path), frozenset(HEALTH_AS_FLOAT.get(path.name, ())))) == []


def test_clock_and_chance_enter_through_the_ports_only():
    found = {
        str(path.relative_to(ROOT)): list(unsimulated(parse(path)))
        for path in FILES
        if path != PACKAGE / "ports" / "system.py"
    }

    assert {name: lines for name, lines in found.items() if lines} == {}


def test_every_package_says_in_one_line_what_it_is():
    docstrings = {
        p.parent.name: ast.get_docstring(parse(p)) for p in FILES if p.name == "__init__.py"
    }

    assert {n for n, text in docstrings.items() if not text or "\n" in text} == set()


def test_no_file_bears_an_empty_word():
    stems = {path.stem: {w.removesuffix("s") for w in path.stem.split("_")} for path in FILES}

    assert {stem for stem, words in stems.items() if words & EMPTY_WORDS} == set()


def test_every_folder_with_code_is_a_package():
    assert {path.parent for path in FILES if not (path.parent / "__init__.py").exists()} == set()


@pytest.mark.parametrize(
    "code",
    [
        "x = 1.5",
        "x = a / b",
        "a /= b",
        "def f(x: float): ...",
        "x = float(a)",
        "async def f(): ...",
        "class A:\n    price: float",
        "def health(): ...\nx = 0.5",
    ],
)
def test_the_core_rule_catches(code):
    assert list(inexact(ast.parse(code), frozenset({"health"})))


@pytest.mark.parametrize(
    "code",
    [
        "health: float = 0.0",
        "def health(a, b) -> float:\n    return a / b",
        "x = a // b",
        "x = True",
    ],
)
def test_the_core_rule_lets_pass(code):
    assert list(inexact(ast.parse(code), frozenset({"health"}))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import time",
        "import time as clock  # noqa: TID251",
        "from random import Random",
        "def f():\n    import uuid",
        "import multiprocessing.pool",
        "from datetime import datetime as d\nd.now()",
        "import datetime\ndatetime.date.today()",
        "import os as o\no.urandom(4)",
        "from os import urandom",
        "from asyncio import to_thread",
        "import importlib\nimportlib.import_module('time')",
        "__import__('secrets')",
    ],
)
def test_the_clock_rule_catches(code):
    assert list(unsimulated(ast.parse(code)))


def test_the_clock_rule_lets_a_given_clock_pass():
    code = "from datetime import datetime, UTC\ndatetime.fromtimestamp(clock.unix_ms(), UTC)\nself.clock.now()"

    assert list(unsimulated(ast.parse(code))) == []
