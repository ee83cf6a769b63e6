"""`liqctl watch`: the keeper as a daemon."""

import asyncio
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Session, whole_number, with_session
from liqctl.cli.redact import redact
from liqctl.errors import SettingsError

if TYPE_CHECKING:
    from liqctl.cli.connect import Connection
    from liqctl.cli.embedded import Embedded
    from liqctl.keeper.context import Context
    from liqctl.keeper.service import Keeper

app = command_app()

# Limits that guard money would only slow down a crash of 2,000 positions within a minute.
PLAY_LIMITS = {
    "max_in_flight": 256,
    "spend_hour_lamports": 2_000_000_000,
    "spend_day_lamports": 2_000_000_000,
}

DURATION_S_MAX = 10**9
EMBEDDED = (2_000, 3, 1, "crash")
OF_A_CLUSTER = (
    *("rpc_url", "rpc_fallback_urls", "send_urls", "ws_url"),
    *("keypair", "venue", "program_id", "commitment"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `watch` was asked to do."""

    localnet: bool
    positions: int
    markets: int
    seed: int
    path: str
    duration_s: float | None
    serve: bool

    def check(self, origins: Mapping[str, str]) -> None:
        """Refuse numbers out of range, and options that would silently do nothing.

        Raises:
            SettingsError: a number is out of range, or an option is of the other kind of chain.
        """
        whole_number("--positions", self.positions, 0, 1_000_000)
        whole_number("--markets", self.markets, 1, 8)
        whole_number("--seed", self.seed, 0, 2**63 - 1)
        if self.duration_s is not None and not 0 <= self.duration_s <= DURATION_S_MAX:
            raise SettingsError(
                f"--duration must be 0 to {DURATION_S_MAX} seconds, was {self.duration_s:g}"
            )
        ours = [name for name in OF_A_CLUSTER if origins[name].startswith("--")]
        if self.localnet and ours:
            raise SettingsError(
                f"--localnet brings its own chain, program and key; leave out {origins[ours[0]]}"
            )
        if not self.localnet and (self.positions, self.markets, self.seed, self.path) != EMBEDDED:
            raise SettingsError(
                "--positions, --markets, --seed and --path describe the chain of --localnet"
            )


@app.command(
    epilog="Examples: liqctl watch -u URL -k KEY; liqctl watch --localnet --duration 60 --json"
)
@with_session("shadow_rate", "dry_run", "yes", daemon=True)
def watch(
    *,
    session: Session,
    localnet: Annotated[
        bool, typer.Option("--localnet", help="Start an embedded chain and work on it.")
    ] = False,
    positions: Annotated[
        int, typer.Option("--positions", help="Positions on the embedded chain.")
    ] = EMBEDDED[0],
    markets: Annotated[
        int, typer.Option("--markets", help="Markets on the embedded chain.")
    ] = EMBEDDED[1],
    seed: Annotated[
        int, typer.Option("--seed", help="What the embedded chain grows from.")
    ] = EMBEDDED[2],
    path: Annotated[
        str,
        typer.Option("--path", help="Prices of the embedded chain: crash, calm or a CSV file."),
    ] = EMBEDDED[3],
    duration: Annotated[
        float | None,
        typer.Option("--duration", metavar="SECONDS", help="End by itself after this long."),
    ] = None,
    serve: Annotated[
        bool,
        typer.Option(
            "--serve", help="Serve the API too, by a `liqctl serve` that never has the key."
        ),
    ] = False,
    stop: Annotated[
        bool,
        typer.Option("--stop", help="Stop every keeper on the database from signing, and end."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Lift a stop or an open circuit breaker, and end.")
    ] = False,
) -> int:
    """Watch all positions and liquidate the unhealthy ones.

    Several venues are watched by one process; they share its endpoints, key, limits and database.
    Nothing is signed while the database holds a stop (--stop), a file STOP lies beside it, or
    after SIGUSR1; what is in the air goes on being settled.
    """
    if stop or resume:
        return _switch(session, stop=stop, resume=resume)
    plan = Plan(
        localnet=localnet,
        positions=positions,
        markets=markets,
        seed=seed,
        path=path,
        duration_s=duration,
        serve=serve,
    )
    plan.check(session.origins)
    if serve:
        _check_serving(session)
    return asyncio.run(_watch(session, plan, _remembered_pulls()))


def _remembered_pulls() -> list[int]:
    """Return the list in which signals of the kill switch gather until there is a keeper to heed them."""
    came: list[int] = []
    signal.signal(signal.SIGUSR1, lambda number, _frame: came.append(number))
    return came


def _switch(session: Session, *, stop: bool, resume: bool) -> int:
    """Set or lift the kill switch in the database."""
    from liqctl.ports import SystemClock  # noqa: PLC0415 - 30 ms, not for --help
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help
    from liqctl.store.switch import write_switch  # noqa: PLC0415 - with the keeper only

    if stop and resume:
        raise SettingsError("--stop and --resume exclude each other")
    store = open_store(session.settings.database_url, create=False)
    try:
        write_switch(store, SystemClock().unix_ms(), stop=stop)
    finally:
        store.close()
    database = redact(session.settings.database_url)
    if session.as_json:
        session.screen.json({"type": "switch", "stopped": stop, "database": database})
    elif stop:
        session.screen.print(f"stopped: no keeper on {database} signs until `--resume`")
    else:
        session.screen.print(f"resumed: keepers on {database} may sign")
    return 0


async def _watch(session: Session, plan: Plan, pulls: "Sequence[int]") -> int:
    from liqctl.cli.connect import connected_all  # noqa: PLC0415 - 300 ms, not for --help

    async with AsyncExitStack() as stack:
        embedded = None
        if plan.localnet:
            session, embedded = await stack.enter_async_context(_embedded(session, plan))
        connections = await stack.enter_async_context(connected_all(session.settings))
        return await _keep(session, plan, connections, embedded, pulls)


@asynccontextmanager
async def _embedded(session: Session, plan: Plan) -> AsyncIterator[tuple[Session, "Embedded"]]:
    """Start the chain and point the session at it; its key and records are temporary."""
    from liqctl.cli.embedded import embedded_chain  # noqa: PLC0415 - with the chain only

    if session.screen.err.is_terminal:
        session.screen.note(f"starting an embedded chain with {plan.positions:,} positions")
    with tempfile.TemporaryDirectory(prefix="liqctl-") as folder:
        place = Path(folder)
        async with embedded_chain(
            place / "liquidator.json",
            positions=plan.positions,
            markets=plan.markets,
            seed=plan.seed,
            path=plan.path,
        ) as chain:
            changes: dict[str, object] = {
                "rpc_url": chain.rpc_url,
                "rpc_fallback_urls": (),
                "send_urls": (),
                "rpc_requests_per_s": 100_000,
                "ws_url": chain.ws_url,
                "venue": ("reference",) if session.settings.mapping is None else (),
                "program_id": chain.program_id,
                "keypair": str(place / "liquidator.json"),
            }
            played = {"database_url": f"sqlite:{place / 'liqctl.db'}", **PLAY_LIMITS}
            changes |= {n: v for n, v in played.items() if session.origins[n] == "default"}
            settings = session.settings.model_copy(update=changes)
            yield replace(session, settings=settings), chain


async def _keep(
    session: Session,
    plan: Plan,
    connections: "Sequence[Connection]",
    embedded: "Embedded | None",
    pulls: "Sequence[int]",
) -> int:
    """Run the keepers until a signal or the end of the duration; print the summary then."""
    from liqctl.cli.alert_channels import alerting_of  # noqa: PLC0415 - with the keeper only
    from liqctl.cli.connect import (  # noqa: PLC0415 - 300 ms, not for --help
        dry_liquidator,
        keepers_of,
        kept_all,
        signer_of,
    )
    from liqctl.cli.serve_child import ServeChild  # noqa: PLC0415 - with the keeper only
    from liqctl.cli.stream import EventStream  # noqa: PLC0415 - with the keeper only
    from liqctl.cli.summary import print_summary  # noqa: PLC0415 - with the keeper only
    from liqctl.keeper.departed import forget_departed  # noqa: PLC0415 - with the keeper only
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    database = "sqlite::memory:" if session.dry_run else session.settings.database_url
    async with (
        signer_of(session, *connections) as signer,
        kept_all(connections, open_store(database)) as contexts,
    ):
        liquidator = dry_liquidator(session.settings) if signer is None else None
        keepers = keepers_of(contexts, session.settings, signer=signer, liquidator=liquidator)
        clock = contexts[0].clock
        await _tell_of_others(session, contexts)
        venues = [context.venue.id for context in contexts]
        await forget_departed(contexts[0].store, venues, clock.unix_ms())
        stop = asyncio.Event()
        _stop_on_signals(stop)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _pull, keepers)
        if pulls:
            _pull(keepers)
        started_ns = clock.monotonic_ns()
        delivers = not session.dry_run
        async with (
            alerting_of(session.settings, contexts[0], keepers, delivers=delivers) as alerting,
            asyncio.TaskGroup() as tasks,
        ):
            events = EventStream(session, contexts[0], stop) if session.as_json else None
            showing = events.run() if events is not None else _show(session, keepers, contexts[0])
            side = [
                tasks.create_task(showing, name="show"),
                tasks.create_task(alerting.run(), name="alerts"),
            ]
            if plan.serve:
                api = ServeChild(session, contexts[0])
                side.append(tasks.create_task(api.run(), name="api"))
            if embedded is not None:
                side.append(tasks.create_task(embedded.watched(), name="chain"))
            if plan.duration_s is not None:
                side.append(tasks.create_task(_end_after(plan.duration_s, keepers, embedded, stop)))
            await _run_all(keepers, stop)
            for task in side:
                task.cancel()
        if events is not None:
            await events.end()
        if plan.duration_s is not None:
            clean = await print_summary(session, contexts, keepers, started_ns)
            return 0 if clean or session.dry_run else 1
        return 0


def _check_serving(session: Session) -> None:
    from liqctl.cli.serve_child import check_serving  # noqa: PLC0415 - with --serve only

    if session.dry_run:
        raise SettingsError("--serve shows what is recorded, and --dry-run records nothing")
    check_serving(session.settings)


async def _tell_of_others(session: Session, contexts: "Sequence[Context]") -> None:
    """Say so when attempts are in the air of venues that nobody here watches and settles."""
    store = contexts[0].store
    everything = len(await store.run(store.store.live_attempts))
    for context in contexts:
        everything -= len(await store.run(store.store.live_attempts, context.venue.program_id))
    if everything:
        session.screen.note(
            f"{everything:,} attempts of other venues are on record and not final; only a watch of "
            "theirs settles them"
        )


async def _run_all(keepers: "Sequence[Keeper]", stop: asyncio.Event) -> None:
    """Run every keeper to its end; one that dies takes the others with it, loudly."""
    async with asyncio.TaskGroup() as tasks:
        for keeper in keepers:
            tasks.create_task(keeper.run(stop), name=f"keeper {keeper.venue.id}")


def _pull(keepers: "Sequence[Keeper]") -> None:
    """Set the kill switch of this process."""
    for keeper in keepers:
        keeper.holds.pull()


def _stop_on_signals(stop: asyncio.Event) -> None:
    """Set `stop` at the first SIGINT or SIGTERM; the second one ends the program at once."""
    loop = asyncio.get_running_loop()
    both = (signal.SIGINT, signal.SIGTERM)

    def first() -> None:
        stop.set()
        for each in both:
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    for each in both:
        loop.add_signal_handler(each, first)


async def _end_after(
    seconds: float,
    keepers: "Sequence[Keeper]",
    embedded: "Embedded | None",
    stop: asyncio.Event,
) -> None:
    """Stop when the time is up; on an embedded chain prices rest first and the queue runs dry."""
    await asyncio.sleep(seconds)
    if embedded is not None:
        await embedded.rest()
        for _ in range(50):
            await asyncio.sleep(0.2)
            if not any(one.in_flight() or one.engine.undoubted for one in keepers):
                break
    stop.set()


async def _show(session: Session, keepers: "Sequence[Keeper]", context: "Context") -> None:
    """Show the live view on a terminal; elsewhere the log says what happens."""
    if session.screen.out.is_terminal and not session.screen.out.is_dumb_terminal:
        from liqctl.cli.live import show_live  # noqa: PLC0415 - when there is a terminal

        await show_live(session, keepers, context)
