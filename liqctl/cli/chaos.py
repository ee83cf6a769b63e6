"""`liqctl dev chaos-proxy`: the set-up of an operator against a node that misbehaves."""

import asyncio
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli.options import Json, NoColor
from liqctl.errors import SettingsError

if TYPE_CHECKING:
    from liqctl.cli.render import Screen
    from liqctl.sim.chaos.plan import Plan
    from liqctl.sim.chaos.profiles import Profile
    from liqctl.sim.chaos.proxy import ChaosProxy

PORT_MAX = 65_535
CHAOS_EXAMPLE = "Example: liqctl dev chaos-proxy --upstream URL --profile flaky --rate delay=20"


def chaos_proxy(
    *,
    upstream: Annotated[
        str | None,
        typer.Option(
            "--upstream",
            metavar="URL_OR_MONIKER",
            help="The node behind the proxy; nobody is shown more of the URL than its host.",
        ),
    ] = None,
    upstream_ws: Annotated[
        str | None,
        typer.Option(
            "--upstream-ws",
            metavar="URL",
            help="Its WebSocket endpoint; derived from --upstream unless given.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option("--profile", metavar="NAME", help="What goes wrong: see --list-profiles."),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed",
            min=0,
            max=2**63 - 1,
            help="What faults grow from; the same seed chooses the same faults by request number.",
        ),
    ] = 1,
    rate: Annotated[
        list[str] | None,
        typer.Option(
            "--rate",
            metavar="KIND=PERCENT",
            help="Change how often one kind of fault comes; 0 takes it out. May be repeated.",
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=PORT_MAX, help="For JSON-RPC; 0 takes a free one."),
    ] = 0,
    ws_port: Annotated[
        int | None,
        typer.Option(
            "--ws-port",
            min=0,
            max=PORT_MAX,
            help="For WebSocket; the one after --port unless given, 0 takes a free one.",
        ),
    ] = None,
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="SECONDS", min=0, help="End by itself after this long."),
    ] = None,
    list_profiles: Annotated[
        bool, typer.Option("--list-profiles", help="Show the profiles and faults, and end.")
    ] = False,
    as_json: Json = False,
    no_color: NoColor = False,
) -> None:
    """Stand before a node and inject faults, to rehearse a set-up.

    Point a keeper at the printed addresses. It listens on this host alone. Faults are counted
    by kind and method; the summary comes at the end, after Ctrl-C or --duration.
    """
    from liqctl.cli.render import Screen  # noqa: PLC0415 - 40 ms, not for --help
    from liqctl.sim.chaos.plan import Plan  # noqa: PLC0415 - with the proxy only
    from liqctl.sim.chaos.profiles import profile_named, rate_of  # noqa: PLC0415 - as above

    screen = Screen(no_color=no_color)
    if list_profiles:
        _list(screen, as_json=as_json)
        return
    if upstream is None or profile is None:
        raise SettingsError("--upstream and --profile are needed; --list-profiles shows profiles")
    chosen = profile_named(profile).with_rates(dict(map(rate_of, rate or ())))
    plan = Plan(profile=chosen, seed=seed)
    proxy = _proxy(upstream, upstream_ws, plan, (port, ws_port))
    asyncio.run(_serve(screen, proxy, plan, duration, as_json=as_json))


def _proxy(
    upstream: str, upstream_ws: str | None, plan: "Plan", ports: tuple[int, int | None]
) -> "ChaosProxy":
    from liqctl.chain.urls import checked_rpc_url, websocket_url  # noqa: PLC0415 - as above
    from liqctl.config import MONIKERS  # noqa: PLC0415 - 60 ms, not for --help
    from liqctl.ports import SystemClock  # noqa: PLC0415 - 30 ms, not for --help
    from liqctl.sim.chaos.proxy import ChaosProxy  # noqa: PLC0415 - 150 ms, not for --help

    url = checked_rpc_url(MONIKERS.get(upstream, upstream), allow_plain=False)
    ws_url = websocket_url(url) if upstream_ws is None else upstream_ws
    return ChaosProxy(url, ws_url, plan, SystemClock(), ports=ports)


async def _serve(
    screen: "Screen",
    proxy: "ChaosProxy",
    plan: "Plan",
    duration_s: float | None,
    *,
    as_json: bool,
) -> None:
    """Serve until a signal or the end of the duration; print the summary then."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, stop.set)
    async with proxy:
        _announce(screen, proxy, plan, as_json=as_json)
        with suppress(TimeoutError):
            async with asyncio.timeout(duration_s):
                await stop.wait()
    summary = proxy.tally.summary()
    if as_json:
        screen.json({"type": "summary", "profile": plan.profile.name, "seed": plan.seed, **summary})
    else:
        _print_summary(screen, summary)


def _announce(screen: "Screen", proxy: "ChaosProxy", plan: "Plan", *, as_json: bool) -> None:
    profile = plan.profile
    if as_json:
        screen.json(
            {
                "type": "ready",
                "rpc_url": proxy.url,
                "ws_url": proxy.ws_url,
                "profile": profile.name,
                "seed": plan.seed,
                "rates": profile.rates,
                "upstream": proxy.shown_upstream,
            }
        )
        return
    screen.print(
        f"{profile.name} (seed {plan.seed}): {proxy.url} and {proxy.ws_url} "
        f"before {proxy.shown_upstream}; Ctrl-C ends it"
    )
    screen.out.file.flush()


def _print_summary(screen: "Screen", summary: Mapping[str, object]) -> None:
    screen.print(
        f"{summary['requests']} calls in {summary['exchanges']} requests, {summary['frames']} "
        f"frames on {summary['sockets']} sockets, {summary['faults']} faults, "
        f"{summary['upstream_failures']} failures of the node itself"
    )
    by_method = summary["faults_by_method"]
    if isinstance(by_method, dict) and by_method:
        rows = [
            (kind, sum(methods.values()), ", ".join(f"{n} {m}" for m, n in methods.items()))
            for kind, methods in by_method.items()
        ]
        screen.table(["fault", "count", "of"], rows, right=["count"])


def _list(screen: "Screen", *, as_json: bool) -> None:
    from liqctl.sim.chaos.faults import ABOUT  # noqa: PLC0415 - with the list only
    from liqctl.sim.chaos.profiles import PROFILES  # noqa: PLC0415 - as above

    profiles: Sequence[Profile] = list(PROFILES.values())
    if as_json:
        shown = [{"name": p.name, "about": p.about, "rates": p.rates} for p in profiles]
        faults = [{"kind": kind, "about": about} for kind, about in ABOUT.items()]
        screen.json({"type": "profiles", "profiles": shown, "faults": faults})
        return
    rows = [
        (p.name, p.about, ", ".join(f"{k}={r:g}" for k, r in p.rates.items())) for p in profiles
    ]
    screen.table(["profile", "what goes wrong", "rates in percent"], rows)
    screen.print("")
    screen.table(["fault", "what it is"], list(ABOUT.items()))
