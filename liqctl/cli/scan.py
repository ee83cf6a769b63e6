"""`liqctl scan`: one complete pass over all positions."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Session, whole_number, with_session
from liqctl.errors import LiqctlError, RpcError, SettingsError, StoreError

if TYPE_CHECKING:
    from liqctl.cli.connect import Connection
    from liqctl.keeper.context import Context
    from liqctl.keeper.service import Keeper
    from liqctl.keeper.survey import Finding, Survey

app = command_app()

FOUND = 3
QUOTE_UNIT = 1_000_000


@app.command(
    epilog="Examples: liqctl scan --dry-run --json; liqctl scan --market SOL --liquidate -y"
)
@with_session("dry_run", "yes")
def scan(
    *,
    session: Session,
    market: Annotated[
        str | None, typer.Option("--market", metavar="SYMBOL", help="Only this market.")
    ] = None,
    min_notional: Annotated[
        int,
        typer.Option(
            "--min-notional", metavar="QUOTE", help="Only from this notional on, in quote."
        ),
    ] = 0,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", help="Show and queue at most so many; 0 is all.")
    ] = 0,
    liquidate: Annotated[
        bool, typer.Option("--liquidate", help="Liquidate at once what is found.")
    ] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 3 when something is liquidatable.")
    ] = False,
) -> int:
    """Look at every position once and queue the liquidatable ones.

    A running `liqctl watch` on the same database takes what was queued. With --dry-run nothing is
    written and no key is loaded.
    """
    whole_number("--min-notional", min_notional, 0, 2**63 // QUOTE_UNIT)
    whole_number("--limit", limit, 0, 10**9)
    if liquidate and session.dry_run:
        raise SettingsError("--liquidate and --dry-run exclude each other")
    wanted = Wanted(market, min_notional * QUOTE_UNIT, limit or None, liquidate)
    found = asyncio.run(_scan(session, wanted))
    return FOUND if found and exit_code else 0


class Wanted:
    """What a scan looks for and does with it."""

    def __init__(
        self, market: str | None, min_notional: int, limit: int | None, liquidate: bool
    ) -> None:
        """Keep the choices of the command line."""
        self.market = market
        self.min_notional = min_notional
        self.limit = limit
        self.liquidate = liquidate


async def _scan(session: Session, wanted: Wanted) -> int:
    """Scan, print, queue or liquidate; return how many were found."""
    from liqctl.cli.connect import (  # noqa: PLC0415 - 300 ms, not for --help
        connected,
        keeper_of,
        kept,
        signer_of,
    )
    from liqctl.keeper.survey import survey  # noqa: PLC0415 - with the keeper only
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    database = "sqlite::memory:" if session.dry_run else session.settings.database_url
    async with (
        connected(session.settings) as connection,
        signer_of(session, connection, wanted=wanted.liquidate) as signer,
        kept(connection, open_store(database)) as context,
    ):
        keeper = keeper_of(context, session.settings, signer=signer, streams=False)
        with _progress(session) as progress:
            found = await survey(
                keeper,
                context,
                market=wanted.market,
                min_notional=wanted.min_notional,
                progress=progress,
            )
        _check_market(connection, keeper, wanted.market)
        findings = found.findings[: wanted.limit]
        _print(session, connection, found, findings)
        if wanted.liquidate:
            await _liquidate(session, keeper, context, findings)
        elif not session.dry_run:
            await _enqueue(session, context, connection, findings)
        return len(found.findings)


def _check_market(connection: "Connection", keeper: "Keeper", market: str | None) -> None:
    """Refuse a scan of nothing: it would read as if nothing were liquidatable."""
    known = sorted(each.symbol for each, _ in keeper.engine.markets())
    if not known:
        venue = connection.venue
        raise SettingsError(
            f"the program {venue.program_id} has no market of the {venue.id} venue; "
            "name the right one with --program-id"
        )
    if market is not None and market not in known:
        raise SettingsError(f"no market is called {market!r}; there is: {', '.join(known)}")


async def _enqueue(
    session: Session,
    context: "Context",
    connection: "Connection",
    findings: "tuple[Finding, ...]",
) -> None:
    """Hand the findings to a running keeper by the store."""
    from liqctl.keeper.survey import queue_row  # noqa: PLC0415 - with the keeper only

    now_ms = connection.clock.unix_ms()
    rows = [queue_row(finding, connection.venue.id, now_ms) for finding in findings]
    if rows:
        await context.store.run(context.store.store.order_queue, rows)
        if not session.as_json:
            database = session.settings.database_url
            session.screen.note(
                f"queued {len(rows):,} in {database}; a running `liqctl watch` on it takes them"
            )


async def _liquidate(
    session: Session, keeper: "Keeper", context: "Context", findings: "tuple[Finding, ...]"
) -> None:
    """Carry every finding out, worst first, one after the other.

    Raises:
        LiqctlError: some of them did not end as they should; the first decides the exit code.
        RpcError, StoreError: the rest would end in the same way and was not begun.
    """
    from liqctl.cli.carry_out import (  # noqa: PLC0415 - with the keeper only
        carry_out,
        failed,
        refused,
    )
    from liqctl.cli.connect import tuning_of  # noqa: PLC0415 - 300 ms, not for --help

    limits = tuning_of(session.settings).limits
    failures: list[LiqctlError] = []
    for finding in findings:
        position, verdict = finding.position, finding.assessment
        try:
            ending = refused(verdict, limits) or await carry_out(
                keeper, context.store, position, verdict, keeper.engine.view
            )
            ended = ending.error()
        except (RpcError, StoreError):
            raise
        except LiqctlError as error:
            ending, ended = failed(position.address, error), error
        if session.as_json:
            session.screen.json({"type": "outcome", **ending.as_json()})
        else:
            session.screen.print(f"{position.address}: {ending.text}")
        if ended is not None:
            failures.append(ended)
    if failures:
        count = f"{len(failures)} of {len(findings)} liquidations did not succeed"
        raise type(failures[0])(f"{count}; the first: {failures[0]}")


@contextmanager
def _progress(session: Session) -> Iterator[Callable[[int, int], None]]:
    """Show how far the scan is, on a terminal only."""
    if not session.screen.err.is_terminal or session.as_json:
        yield lambda _done, _total: None
        return
    from rich.progress import Progress  # noqa: PLC0415 - on a terminal only

    with Progress(console=session.screen.err, transient=True) as bar:
        task = bar.add_task("reading positions", total=None)

        def advance(done: int, total: int) -> None:
            bar.update(task, description="confirming", completed=done, total=total)

        yield advance


def _print(
    session: Session, connection: "Connection", found: "Survey", findings: "tuple[Finding, ...]"
) -> None:
    if session.as_json:
        session.screen.json(
            {
                "type": "scan",
                "slot": found.slot,
                "venue": connection.venue.id,
                "coverage": found.coverage,
                "liquidatable": [row_of(finding) for finding in findings],
            }
        )
        return
    _print_table(session, findings)
    coverage = found.coverage
    unknown = ", ".join(f"{count} {reason}" for reason, count in sorted(coverage.unknown.items()))
    shown = f", {len(findings):,} shown" if len(findings) < len(found.findings) else ""
    session.screen.print(
        f"{len(found.findings):,} liquidatable at slot {found.slot:,}{shown}; coverage "
        f"{coverage.evaluated:,} of {coverage.positions:,} positions"
        + (f", unknown: {unknown}" if unknown else "")
    )


def _print_table(session: Session, findings: "tuple[Finding, ...]") -> None:
    from liqctl.cli.render import health, quote  # noqa: PLC0415 - 40 ms, not for --help

    if not findings:
        return
    rows = [
        (
            finding.position.address,
            finding.assessment.symbol,
            finding.position.side.value,
            quote(finding.assessment.notional),
            health(finding.assessment.health),
            finding.assessment.kind or "blocked",
            quote(finding.assessment.reward),
            quote(finding.assessment.bad_debt),
        )
        for finding in findings
    ]
    columns = ("position", "market", "side", "notional", "health", "kind", "reward", "bad debt")
    session.screen.table(columns, rows, right=("notional", "health", "reward", "bad debt"))


def row_of(finding: "Finding") -> dict[str, object]:
    """Return a finding as scripts see it: integers in 1e-6 quote and the venue's size unit."""
    position, verdict = finding.position, finding.assessment
    return {
        "position": position.address,
        "owner": position.owner,
        "symbol": verdict.symbol,
        "side": position.side.value,
        "size": position.size,
        "notional": verdict.notional,
        "price_e6": verdict.price_e6,
        "health": verdict.health,
        "equity": verdict.equity,
        "maintenance_margin": verdict.maintenance_margin,
        "kind": verdict.kind,
        "close_size": verdict.close_size,
        "reward": verdict.reward,
        "bad_debt": verdict.bad_debt,
        "slot": verdict.slot,
        "blockers": verdict.blockers,
    }
