"""`liqctl history`: past liquidations, failures and attempts from the database."""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Session, whole_number, with_session
from liqctl.core.record import LiquidationQuery
from liqctl.errors import SettingsError

if TYPE_CHECKING:
    from liqctl.cli.history_text import Listing
    from liqctl.ports import Store

app = command_app()

ALL = 10**9
EXAMPLES = (
    "Examples: liqctl history --market SOL --limit 50; liqctl history --failures; "
    "liqctl history --class oracle --since 2026-11-01; liqctl history --attempts --json; "
    "liqctl history --position PUBKEY --json; liqctl history --limit 0 --csv > liquidations.csv"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """What rows are asked for; times in unix seconds, the first included and the last not."""

    market: str | None
    position: str | None
    owner: str | None
    venue: str | None
    failure_class: str | None
    since_s: int | None
    until_s: int | None
    limit: int


@app.command(epilog=EXAMPLES)
@with_session()
def history(
    *,
    session: Session,
    failures: Annotated[
        bool, typer.Option("--failures", help="Failures and their classes instead.")
    ] = False,
    attempts: Annotated[
        bool, typer.Option("--attempts", help="Signed transactions and what became of them.")
    ] = False,
    market: Annotated[
        str | None, typer.Option("--market", metavar="SYMBOL", help="Only this market.")
    ] = None,
    position: Annotated[
        str | None, typer.Option("--position", metavar="PUBKEY", help="Only this position.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="PUBKEY", help="Only positions of this owner.")
    ] = None,
    failure_class: Annotated[
        str | None, typer.Option("--class", metavar="CLASS", help="Failures of this class.")
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since", metavar="DATE", help="Only from then on: 2026-11-24, or with T18:30 (UTC)."
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option("--until", metavar="DATE", help="Only before then.")
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", help="Show at most so many; 0 is all.")
    ] = 20,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV with the columns of the database.")
    ] = False,
) -> None:
    """Show past liquidations, failures and attempts.

    All venues of the database are shown unless --venue names one. The newest come first. Times are the chain's for liquidations, those of this host for failures
    and for the signing of attempts. The totals are over everything recorded. With --json each row
    is an object on its line and the totals are the last one; money is in 1e-6 quote.
    """
    from liqctl.cli.history_text import write  # noqa: PLC0415 - with the rows only
    from liqctl.cli.times import unix_s  # noqa: PLC0415 - with the rows only
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    whole_number("--limit", limit, 0, ALL)
    if as_csv and session.as_json:
        raise SettingsError("--csv and --json exclude each other")
    filters = Filters(
        market=_text("--market", market),
        position=_address(position),
        owner=_address(owner),
        venue=_venue(session),
        failure_class=_text("--class", failure_class),
        since_s=None if since is None else unix_s(since, "--since"),
        until_s=None if until is None else unix_s(until, "--until"),
        limit=limit or ALL,
    )
    failures = failures or failure_class is not None
    _check_filters(filters, failures=failures, attempts=attempts)
    url = session.settings.database_url
    with closing(open_store(url, create=False, read_only=True)) as store:
        totals = store.totals()
        if failures:
            listing = _failures(store, filters)
        elif attempts:
            listing = _attempts(store, filters)
        else:
            listing = _liquidations(store, filters)
        write(session, listing, totals, as_csv=as_csv)


def _text(option: str, value: str | None) -> str | None:
    """Return the value of an option, unless it holds bytes that no text is made of."""
    try:
        (value or "").encode()
    except UnicodeEncodeError as error:
        raise SettingsError(f"{option} is not UTF-8 text") from error
    return value


def _address(text: str | None) -> str | None:
    from liqctl.chain.base58 import is_address  # noqa: PLC0415 - 90 ms, not for --help

    if text is not None and not is_address(text):
        raise SettingsError(f"{text!r} is no public key in base58")
    return text


def _venue(session: Session) -> str | None:
    """Return the venue of the command line: one that is only configured is no filter."""
    from liqctl.core.venue_choice import venue_choice  # noqa: PLC0415 - with the core only

    if not session.origins["venue"].startswith("--"):
        return None
    names = [venue_choice(text).name for text in session.settings.venue]
    if len(names) > 1:
        raise SettingsError(f"history shows one venue or all: --venue was {', '.join(names)}")
    return names[0]


def _check_filters(filters: Filters, *, failures: bool, attempts: bool) -> None:
    if failures and attempts:
        raise SettingsError("--attempts and --failures (or --class) exclude each other")
    if filters.owner is not None and (failures or attempts):
        raise SettingsError("the owner is recorded for liquidations only: leave --owner out")
    if filters.venue is not None and failures:
        raise SettingsError("the venue is not recorded for failures: leave --venue out")


def _liquidations(store: "Store", filters: Filters) -> "Listing":
    from liqctl.cli.history_text import liquidation_listing  # noqa: PLC0415 - with the rows only

    query = LiquidationQuery(
        symbol=filters.market,
        position=filters.position,
        owner=filters.owner,
        venue=filters.venue,
        since_s=filters.since_s,
        until_s=filters.until_s,
        limit=filters.limit,
    )
    return liquidation_listing(store.liquidations(query))


def _failures(store: "Store", filters: Filters) -> "Listing":
    from liqctl.cli.history_text import failure_listing  # noqa: PLC0415 - with the rows only

    rows = store.recent_failures(
        symbol=filters.market,
        position=filters.position,
        failure_class=filters.failure_class,
        since_ms=_ms(filters.since_s),
        until_ms=_ms(filters.until_s),
        limit=filters.limit,
    )
    return failure_listing(rows, dict(Counter(row.failure_class for row in rows).most_common()))


def _attempts(store: "Store", filters: Filters) -> "Listing":
    from liqctl.cli.history_text import attempt_listing  # noqa: PLC0415 - with the rows only

    rows = store.attempts(
        symbol=filters.market,
        position=filters.position,
        venue=filters.venue,
        since_ms=_ms(filters.since_s),
        before_ms=_ms(filters.until_s),
        limit=filters.limit,
    )
    return attempt_listing(rows, dict(Counter(row.state for row in rows).most_common()))


def _ms(seconds: int | None) -> int | None:
    return None if seconds is None else seconds * 1_000
