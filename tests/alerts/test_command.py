"""`liqctl alerts`, `config show` and the wiring of `watch`, with receivers that really listen."""

import asyncio
import json
import os
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from liqctl.alerts.outbox import deliveries_of, event_json
from liqctl.alerts.policy import Change, Turn
from liqctl.alerts.routes import parse_routes
from liqctl.cli import app
from liqctl.cli.alert_channels import alerting_of, routes_of
from liqctl.config import Settings
from liqctl.core.alert import GIVEN_UP_MS, Alert, AlertState, Severity
from liqctl.errors import SettingsError
from liqctl.ports import SystemClock
from liqctl.store.open import open_store
from tests.alerts.receivers import (
    BROKEN,
    CERTIFICATE,
    DISCORD,
    PAGERDUTY,
    SECRETS,
    SLACK,
    Answer,
    Receiver,
)
from tests.keeper.stage import Stage, until

ALERT = Alert(
    rule="fund_low",
    subject="reference",
    severity=Severity.WARNING,
    state=AlertState.FIRING,
    title="reference: the insurance fund is at 4 % of the collateral",
    body="Found: 4 %. Expected: 5 %. Do: fund it.",
    raised_ms=1_700_000_000_000,
    notified_ms=1_700_000_000_000,
)


async def liqctl(place: Path, *arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run the real program in a folder of its own."""
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "liqctl", *arguments),
        cwd=place,
        env={**os.environ, "HOME": str(place), "PYTHONPATH": str(Path.cwd()), **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await program.communicate()
    assert program.returncode is not None
    return program.returncode, out.decode(), err.decode()


def by_proxy(receiver: Receiver) -> dict[str, str]:
    return {"HTTPS_PROXY": receiver.url, "REQUESTS_CA_BUNDLE": str(CERTIFICATE)}


async def test_a_test_sends_through_every_channel_and_resolves_its_incident(tmp_path):
    file = tmp_path / "channels"
    file.write_text(f"# ours\noncall:critical={PAGERDUTY}\ninfo={DISCORD}\n")
    file.chmod(0o600)

    async with Receiver() as hosts:
        code, out, err = await liqctl(
            tmp_path,
            *("alerts", "test", "--json"),
            LIQCTL_ALERT_CHANNELS=f"{SLACK}",
            LIQCTL_ALERT_CHANNELS_FILE=str(file),
            **by_proxy(hosts),
        )

    results = [json.loads(line) for line in out.splitlines()]
    assert [(each["channel"], each["severity"], each["delivered"]) for each in results] == [
        ("slack", "warning", True),
        ("oncall", "critical", True),
        ("discord", "info", True),
    ]
    assert code == 0
    actions = [each.json["event_action"] for each in hosts.requests if "pagerduty" in each.host]
    assert actions == ["trigger", "resolve"]
    assert {each.host for each in hosts.requests} == {
        "hooks.slack.com",
        "discord.com",
        "events.pagerduty.com",
    }
    assert [secret for secret in SECRETS if secret in out + err] == []


async def test_a_test_names_the_channel_that_fails_and_why(tmp_path):
    async with Receiver(BROKEN) as receiver:
        code, out, err = await liqctl(
            tmp_path,
            *("alerts", "test", "-vv"),
            LIQCTL_ALERT_CHANNELS=f"{SLACK} hook:info=json://127.0.0.1:9/T1JJ3T3L2",
            **by_proxy(receiver),
        )

    assert code == 1
    assert "slack    warning        failed: it answered HTTP 503" in out
    assert "hook     info           failed: the connection was refused" in out
    assert [secret for secret in SECRETS if secret in out + err] == []


@pytest.fixture
def empty_home(tmp_path, monkeypatch):
    for name in [*os.environ]:
        if name.startswith("LIQCTL_") or name == "DATABASE_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*arguments: str, **variables: str) -> Result:
    return CliRunner(env={"COLUMNS": "200", **variables}).invoke(app, arguments, prog_name="liqctl")


def test_without_a_channel_a_test_says_how_to_configure_one(empty_home):
    result = run("alerts", "test")

    assert result.exit_code == 2
    assert "alert_channels_file" in result.stderr
    assert run("alerts", "test", "--channel", "x", LIQCTL_ALERT_CHANNELS=SLACK).exit_code == 2


@pytest.fixture
def database(empty_home: Path) -> str:
    """A database with a firing alert, a resolved one, and messages in every state."""
    url = f"sqlite:{empty_home / 'k.db'}"
    routes = parse_routes(["slack://a", "discord://b", "mailto://c", "hook:json://d"])
    with closing(open_store(url)) as store:
        over = replace(
            ALERT,
            rule="rpc_errors",
            title="many RPC calls failed",
            state=AlertState.RESOLVED,
            resolved_ms=ALERT.raised_ms + 90_000,
        )
        store.put_alert(over, [], event_json(Change(turn=Turn.RESOLVED, alert=over)))
        change = Change(turn=Turn.RAISED, alert=ALERT)
        store.put_alert(ALERT, deliveries_of(change, routes, None, 5), event_json(change))
        store.end_delivery(1, ALERT.raised_ms)
        store.delay_delivery(2, "given up: it answered HTTP 404", GIVEN_UP_MS)
        store.delay_delivery(3, "it answered SMTP 451", 9_000)
    return url


def test_the_list_has_what_is_firing(database):
    result = run("alerts", "list", "--database", database)

    assert ALERT.title in result.stdout
    assert ALERT.body in result.stdout
    assert "RPC" not in result.stdout
    (line,) = run("alerts", "list", "--json", "--database", database).stdout.splitlines()
    assert json.loads(line) == {"type": "alert", "id": 2, **_plain(ALERT)}


def _plain(alert: Alert) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(event_json(Change(turn=Turn.RAISED, alert=alert)))
    return {name: value for name, value in plain.items() if name not in {"type", "turn"}}


def test_the_list_says_of_each_of_several_what_to_do(database):
    other = replace(ALERT, rule="held", title="reference: nothing is signed", body="Do: resume.")
    with closing(open_store(database)) as store:
        store.put_alert(other, [], event_json(Change(turn=Turn.RAISED, alert=other)))

    shown = run("alerts", "list", "--database", database).stdout

    assert f"{ALERT.title}\n{ALERT.body}" in shown
    assert f"{other.title}\n{other.body}" in shown


def test_an_empty_list_says_so(empty_home):
    url = f"sqlite:{empty_home / 'k.db'}"
    with closing(open_store(url)) as store:
        store.put_state("keeper:reference", "{}", SystemClock().unix_ms())

    shown = run("alerts", "list", "--database", url)
    assert ("nothing is wrong" in shown.stdout, shown.stderr) == (True, "")
    assert run("alerts", "list", "--json", "--database", url).stdout == ""


def test_an_empty_list_says_nothing_good_where_no_keeper_has_looked_of_late(empty_home):
    url = f"sqlite:{empty_home / 'k.db'}"
    open_store(url).close()

    never = run("alerts", "list", "--database", url)
    with closing(open_store(url)) as store:
        store.put_state("keeper:reference", "{}", SystemClock().unix_ms() - 60_000)
    silent = run("alerts", "list", "--database", url)

    assert (never.stdout, silent.stdout) == ("", "")
    assert "no keeper has written to this database" in never.stderr
    assert "no keeper has written for 1 min" in silent.stderr


def test_the_history_has_what_is_over_too(database):
    lines = run("alerts", "history", "--database", database).stdout.splitlines()

    assert "firing for" in lines[1]
    assert "resolved after 1 min 30 s" in lines[2]
    one = run("alerts", "history", "--limit", "1", "--json", "--database", database).stdout
    assert json.loads(one)["state"] == "firing"
    assert run("alerts", "history", "--limit", "0", "--database", database).exit_code == 2


def test_the_history_shows_what_became_of_the_messages(database):
    shown = run("alerts", "history", "--deliveries", "--database", database).stdout

    assert "delivered 2023-11-14 22:13:20Z" in shown
    assert "given up: it answered HTTP 404" in shown
    assert "tried 1 times: it answered SMTP 451" in shown
    assert "waiting" in shown


@pytest.mark.parametrize("arguments", [("config", "show"), ("config", "show", "--json")])
def test_the_settings_are_shown_without_the_secrets_of_channels(empty_home, arguments):
    texts = f"oncall:critical={PAGERDUTY} info={SLACK} {DISCORD} mailto://me:T1JJ3T3L2@h?to=a"

    shown = run(*arguments, LIQCTL_ALERT_CHANNELS=texts).stdout

    assert "oncall:critical=pagerduty://..." in shown
    assert [secret for secret in SECRETS if secret in shown] == []


@pytest.mark.parametrize(
    "text, expected",
    [
        ("loud=slack://T1JJ3T3L2/B/C", "must begin with one of info, warning, critical"),
        ("warning=T1JJ3T3L2", "must look like SEVERITY=URL"),
    ],
)
def test_a_channel_that_is_wrong_is_refused_without_its_secrets(empty_home, text, expected):
    (empty_home / "liqctl.toml").write_text(f'alert_channels = ["{text}"]')

    result = run("config", "show")

    assert result.exit_code == 2
    assert f"alert_channels {expected}" in result.stderr
    assert "T1JJ3T3L2" not in result.stderr


def test_names_must_differ_over_settings_and_file(tmp_path):
    file = tmp_path / "channels"
    file.write_text(SLACK)
    file.chmod(0o600)
    settings = Settings(alert_channels=(SLACK,), alert_channels_file=str(file))

    with pytest.raises(SettingsError, match="two are called slack"):
        routes_of(settings)


async def test_a_keeper_whose_wallet_is_low_tells_the_webhook(tmp_path):
    stage = Stage(tmp_path, positions=4, fall_to=150)
    keeper = stage.keeper()
    stop = asyncio.Event()
    async with Receiver(Answer(status=204)) as receiver:
        settings = Settings(
            alert_channels=(f"json://127.0.0.1:{receiver.port}/hook",),
            alert_min_balance_lamports=10**18,
        )
        async with (
            alerting_of(settings, stage.contexts[0], [keeper], delivers=True) as alerting,
            asyncio.TaskGroup() as tasks,
        ):
            watching = tasks.create_task(alerting.run())
            running = tasks.create_task(keeper.run(stop))
            await until(lambda: receiver.requests)
            stop.set()
            await running
            watching.cancel()
    await stage.close()

    assert receiver.requests[0].json["title"].startswith("[critical] reference: the liquidator has")
    assert stage.rows("SELECT rule, state FROM alert") == [("wallet_low", "firing")]


async def test_a_dry_run_opens_no_channel(tmp_path):
    stage = Stage(tmp_path, positions=4)
    keeper = stage.keeper(dry=True)
    settings = Settings(alert_channels=(SLACK,))

    async with alerting_of(settings, stage.contexts[0], [keeper], delivers=False) as alerting:
        assert alerting._outbox is None
    await stage.close()


async def test_a_channel_that_cannot_be_used_is_refused_before_the_keeper_starts(tmp_path):
    stage = Stage(tmp_path, positions=4)
    keeper = stage.keeper()
    settings = Settings(alert_channels=("pigeon://roof",))

    with pytest.raises(SettingsError, match="pigeon is not one that apprise understands"):
        async with alerting_of(settings, stage.contexts[0], [keeper], delivers=True):
            pass
    await stage.close()
