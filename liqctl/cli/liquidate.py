"""`liqctl liquidate`: one position by hand, through the keeper's own executor."""

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Session, with_session
from liqctl.errors import LayoutError, LiqctlError, PriceError, SettingsError

if TYPE_CHECKING:
    from liqctl.cli.carry_out import Finish
    from liqctl.cli.connect import Connection
    from liqctl.core.account import Decoded
    from liqctl.core.health import Assessment
    from liqctl.core.position import Position
    from liqctl.keeper.reading import FreshRead
    from liqctl.keeper.service import Keeper
    from liqctl.ports import Venue

SIZE_DIGITS = 9
SIZE_DIGITS_MAX = 18
SIZE_LENGTH_MAX = 40
SIZE_MAX = 2**64 - 1
DRY_RUN = "dry_run"

app = command_app()


@app.command(
    epilog="Examples: liqctl liquidate PUBKEY --dry-run; liqctl liquidate PUBKEY --max-size 2.5 -y"
)
@with_session("dry_run", "yes")
def liquidate(
    *,
    session: Session,
    pubkey: Annotated[str, typer.Argument(metavar="PUBKEY", help="The position's address.")],
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size",
            metavar="SIZE",
            help="Close at most this much, in the unit of the market, such as 2.5.",
        ),
    ] = None,
    at_a_loss: Annotated[
        bool, typer.Option("--at-a-loss", help="Send although the reward is below the cost.")
    ] = False,
) -> None:
    """Liquidate one position by hand.

    Shows the whole arithmetic, asks, sends, waits for finality and says how it ended.
    """
    if at_a_loss:
        settings = session.settings.model_copy(update={"profit_floor_permille": 0})
        session = replace(session, settings=settings)
    asyncio.run(_liquidate(session, pubkey, max_size))


def size_units(text: str, digits: int = SIZE_DIGITS) -> int:
    """Return a size in the venue's unit, which has so many decimals, exactly.

    >>> size_units("2.5")
    2500000000

    Raises:
        SettingsError: it is no positive number, or has more places than that.
    """
    whole, _, places = text.partition(".")
    wellformed = f"{whole}{places}".isascii() and f"{whole}{places}".isdigit()
    short = len(text) <= SIZE_LENGTH_MAX  # Python refuses to convert thousands of digits
    units = int(f"{whole}{places:0<{digits}}") if wellformed and short else 0
    if len(places) > digits or not 0 < units <= SIZE_MAX:
        raise SettingsError(
            f"--max-size must be a positive number with at most {digits} places, such as 2.5, "
            f"was {text}"
        )
    return units


async def _liquidate(session: Session, pubkey: str, limit: str | None) -> None:
    from liqctl.chain.base58 import is_address  # noqa: PLC0415 - 90 ms, not for --help
    from liqctl.cli.carry_out import carry_out, refused  # noqa: PLC0415 - with the keeper only
    from liqctl.cli.connect import (  # noqa: PLC0415 - 300 ms, not for --help
        connected_all,
        connection_of,
        dry_liquidator,
        keeper_of,
        kept,
        signer_of,
        tuning_of,
    )
    from liqctl.cli.programs import venues_of  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.cli.scan import refuse_watch_only  # noqa: PLC0415 - when asked for
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help
    from liqctl.venues.confirming import facts_for  # noqa: PLC0415 - with the venue only

    if not is_address(pubkey):
        raise SettingsError(f"{pubkey!r} is no public key in base58; give a position's address")
    if limit is not None:
        size_units(limit, SIZE_DIGITS_MAX)
    refuse_watch_only(*venues_of(session.settings))
    database = "sqlite::memory:" if session.dry_run else session.settings.database_url
    async with connected_all(session.settings) as connections:
        connection = await connection_of(connections, pubkey)
        venue = connection.venue
        refuse_watch_only(venue)
        max_size = None if limit is None else size_units(limit, facts_for(venue).size_digits)
        async with (
            # asked is once, with the figures
            signer_of(session, connection, ask=False) as signer,
            kept(connection, open_store(database)) as context,
        ):
            liquidator = dry_liquidator(session.settings) if signer is None else None
            keeper = keeper_of(
                context, session.settings, signer=signer, liquidator=liquidator, streams=False
            )
            read = await _look(keeper, connection, pubkey)
            if read.position is None or read.assessment is None:
                raise LiqctlError("the position was closed while it was being read")
            _show(session, connection, read.position, read.assessment, max_size)
            _refuse(venue, read.position, read.assessment, max_size)
            position, verdict = read.position, read.assessment
            finish = refused(verdict, tuning_of(session.settings).limits)
            if finish is None:
                if signer is not None:
                    _ask(session, connection, pubkey, signer.address)
                finish = await carry_out(
                    keeper, context.store, position, verdict, read.view, max_size=max_size
                )
            _tell(session, finish)


def _ask(session: Session, connection: "Connection", pubkey: str, liquidator: str) -> None:
    from liqctl.cli.connect import confirm  # noqa: PLC0415 - 300 ms, not for --help

    where = " on mainnet-beta" if connection.is_mainnet else ""
    confirm(session, f"Liquidate {pubkey}{where} with {liquidator}?")


