"""`liqctl alerts`: what is wrong now, what was, and whether the channels work."""

import asyncio
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Session, whole_number, with_session
from liqctl.core.alert import GIVEN_UP_MS, Alert, AlertState, Delivery
from liqctl.errors import DeliveryError, SettingsError

if TYPE_CHECKING:
    from liqctl.alerts.channels import AppriseChannel
    from liqctl.alerts.routes import Route

app = command_app(help="Show alerts, and test the channels that they go to.")

LIMIT_MAX = 100_000


@app.command("list")
@with_session()
def list_(session: Session) -> None:
    """Print the alerts that hold now, the oldest first.

    \b
    Examples:
      liqctl alerts list
      liqctl alerts list --json
    """
    from liqctl.core.status import STATE_PREFIX  # noqa: PLC0415 - 10 ms, not for --help
    from liqctl.ports import SystemClock  # noqa: PLC0415 - 20 ms, not for --help
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    url = session.settings.database_url
    with closing(open_store(url, create=False, read_only=True)) as store:
        firing = store.firing()
        written = [at_ms for _, _, at_ms in store.states(STATE_PREFIX)]
    unseen = _unseen(SystemClock().unix_ms(), max(written, default=None))
    _print_alerts(session, firing)
    if len(firing) > 1 and not session.as_json:
        for alert in firing:
            for line in ("", alert.title, alert.body):
                session.screen.print(line)
    if unseen:
        session.screen.note(unseen)
    elif not firing and not session.as_json:
        session.screen.print("nothing is wrong that an alert tells of")


@app.command()
@with_session()
def history(
    *,
    session: Session,
    limit: Annotated[int, typer.Option("--limit", metavar="N", help="Show at most so many.")] = 50,
    deliveries: Annotated[
        bool, typer.Option("--deliveries", help="Show messages and what became of them instead.")
    ] = False,
) -> None:
    """Print alerts, firing and resolved, the newest first.

    \b
    Examples:
      liqctl alerts history --limit 10
      liqctl alerts history --deliveries --json
    """
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    whole_number("--limit", limit, 1, LIMIT_MAX)
    url = session.settings.database_url
    with closing(open_store(url, create=False, read_only=True)) as store:
        if deliveries:
            _print_deliveries(session, store.deliveries(limit=limit))
        else:
            _print_alerts(session, store.alerts(limit=limit))


@app.command("test")
@with_session()
def try_(
    *,
    session: Session,
    channel: Annotated[
        str | None, typer.Option("--channel", metavar="NAME", help="Only this channel.")
    ] = None,
) -> int:
    """Send a message through every channel and say which arrived.

    An incident that a test opens at PagerDuty is resolved at once. The exit code is 1 if a channel
    did not take its message.

    \b
    Examples:
      liqctl alerts test
      liqctl alerts test --channel slack --json
    """
    from liqctl.cli.alert_channels import routes_of  # noqa: PLC0415 - 150 ms, not for --help

    routes = [route for route in routes_of(session.settings) if channel in {None, route.name}]
    if not routes:
        raise SettingsError(
            "no alert channel is configured; set alert_channels or alert_channels_file, see "
            "docs/ALERTS.md"
            if channel is None
            else f"no alert channel is called {channel}"
        )
    trials = asyncio.run(_tried(routes))
    for one in trials:
        if session.as_json:
            session.screen.json({"type": "alert_test", **asdict(one)})
    if not session.as_json:
        cells = [
            (one.channel, one.severity, "delivered" if one.delivered else f"failed: {one.error}")
            for one in trials
        ]
        session.screen.table(("channel", "from severity", "result"), cells)
    return 0 if all(one.delivered for one in trials) else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trial:
    """How one channel did."""

    channel: str
    severity: str
    delivered: bool
    error: str = ""


async def _tried(routes: "Sequence[Route]") -> list[_Trial]:
    """Return how each channel did; all are tried at once."""
    from liqctl.alerts.channels import AppriseChannel  # noqa: PLC0415 - not for --help

    channels = [AppriseChannel(route) for route in routes]
    async with asyncio.TaskGroup() as tasks:
        trials = [tasks.create_task(_try(channel)) for channel in channels]
    for channel in channels:
        channel.close()
    return [trial.result() for trial in trials]


async def _try(channel: "AppriseChannel") -> _Trial:
    from liqctl.alerts.outbox import trial  # noqa: PLC0415 - not for --help
    from liqctl.ports import SystemClock  # noqa: PLC0415 - 20 ms, not for --help

    route = channel.route
    message = trial(route.name, route.least, SystemClock().unix_ms())
    try:
        await channel.notify(message)
        if channel.keeps_incidents:
            await channel.notify(replace(message, resolves=True))
    except DeliveryError as error:
        return _Trial(channel=route.name, severity=route.least, delivered=False, error=str(error))
    return _Trial(channel=route.name, severity=route.least, delivered=True)


def _unseen(now_ms: int, written_ms: int | None) -> str:
    """Return why what is wrong now may not be on record, or nothing."""
    from liqctl.cli.times import span  # noqa: PLC0415 - with the rows only
    from liqctl.core.health_grade import GradeLimits  # noqa: PLC0415 - not for --help

    if written_ms is None:
        return "no keeper has written to this database; `liqctl watch` starts one"
    if now_ms - written_ms <= GradeLimits().written_ms_max:
        return ""
    return (
        f"no keeper has written for {span(now_ms - written_ms)}, so nothing newer is listed: "
        "is `liqctl watch` up, and can it write to the database"
    )


def _print_alerts(session: Session, alerts: Sequence[Alert]) -> None:
    from liqctl.cli.times import span, utc  # noqa: PLC0415 - with the rows only
    from liqctl.ports import SystemClock  # noqa: PLC0415 - 20 ms, not for --help

    if session.as_json:
        for alert in alerts:
            session.screen.json({"type": "alert", **asdict(alert)})
        return
    now_ms = SystemClock().unix_ms()
    cells = []
    for alert in alerts:
        firing = alert.state is AlertState.FIRING
        lasted = span((alert.resolved_ms or now_ms) - alert.raised_ms)
        state = f"firing for {lasted}" if firing else f"resolved after {lasted}"
        cells.append((utc(alert.raised_ms // 1_000), alert.severity, state, alert.title))
    if cells:
        session.screen.table(("raised", "severity", "state", "what"), cells)
    if len(alerts) == 1:
        session.screen.print(alerts[0].body)


def _print_deliveries(session: Session, deliveries: Sequence[Delivery]) -> None:
    from liqctl.cli.times import utc  # noqa: PLC0415 - with the rows only

    if session.as_json:
        for delivery in deliveries:
            session.screen.json({"type": "delivery", **asdict(delivery)})
        return
    cells = [
        (utc(each.created_ms // 1_000), each.channel, _state(each), each.title)
        for each in deliveries
    ]
    if cells:
        session.screen.table(("created", "channel", "state", "what"), cells)


def _state(delivery: Delivery) -> str:
    from liqctl.cli.times import utc  # noqa: PLC0415 - with the rows only

    if delivery.delivered_ms is not None:
        return f"delivered {utc(delivery.delivered_ms // 1_000)}"
    if delivery.next_try_ms >= GIVEN_UP_MS:
        return delivery.error
    if delivery.tries == 0:
        return "waiting"
    return f"tried {delivery.tries} times: {delivery.error}"
