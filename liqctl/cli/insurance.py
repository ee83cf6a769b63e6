"""`liqctl insurance`: the insurance fund and what it has to answer for."""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Session, whole_number, with_session
from liqctl.cli.redact import escape, redact
from liqctl.errors import RpcError, SettingsError, StoreError

if TYPE_CHECKING:
    from liqctl.cli.connect import Connection
    from liqctl.cli.fund import FundReport
    from liqctl.core.record import InsuranceSample

    Shown = Mapping[str, tuple[FundReport, list[InsuranceSample]]]

app = command_app()

SAMPLES = 100
SAMPLES_MAX = 100_000


@app.command(
    epilog="Examples: liqctl insurance; liqctl insurance --watch; "
    "liqctl insurance --history 500 --json"
)
@with_session()
def insurance(
    *,
    session: Session,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Read again every insurance_interval_ms, 10 seconds unless set."
        ),
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(
            "--history",
            metavar="N",
            help="Show at most so many recorded balances, and fail when there is no database; 0 is none."
            f" Without it {SAMPLES} if there are any, but none with --watch --json.",
        ),
    ] = None,
) -> None:
    """Show the insurance fund and what it covers.

    The fund is read from the chain; only its past comes from the database, which need not exist.
    Coverage is the balance over the open interest: of each market the larger side at its mark
    price. The value locked is everything in the program's vault.
    """
    if samples is not None:
        whole_number("--history", samples, 0, SAMPLES_MAX)
    asyncio.run(_insurance(session, samples, watch=watch))


async def _insurance(session: Session, samples: int | None, *, watch: bool) -> None:
    from liqctl.cli.connect import connected_all  # noqa: PLC0415 - 300 ms, not for --help

    async with connected_all(session.settings) as connections:
        # Of several venues those without a fund are left out; a single one says that it has none.
        funded = [each for each in connections if each.venue.insurance_address() is not None]
        chosen = funded or connections[:1]
        if not watch:
            _print(session, await _look_all(chosen, session, samples))
            return
        if samples is None and session.as_json:
            samples = 0
        await _watch(session, chosen, samples)


async def _watch(
    session: Session, connections: "Sequence[Connection]", samples: int | None
) -> None:
    """Show the funds again and again; a read that fails after the first one is only said."""
    shown = await _look_all(connections, session, samples)
    with _shower(session) as show:
        while True:
            show(shown)
            shown = await _next(session, connections, samples)


@contextmanager
def _shower(session: Session) -> Iterator["Callable[[Shown], None]"]:
    """Draw in place on a terminal, print one after the other elsewhere."""
    if session.as_json or not session.screen.out.is_terminal:
        yield lambda shown: _print(session, shown)
        return
    from rich.live import Live  # noqa: PLC0415 - on a terminal only
    from rich.text import Text  # noqa: PLC0415 - on a terminal only

    with Live(console=session.screen.out, auto_refresh=False) as picture:
        yield lambda shown: picture.update(
            Text("\n".join(map(escape, _lines(session, shown)))), refresh=True
        )


async def _next(
    session: Session, connections: "Sequence[Connection]", samples: int | None
) -> "Shown":
    """Return the first reading that succeeds after the interval."""
    while True:
        await asyncio.sleep(session.settings.insurance_interval_ms / 1_000)
        try:
            return await _look_all(connections, session, samples, again=True)
        except (RpcError, StoreError) as error:
            session.screen.note(f"liqctl: {redact(str(error))}")


async def _look_all(
    connections: "Sequence[Connection]",
    session: Session,
    samples: int | None,
    *,
    again: bool = False,
) -> "Shown":
    """Return the fund and its past of each venue, by its name."""
    return {each.venue.id: await _look(each, session, samples, again=again) for each in connections}


async def _look(
    connection: "Connection", session: Session, samples: int | None, *, again: bool = False
) -> "tuple[FundReport, list[InsuranceSample]]":
    """Return the fund now and its past, oldest first; why there is no past is said once."""
    from liqctl.cli.fund import read_fund  # noqa: PLC0415 - with the chain only

    report = await read_fund(connection)
    if samples == 0:
        return report, []
    read = asyncio.get_running_loop().run_in_executor(
        None, _past, session.settings.database_url, connection.genesis, samples or SAMPLES
    )
    try:
        past = await read
    except (SettingsError, StoreError) as error:
        if samples is not None:
            raise
        if not again:
            session.screen.note(f"no history: {redact(str(error))}")
        return report, []
    return report, [one for one in past if one.address == report.fund.address]


def _past(url: str, genesis: str, samples: int) -> "list[InsuranceSample]":
    """Return recorded balances, oldest first.

    Raises:
        SettingsError: there is no database, or it belongs to another cluster.
        StoreError: it cannot be read.
    """
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    with closing(open_store(url, create=False, read_only=True)) as store:
        known = store.state("genesis")
        if known is not None and known[0] != f'"{genesis}"':
            raise SettingsError(
                f"the database {url} belongs to the cluster with genesis {known[0]}, this one has "
                f'"{genesis}"; name another with --database'
            )
        return store.insurance_history(samples)


def _print(session: Session, shown: "Shown") -> None:
    from liqctl.cli.fund_text import as_json  # noqa: PLC0415 - with the figures only

    if session.as_json:
        for venue, (report, past) in shown.items():
            named = {"venue": venue} if len(shown) > 1 else {}
            session.screen.json({**as_json(report, past), **named})
        return
    for line in _lines(session, shown):
        session.screen.print(line)


def _lines(session: Session, shown: "Shown") -> list[str]:
    from liqctl.cli.fund_text import history_lines, report_lines  # noqa: PLC0415 - for people only

    out = session.screen.out
    lines: list[str] = []
    for venue, (report, past) in shown.items():
        if len(shown) > 1:
            lines.append(f"venue               {venue}")
        lines += [
            *report_lines(report),
            *history_lines(past, width=out.width, unicode="utf" in out.encoding),
        ]
    return lines
