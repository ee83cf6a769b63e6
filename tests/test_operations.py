"""docs/OPERATIONS.md names every reason, rule, hold and log line that there is, and no other."""

import ast
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from liqctl.alerts.rules import RULES
from liqctl.core.intent import IntentState
from liqctl.core.record import QueueOrder
from liqctl.store.open import open_store
from tests.store.records import queue_row, request
from tests.store.steps import LEASE_MS, claimed

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "OPERATIONS.md").read_text(encoding="utf-8")
BY_HEALTH = ("core/health_grade.py", "server/errors.py", "server/routes_health.py")
LEVELS = {"info", "warning", "error", "critical", "exception"}


def section(title: str) -> str:
    found = re.search(
        rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", TEXT, re.MULTILINE | re.DOTALL
    )
    assert found, title
    return found[1]


def column(title: str, number: int) -> set[str]:
    """Return the words in backticks of one column of a section's tables, without their heads."""
    rows = re.findall(r"^\|(.*)\|$", section(title), re.MULTILINE)
    cells = [row.split(" | ")[number] for row in rows[2:]]
    return {word for cell in cells for word in re.findall(r"`([A-Za-z_]+)`", cell)}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def constants(nodes: list[ast.expr]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def codes(path: Path) -> Iterator[str]:
    """Yield the codes of reasons: given by name, first in a call, or first in a row of passes."""
    for node in ast.walk(tree(path)):
        match node:
            case ast.Call(func=ast.Name(id="Reason" | "Problem"), keywords=keywords):
                yield from constants([each.value for each in keywords if each.arg == "code"])
            case ast.Call(func=ast.Name(id="_unhealthy" | "_degraded"), args=[first, *_]):
                yield from constants([first])
            case ast.Tuple(elts=[ast.Constant(value=str(code)), _, _, _]):
                yield code
            case _:
                pass


def logged() -> Iterator[str]:
    """Yield the events that the product logs from info on, the simulator's left out."""
    for path in (ROOT / "liqctl").rglob("*.py"):
        if path.relative_to(ROOT).parts[1] in {"sim", "localnet"}:
            continue
        for node in ast.walk(tree(path)):
            match node:
                case ast.Call(
                    func=ast.Attribute(value=ast.Name(id="log"), attr=level),
                    args=[ast.Constant(value=str(event)), *_],
                ) if level in LEVELS:
                    yield event
                case ast.Call(func=ast.Name(id="level"), args=[ast.Constant(value=str(event)), *_]):
                    yield event
                case _:
                    pass


def test_every_reason_of_health_has_its_line():
    known = {code for name in BY_HEALTH for code in codes(ROOT / "liqctl" / name)}

    assert {"keeper_silent", "check_overdue", "held", "database_busy", "keeper_unreadable"} < known
    assert column("What to do when", 0) == known


def test_every_alert_rule_has_its_line():
    assert column("What to do when", 1) == set(RULES)


def test_every_alert_of_prometheus_leads_to_a_line():
    rules = yaml.safe_load((ROOT / "examples" / "monitoring" / "rules.yml").read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    told = column("What to do when", 0) | column("What to do when", 1)

    assert column("Watching the watcher", 0) == alerts
    assert {word for word in column("Watching the watcher", 1) if "_" in word} <= told


def test_everything_that_holds_a_keeper_is_told():
    files = (ROOT / "liqctl" / "keeper" / "holds.py", ROOT / "liqctl" / "core" / "breaker.py")
    words = {
        node.value
        for path in files
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant)
        and re.fullmatch(r"(kill_switch|breaker)_[a-z_]+", str(node.value))
    }
    events = {"breaker_open"}

    assert column("Stop and resume", 0) == words - events


def test_every_log_line_from_info_on_is_explained():
    assert column("Log lines", 0) == set(logged())


def test_a_held_intent_is_found_and_a_retry_opens_it_again(tmp_path):
    file = tmp_path / "liqctl.db"
    [find] = re.findall(r'"(SELECT [^"]+)"', section("A held intent"))
    assert "liqctl queue retry PUBKEY" in section("A held intent")
    with closing(open_store(f"sqlite:{file}")) as store:
        claim = claimed(store)
        store.end_intent(claim, IntentState.HELD, "unknown", 1)
        assert store.claim(request(), "me", 2, LEASE_MS) is None

        with closing(sqlite3.connect(file)) as by_hand, by_hand:
            [(position, *_)] = by_hand.execute(find)
        store.put_queue([queue_row(position)], [])
        store.set_order(position, QueueOrder.RETRY)
        store.take_orders(3)

        again = store.claim(request(), "me", 3, LEASE_MS)
    assert again is not None
    assert again.intent_id == claim.intent_id


@pytest.mark.parametrize("how", [".backup", "VACUUM INTO"])
def test_a_copy_made_beside_the_keeper_is_a_database_with_everything_in_it(tmp_path, how):
    file, copy = tmp_path / "liqctl.db", tmp_path / "copy.db"
    [said] = re.findall(rf'sqlite3 \S+ "({re.escape(how)}.*)"', section("Copies"))
    with closing(open_store(f"sqlite:{file}")) as store:
        store.append_event("price_update", "{}", 1)
        with closing(sqlite3.connect(file)) as beside:
            if how == ".backup":
                with closing(sqlite3.connect(copy)) as target:
                    beside.backup(target)
            else:
                beside.execute(re.sub(r"'.*'", f"'{copy}'", said))
        store.append_event("price_update", "{}", 2)

    with closing(open_store(f"sqlite:{copy}", create=False)) as found:
        assert [event.seq for event in found.events_since(0, 10)] == [1]


def test_a_tool_of_the_shell_names_only_what_is_there():
    for name in re.findall(r"\bexamples/[A-Za-z0-9_./-]+", TEXT):
        assert (ROOT / name.rstrip(".")).exists(), name
