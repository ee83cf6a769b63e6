"""What stands in `examples/monitoring` loads, and is about metrics that there are."""

import json
import re
from collections.abc import Iterator
from contextlib import closing
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from liqctl.core.events import Coverage
from liqctl.core.status import state_name
from liqctl.store.open import open_store
from tests.core.statuses import status
from tests.promtool import needs_promtool, promtool
from tests.server.world import application, asking, filled

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples" / "monitoring"
RULES = yaml.safe_load((EXAMPLES / "rules.yml").read_text())["groups"]
SETTINGS = yaml.safe_load((EXAMPLES / "prometheus.yml").read_text())
DASHBOARD = json.loads((EXAMPLES / "grafana.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS = [target for panel in PANELS for target in panel["targets"]]
ALERTS = [rule for group in RULES for rule in group["rules"]]

OF_PROMETHEUS = {"up"}
WORDS = {"by", "or", "and", "unless", "on", "ignoring", "without", "bool", "offset", "vector"}
OF_TYPE = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_count", "_sum"),
    "gauge": ("",),
}


def expressions() -> Iterator[str]:
    yield from (rule["expr"] for rule in ALERTS)
    for target in TARGETS:
        yield target["expr"].replace("$venue", ".*")


def metrics_in(expression: str) -> set[str]:
    """Return the names that are no function, no keyword, no label and no duration."""
    bare = re.sub(
        r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\b(by|without|on|ignoring) *\([^)]*\)', " ", expression
    )
    names = re.findall(r"(?<![\w.])([a-zA-Z_:][\w:]*)\b(?! *\()", bare)
    return set(names) - WORDS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database whose keeper has something to tell of everything."""
    file = filled(tmp_path_factory.mktemp("monitoring"))
    busy = status(
        coverage=Coverage(positions=2, evaluated=1, unknown={"price_stale": 1}),
        refused={"paused": 1},
        rpc={"node": {"calls": 3, "timeout": 1}},
    )
    with closing(open_store(f"sqlite:{file}")) as store:
        store.put_state(state_name(busy.venue), json.dumps(busy.as_json()), 1)
    return file


@pytest.fixture
async def families(place: Path) -> dict[str, str]:
    async with asking(application(place)) as client:
        text = (await client.get("/metrics")).text
    return {family.name: family.type for family in text_string_to_metric_families(text)}


async def test_every_metric_that_is_asked_for_is_told(families):
    known = {name + end for name, kind in families.items() for end in OF_TYPE[kind]}

    asked = set().union(*map(metrics_in, expressions()))

    assert len(asked) > 30
    assert asked - known == OF_PROMETHEUS


def test_names_are_found_in_expressions():
    text = 'sum by (le) (rate(a_total{venue=~"b"}[5m])) / on(venue) group:c > 1e6 or vector(0)'

    assert metrics_in(text) == {"a_total", "group:c"}


@needs_promtool
def test_prometheus_takes_its_settings_and_the_rules():
    code, said = promtool("check", "config", EXAMPLES / "prometheus.yml")

    assert code == 0, said
    assert f"{len(ALERTS)} rules found" in said


def test_the_settings_name_the_rules_and_the_default_address():
    [job] = SETTINGS["scrape_configs"]

    assert SETTINGS["rule_files"] == ["rules.yml"]
    assert job["metrics_path"] == "/metrics"
    assert job["static_configs"] == [{"targets": ["127.0.0.1:8080"]}]
    assert job["job_name"] == "liqctl"


def test_every_rule_says_how_bad_it_is_and_what_has_happened():
    names = [rule["alert"] for rule in ALERTS]

    assert len(names) == len(set(names))
    for rule in ALERTS:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"].endswith(".")


@needs_promtool
def test_rules_fire_when_they_should_and_not_before():
    code, said = promtool("test", "rules", ROOT / "tests" / "monitoring.yml")

    assert code == 0, said


@needs_promtool
def test_prometheus_understands_every_expression_of_the_dashboard(tmp_path):
    rules = [{"record": f"panel:{n}", "expr": text} for n, text in enumerate(expressions())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))

    code, said = promtool("check", "rules", file)

    assert code == 0, said


def test_the_dashboard_is_one_that_grafana_imports():
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    source = {"type": "prometheus", "uid": "${source}"}

    assert DASHBOARD["uid"]
    assert DASHBOARD["schemaVersion"] >= 36
    assert variables["source"]["type"] == "datasource"
    assert variables["venue"]["datasource"] == source
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    for panel in PANELS:
        assert panel["type"] in {"stat", "timeseries"}
        assert panel["title"]
        assert panel["datasource"] == source
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == sorted(set(letters))
    for target in TARGETS:
        assert target["datasource"] == source
        assert set(re.findall(r"\$\{?(\w+)", target["expr"])) <= {"venue"}


def test_panels_fit_the_grid_and_do_not_lie_on_one_another():
    cells = [
        {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        for at in (panel["gridPos"] for panel in PANELS)
    ]

    assert all(0 <= x < 24 for each in cells for x, _ in each)
    assert all(one.isdisjoint(other) for one, other in combinations(cells, 2))
