"""From settings to alert channels, rules and the task that uses them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from liqctl.alerts.channel_file import read_channel_file
from liqctl.alerts.channels import AppriseChannel
from liqctl.alerts.policy import Pacing
from liqctl.alerts.routes import Route, parse_routes
from liqctl.alerts.rule import Thresholds
from liqctl.config import Settings
from liqctl.errors import SettingsError
from liqctl.keeper.alerting import Alerting, AlertRules
from liqctl.keeper.outbox import Outbox

if TYPE_CHECKING:
    from liqctl.keeper.context import Context
    from liqctl.keeper.service import Keeper


def routes_of(settings: Settings) -> tuple[Route, ...]:
    """Return the channels of the settings and of the file that they name; it reads and blocks.

    Raises:
        SettingsError: the file cannot be used, or a channel in it cannot be read.
    """
    path = settings.alert_channels_file
    in_file = () if path is None else read_channel_file(Path(path).expanduser())
    try:
        return parse_routes((*settings.alert_channels, *in_file))
    except SettingsError as error:
        raise SettingsError(f"the alert channels of {path} {error}") from error


@asynccontextmanager
async def opened_channels(routes: Sequence[Route]) -> AsyncIterator[dict[str, AppriseChannel]]:
    """Yield the channels by name, each checked; nothing is sent.

    Raises:
        SettingsError: apprise does not understand one.
    """
    channels = {route.name: AppriseChannel(route) for route in routes}
    try:
        for channel in channels.values():
            await channel.check()
        yield channels
    finally:
        for channel in channels.values():
            channel.close()


@asynccontextmanager
async def alerting_of(
    settings: Settings,
    context: "Context",
    keepers: "Sequence[Keeper]",
    *,
    delivers: bool,
) -> AsyncIterator[Alerting]:
    """Yield the task that watches the keepers; without delivery alerts are recorded only.

    Raises:
        SettingsError: a channel cannot be used.
    """
    routes = routes_of(settings) if delivers else ()
    async with opened_channels(routes) as channels:
        outbox = None
        if channels:
            outbox = Outbox(
                context.store,
                context.clock,
                context.rng,
                owner=context.owner,
                channels=dict(channels),
            )
        yield Alerting(
            context.store,
            context.clock,
            [keeper.recent_status for keeper in keepers],
            owner=context.owner,
            rules=rules_of(settings, routes),
            outbox=outbox,
        )


def rules_of(settings: Settings, routes: Sequence[Route]) -> AlertRules:
    """Return what the settings say about alerts."""
    return AlertRules(
        thresholds=Thresholds(
            fund_bps_min=settings.alert_min_fund_bps,
            failed_bps_max=settings.alert_max_failed_bps,
            attempts_min=settings.alert_min_attempts,
            window_ms=settings.alert_window_s * 1_000,
            latency_ms_max=settings.alert_max_latency_ms,
            rpc_errors_minute_max=settings.alert_max_rpc_errors_per_minute,
            price_ms_max=settings.alert_max_price_gap_s * 1_000,
            balance_lamports_min=settings.alert_min_balance_lamports,
            uncovered_max=settings.alert_max_uncovered,
        ),
        pacing=Pacing(
            resolve_ms=settings.alert_resolve_after_s * 1_000,
            repeat_ms=settings.alert_repeat_after_s * 1_000,
        ),
        routes=routes,
        digest_hour=settings.alert_digest_hour_utc,
    )