def _tell(session: Session, finish: "Finish") -> None:
    """Print how it ended.

    Raises:
        LiqctlError: it ended so that somebody is needed.
    """
    dry = finish.reason == DRY_RUN
    if session.as_json:
        session.screen.json({"type": "outcome", **finish.as_json()})
    elif dry:
        session.screen.note("dry run: nothing was signed, sent or recorded")
    if dry:
        return
    error = finish.error()
    if error is not None:
        raise error
    if not session.as_json:
        session.screen.print(finish.text)


async def _look(keeper: "Keeper", connection: "Connection", pubkey: str) -> "FreshRead":
    """Return a consistent read of the position, its dependencies and its verdict."""
    from liqctl.core.account import Gone  # noqa: PLC0415 - with the keeper only
    from liqctl.core.position import Position  # noqa: PLC0415 - with the keeper only
    from liqctl.keeper.reading import read_fresh  # noqa: PLC0415 - with the keeper only

    await keeper.feeds.read([pubkey])
    keeper.absorb()
    seen = keeper.engine.view.get(pubkey)
    if seen is None or isinstance(seen.value, Gone):
        raise LiqctlError(
            f"no account at {pubkey}: it never was, or the position is closed already; "
            f"`liqctl history --position {pubkey}` shows what this database knows of it"
        )
    if not isinstance(seen.value, Position):
        venue = connection.venue
        raise LayoutError(
            f"{pubkey} is not a position of the {venue.id} program {venue.program_id}, but "
            f"{described(seen.value)}; `liqctl scan` lists positions that can be liquidated"
        )
    await keeper.feeds.load_markets()
    keeper.absorb()
    await keeper.ask_beside()
    read = await read_fresh(connection.venue, connection.chain, seen.value, keeper.engine.view)
    if read.assessment is None:
        return read
    return replace(read, assessment=keeper.engine.doubted(read.assessment, read.view, read.now_s))


def described(value: "Decoded") -> str:
    """Return what an account is that is not a position."""
    from liqctl.core.account import Undecodable, VenueState  # noqa: PLC0415 - with the keeper only
    from liqctl.core.insurance import InsuranceState  # noqa: PLC0415 - with the keeper only
    from liqctl.core.position import Market  # noqa: PLC0415 - with the keeper only

    match value:
        case Market(symbol=symbol):
            return f"the market {symbol}"
        case InsuranceState():
            return "the insurance fund"
        case VenueState(kind=kind):
            return f"the {kind} account"
        case Undecodable(reason=reason, detail=detail):
            return f"an account that cannot be read as one ({reason}: {detail})"
        case _:
            return "a price account"


def _refuse(
    venue: "Venue", position: "Position", verdict: "Assessment", max_size: int | None
) -> None:
    from liqctl.cli.reasons import explained  # noqa: PLC0415 - when asked for
    from liqctl.cli.render import decimal  # noqa: PLC0415 - 40 ms, not for --help
    from liqctl.core.health import Kind  # noqa: PLC0415 - with the keeper only
    from liqctl.venues.confirming import facts_for  # noqa: PLC0415 - with the venue only

    if verdict.liquidatable is None:
        reason = verdict.unknown_reason or "unknown"
        text = f"the verdict is unknown, nothing was sent: {explained(reason)}"
        raise PriceError(text) if reason.startswith("price_") else LiqctlError(text)
    if not verdict.liquidatable:
        raise LiqctlError(
            "the position is healthy: equity is not below the maintenance margin; nothing was sent"
        )
    if max_size is not None and verdict.kind is Kind.FULL and max_size < position.size:
        raise SettingsError(
            "the position can only be closed in full, which --max-size forbids; leave it out, or "
            f"give at least {decimal(position.size, facts_for(venue).size_digits)}"
        )


def _show(
    session: Session,
    connection: "Connection",
    position: "Position",
    verdict: "Assessment",
    max_size: int | None,
) -> None:
    """Print every figure of the verdict with its unit."""
    from liqctl.cli.arithmetic import arithmetic  # noqa: PLC0415 - 40 ms, not for --help
    from liqctl.venues.confirming import facts_for  # noqa: PLC0415 - with the venue only

    if not session.as_json:
        digits = facts_for(connection.venue).size_digits
        for line in arithmetic(position, verdict, connection.settings, max_size, digits):
            session.screen.print(line)
        return
    from liqctl.cli.scan import row_of  # noqa: PLC0415 - when asked for
    from liqctl.keeper.survey import Finding  # noqa: PLC0415 - when asked for

    row = row_of(Finding(position=position, assessment=verdict))
    if verdict.liquidatable is None:
        row = {name: row[name] for name in ("position", "owner", "symbol", "side", "size", "slot")}
    known = {"liquidatable": verdict.liquidatable, "unknown_reason": verdict.unknown_reason}
    session.screen.json({"type": "assessment", **row, **known})
