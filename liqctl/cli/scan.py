"""`liqctl scan`: one complete pass over all positions."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Accounts, Now, Session, whole_number, with_session
from liqctl.cli.redact import redact
from liqctl.errors import GuardError, LiqctlError, RpcError, SettingsError, StoreError

if TYPE_CHECKING:
    from liqctl.core.engine import Engine
    from liqctl.keeper.context import Context
    from liqctl.keeper.service import Keeper
    from liqctl.keeper.survey import Finding, Survey
    from liqctl.ports import Venue

app = command_app()

FOUND = 3
QUOTE_UNIT = 1_000_000
TIMES = {"option": "command line", "clock": "dumped clock", "newest_price": "newest price"}


@app.command(
    epilog="Examples: liqctl scan --dry-run --json; liqctl scan --market SOL --liquidate -y; "
    "liqctl scan --accounts DIR"
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
    accounts: Accounts = None,
    now: Now = None,
) -> int:
    """Look at every position once and queue the liquidatable ones.

    A running `liqctl watch` on the same database takes what was queued. With --dry-run nothing is
    written and no key is loaded; with --accounts neither, and no node is asked. Several venues are
    scanned one after the other; one that fails does not keep the others from being scanned.
    """
    whole_number("--min-notional", min_notional, 0, 2**63 // QUOTE_UNIT)
    whole_number("--limit", limit, 0, 10**9)
    if liquidate and session.dry_run:
        raise SettingsError("--liquidate and --dry-run exclude each other")
    wanted = Wanted(market, min_notional * QUOTE_UNIT, limit or None, liquidate)
    if accounts is None:
        if now is not None:
            raise SettingsError("--now needs --accounts: a node says what time it is")
        found = asyncio.run(_scan(session, wanted))
    elif liquidate:
        raise SettingsError("--liquidate needs a node; leave out --accounts")
    else:
        found = _audit(session, wanted, accounts, now)
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
    """Scan each venue, print, queue or liquidate; return how many were found.

    Raises:
        LiqctlError: a venue could not be scanned, after all others were; the first decides.
    """
    from liqctl.cli.connect import (  # noqa: PLC0415 - 300 ms, not for --help
        connected_all,
        keepers_of,
        kept_all,
        signer_of,
    )
    from liqctl.cli.programs import venues_of  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    if wanted.liquidate:
        refuse_watch_only(*venues_of(session.settings))
    database = "sqlite::memory:" if session.dry_run else session.settings.database_url
    async with (
        connected_all(session.settings) as connections,
        signer_of(session, *connections, wanted=wanted.liquidate) as signer,
        kept_all(connections, open_store(database)) as contexts,
    ):
        found, errors = 0, list[LiqctlError]()
        keepers = keepers_of(contexts, session.settings, signer=signer, streams=False)
        for keeper, context in zip(keepers, contexts, strict=True):
            try:
                found += await _scan_one(session, wanted, keeper, context, several=len(keepers) > 1)
            except LiqctlError as error:
                if len(keepers) == 1:
                    raise
                session.screen.note(f"liqctl: {context.venue.id}: {redact(str(error))}")
                errors.append(error)
        if errors:
            raise errors[0]
        return found


async def _scan_one(
    session: Session, wanted: Wanted, keeper: "Keeper", context: "Context", *, several: bool
) -> int:
    """Scan one venue; return how many were found."""
    from liqctl.keeper.survey import survey  # noqa: PLC0415 - with the keeper only

    with _progress(session) as progress:
        found = await survey(
            keeper,
            context,
            market=wanted.market,
            min_notional=wanted.min_notional,
            progress=progress,
        )
    _check_market(context.venue, keeper.engine, wanted.market)
    findings = found.findings[: wanted.limit]
    _print(session, context.venue, found, findings, several=several)
    if not wanted.liquidate:
        if not session.dry_run:
            await _enqueue(session, context, findings)
    elif keeper.liquidator is not None:
        await _liquidate(session, keeper, context, findings)
    return len(found.findings)


def _audit(session: Session, wanted: Wanted, folder: Path, now_s: int | None) -> int:
    """Scan account dumps and print; return how many were found."""
    from liqctl.cli.dumps import read_dumps  # noqa: PLC0415 - when asked for
    from liqctl.cli.programs import venues_of  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.keeper.offline import audit, engine_of, shelf_of  # noqa: PLC0415 - the same

    count, dumps, venues = 0, read_dumps(folder), venues_of(session.settings)
    several = len(venues) > 1
    for venue in venues:
        shelf = shelf_of(venue, dumps, now_s)
        engine = engine_of(venue, shelf)
        _check_market(venue, engine, wanted.market)
        found = audit(engine, shelf, market=wanted.market, min_notional=wanted.min_notional)
        time = {"now_s": shelf.now_s, "now_from": shelf.now_from}
        _print(session, venue, found, found.findings[: wanted.limit], time, several=several)
        count += len(found.findings)
    return count


def refuse_watch_only(*venues: "Venue") -> None:
    """Refuse to liquidate where every venue can only be watched.

    Raises:
        GuardError: it is so; why, for the first.
    """
    from liqctl.venues.confirming import facts_for  # noqa: PLC0415 - with the venue only

    reasons = [facts_for(venue).why_not for venue in venues]
    if None not in reasons:
        raise GuardError(f"{venues[0].id} can only be watched, nothing was sent: {reasons[0]}")


def _check_market(venue: "Venue", engine: "Engine", market: str | None) -> None:
    """Refuse a scan of nothing: it would read as if nothing were liquidatable."""
    known = sorted(each.symbol for each, _ in engine.markets())
    if not known:
        raise SettingsError(
            f"the program {venue.program_id} has no market of the {venue.id} venue; "
            "name the right one with --program-id, or --venue NAME=PROGRAM_ID among several"
        )
    if market is not None and market not in known:
        raise SettingsError(f"no market is called {market!r}; there is: {', '.join(known)}")


async def _enqueue(
    session: Session,
    context: "Context",
    findings: "tuple[Finding, ...]",
) -> None:
    """Hand the findings to a running keeper by the store."""
    from liqctl.keeper.survey import queue_row  # noqa: PLC0415 - with the keeper only

    now_ms = context.clock.unix_ms()
    rows = [queue_row(finding, context.venue.id, now_ms) for finding in findings]
    if rows:
        await context.store.run(context.store.store.order_queue, rows)
        if not session.as_json:
            database = redact(session.settings.database_url)
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
    session: Session,
    venue: "Venue",
    found: "Survey",
    findings: "tuple[Finding, ...]",
    time: Mapping[str, object] | None = None,
    *,
    several: bool = False,
) -> None:
    blocked = _blocked(found)
    if session.as_json:
        estimated = {"estimates": [row_of(one) for one in found.estimates]}
        session.screen.json(
            {
                "type": "scan",
                "slot": found.slot,
                "venue": venue.id,
                "coverage": found.coverage,
                "liquidatable": [row_of(finding) for finding in findings],
                **({"blocked": blocked} if blocked else {}),
                **(estimated if found.estimates else {}),
                **(time or {}),
            }
        )
        return
    _print_table(session, (*findings, *found.estimates))
    coverage = found.coverage
    unknown = ", ".join(f"{count} {reason}" for reason, count in sorted(coverage.unknown.items()))
    where = f"{venue.id}: " if several else ""
    shown = f", {len(findings):,} shown" if len(findings) < len(found.findings) else ""
    session.screen.print(
        f"{where}{len(found.findings):,} liquidatable at slot {found.slot:,}{shown}; coverage "
        f"{coverage.evaluated:,} of {coverage.positions:,} positions"
        + (f", unknown: {unknown}" if unknown else "")
    )
    if blocked:
        reasons = ", ".join(f"{count} {reason}" for reason, count in blocked.items())
        session.screen.print(f"of these nothing is sent for {reasons}")
    if found.estimates:
        session.screen.print(f"{len(found.estimates):,} below their margin by an estimate only")
    if time is not None:
        session.screen.note(
            f"at unix time {time['now_s']}, from the {TIMES[str(time['now_from'])]}"
        )


def _blocked(found: "Survey") -> dict[str, int]:
    """Return how many findings nothing would be sent for, by the first reason."""
    first = (one.assessment.blockers[0] for one in found.findings if one.assessment.blockers)
    return dict(sorted(Counter(map(str, first)).items()))


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
            finding.assessment.kind or _without_kind(finding),
            quote(finding.assessment.reward),
            quote(finding.assessment.bad_debt),
        )
        for finding in findings
    ]
    columns = ("position", "market", "side", "notional", "health", "kind", "reward", "bad debt")
    session.screen.table(columns, rows, right=("notional", "health", "reward", "bad debt"))


def _without_kind(finding: "Finding") -> str:
    return "estimate" if finding.assessment.liquidatable is None else "blocked"


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
        "exact": verdict.exact,
        "slot": verdict.slot,
        "blockers": verdict.blockers,
    }
