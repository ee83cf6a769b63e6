"""`liqctl liquidate`: one position by hand, through the keeper's own executor."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Session, with_session
from liqctl.errors import LayoutError, LiqctlError, PriceError, SettingsError

if TYPE_CHECKING:
    from liqctl.cli.connect import Connection
    from liqctl.keeper.reading import FreshRead
    from liqctl.keeper.service import Keeper

app = command_app()


@app.command(
    epilog="Examples: liqctl liquidate PUBKEY --dry-run; liqctl liquidate PUBKEY --max-size 5 -y"
)
@with_session("dry_run", "yes")
def liquidate(
    *,
    session: Session,
    pubkey: Annotated[str, typer.Argument(metavar="PUBKEY", help="The position's address.")],
    max_size: Annotated[
        int | None,
        typer.Option(
            "--max-size", metavar="UNITS", help="Close at most this much, in the venue's size unit."
        ),
    ] = None,
) -> None:
    """Liquidate one position by hand.

    Shows the whole arithmetic, asks, sends, waits for finality and says how it ended.
    """
    if max_size is not None and max_size < 1:
        raise SettingsError(f"--max-size must be at least 1, was {max_size}")
    asyncio.run(_liquidate(session, pubkey, max_size))


async def _liquidate(session: Session, pubkey: str, max_size: int | None) -> None:
    from liqctl.chain.base58 import is_address  # noqa: PLC0415 - 90 ms, not for --help
    from liqctl.cli.carry_out import carry_out  # noqa: PLC0415 - with the keeper only
    from liqctl.cli.connect import (  # noqa: PLC0415 - 300 ms, not for --help
        connected,
        dry_liquidator,
        keeper_of,
        kept,
        signer_of,
    )
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    if not is_address(pubkey):
        raise SettingsError(f"{pubkey!r} is no public key in base58")
    async with connected(session.settings) as connection:
        database = "sqlite::memory:" if session.dry_run else session.settings.database_url
        async with kept(connection, open_store(database)) as context:
            signer = None if session.dry_run else await signer_of(session, connection)
            liquidator = dry_liquidator(session.settings) if signer is None else None
            keeper = keeper_of(
                context, session.settings, signer=signer, liquidator=liquidator, streams=False
            )
            read = await _look(keeper, connection, pubkey)
            _show(session, connection, read)
            _refuse_unless_liquidatable(read)
            if read.position is None or read.assessment is None:
                return
            if not session.dry_run:
                session.confirm(f"Liquidate {pubkey}?")
            finish = await carry_out(
                keeper, read.position, read.assessment, read.view, max_size=max_size
            )
            if session.as_json:
                session.screen.json({"type": "outcome", **finish.as_json()})
            elif finish.reason == "dry_run":
                session.screen.note("dry run: nothing was signed, sent or recorded")
            else:
                session.screen.print(finish.text)
            if finish.reason != "dry_run":
                finish.raise_for_result()


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
            "`liqctl history --position PUBKEY` shows what this database knows of it"
        )
    if not isinstance(seen.value, Position):
        what = getattr(seen.value, "detail", type(seen.value).__name__.lower())
        raise LayoutError(
            f"{pubkey} is not a position of the {connection.venue.id} program "
            f"{connection.venue.program_id}: {what}"
        )
    market = seen.value.market
    await keeper.feeds.read([market])
    keeper.absorb()
    return await read_fresh(connection.venue, connection.chain, seen.value, keeper.engine.view)


def _refuse_unless_liquidatable(read: "FreshRead") -> None:
    verdict = read.assessment
    if verdict is None:
        raise LiqctlError("the position was closed while it was being read")
    if verdict.liquidatable is None:
        reason = verdict.unknown_reason or "unknown"
        text = f"the verdict is unknown: {reason}; nothing was sent"
        raise PriceError(text) if reason.startswith("price_") else LiqctlError(text)
    if not verdict.liquidatable:
        raise LiqctlError(
            "the position is healthy: equity is not below the maintenance margin; nothing was sent"
        )


def _show(session: Session, connection: "Connection", read: "FreshRead") -> None:
    """Print every figure of the verdict with its unit."""
    from liqctl.cli.arithmetic import arithmetic  # noqa: PLC0415 - 40 ms, not for --help

    if read.position is None or read.assessment is None:
        return
    if session.as_json:
        from liqctl.cli.scan import row_of  # noqa: PLC0415 - when asked for
        from liqctl.keeper.survey import Finding  # noqa: PLC0415 - when asked for

        row = row_of(Finding(position=read.position, assessment=read.assessment))
        session.screen.json(
            {"type": "assessment", **row, "liquidatable": read.assessment.liquidatable}
        )
        return
    for line in arithmetic(read.position, read.assessment, connection.settings):
        session.screen.print(line)
