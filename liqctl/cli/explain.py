"""`liqctl explain`: everything behind the verdict on one position, and the program's own answer."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Accounts, Now, Session, with_session
from liqctl.errors import LayoutError, LiqctlError, RpcError, SettingsError

if TYPE_CHECKING:
    from liqctl.cli.connect import Connection
    from liqctl.cli.explain_report import Cost
    from liqctl.core.account import Decoded
    from liqctl.keeper.asking import Answer
    from liqctl.keeper.doubting import Doubts
    from liqctl.keeper.explanation import Explanation
    from liqctl.ports import Venue

PRICE_DIGITS = 6
PRICE_MAX = 2**64 - 1

app = command_app()


@app.command(
    epilog="Examples: liqctl explain PUBKEY; liqctl explain PUBKEY --price SOL=120.5 --json"
)
@with_session()
def explain(
    *,
    session: Session,
    pubkey: Annotated[str, typer.Argument(metavar="PUBKEY", help="The position's address.")],
    price: Annotated[
        list[str] | None,
        typer.Option(
            "--price",
            metavar="SYMBOL=VALUE",
            help="Suppose that this price is published now; may be repeated.",
        ),
    ] = None,
    accounts: Accounts = None,
    now: Now = None,
) -> None:
    """Show everything behind the verdict on one position.

    Each input comes with its slot, each price with age and confidence; the verdict is shown at the
    price and at both edges of its confidence. The program is asked by simulation, as --keypair
    where that is a public key, else as the position's owner. No key is read, nothing is sent.
    """
    from liqctl.chain.base58 import is_address  # noqa: PLC0415 - 90 ms, not for --help

    if not is_address(pubkey):
        raise SettingsError(f"{pubkey!r} is no public key in base58; give a position's address")
    supposed = dict(supposed_price(one) for one in price or ())
    if accounts is not None:
        _of_dumps(session, pubkey, supposed, accounts, now)
        return
    if now is not None:
        raise SettingsError("--now needs --accounts: a node says what time it is")
    asyncio.run(_of_node(session, pubkey, supposed))


def supposed_price(text: str) -> tuple[str, int]:
    """Return the symbol and the price in 1e-6 quote, exactly.

    >>> supposed_price("SOL=120.5")
    ('SOL', 120500000)

    Raises:
        SettingsError: it is no SYMBOL=VALUE, or the value no positive number of six places.
    """
    symbol, _, value = text.rpartition("=")
    whole, _, places = value.partition(".")
    wellformed = f"{whole}{places}".isascii() and f"{whole}{places}".isdigit()
    price = int(f"{whole}{places:0<{PRICE_DIGITS}}") if wellformed and len(value) < 40 else 0
    if not symbol or len(places) > PRICE_DIGITS or not 0 < price <= PRICE_MAX:
        raise SettingsError(
            f"--price must be SYMBOL=VALUE with at most {PRICE_DIGITS} places, such as SOL=120.5, "
            f"was {text}"
        )
    return symbol, price


def _of_dumps(
    session: Session, pubkey: str, supposed: dict[str, int], folder: Path, now_s: int | None
) -> None:
    """Explain what account dumps show, without any program to ask."""
    from liqctl.cli.connect import tuning_of  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.cli.dumps import read_dumps  # noqa: PLC0415 - when asked for
    from liqctl.cli.explain_report import Report, show  # noqa: PLC0415 - 40 ms, not for --help
    from liqctl.cli.programs import venue_at, venues_of  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.core.account import Gone  # noqa: PLC0415 - with the venue only
    from liqctl.core.position import Position  # noqa: PLC0415 - with the venue only
    from liqctl.keeper.doubting import doubts_of, guard_of  # noqa: PLC0415 - the same
    from liqctl.keeper.explanation import explain as explained  # noqa: PLC0415 - the same
    from liqctl.keeper.offline import shelf_of  # noqa: PLC0415 - the same

    venues, dumps = venues_of(session.settings), read_dumps(folder)
    owner = next((one.owner for one in dumps if one.address == pubkey), None)
    alone = len(venues) == 1 or owner is None
    venue = venues[0] if alone else venue_at(str(owner), pubkey, venues)
    shelf = shelf_of(venue, dumps, now_s)
    seen = shelf.view.get(pubkey)
    value = Gone() if seen is None else seen.value
    if not isinstance(value, Position):
        raise _no_position(venue, pubkey, value)
    found = explained(venue, value, shelf.view, shelf.now_s, supposed)
    guard = guard_of(venue, tuning_of(session.settings).limits)
    report = Report(
        venue=venue,
        explanation=found,
        now_from=shelf.now_from,
        doubts=doubts_of(guard, value, found.view, shelf.now_s),
    )
    show(session, report)


async def _of_node(session: Session, pubkey: str, supposed: dict[str, int]) -> None:
    from liqctl.cli.connect import (  # noqa: PLC0415 - 300 ms, not for --help
        connected_all,
        connection_of,
        dry_liquidator,
    )
    from liqctl.cli.explain_report import Report, show  # noqa: PLC0415 - 40 ms, not for --help
    from liqctl.keeper.explanation import explain as explained  # noqa: PLC0415 - with the venue
    from liqctl.keeper.explanation import read_whole  # noqa: PLC0415 - the same
    from liqctl.keeper.reading import FreshRead  # noqa: PLC0415 - the same

    async with connected_all(session.settings) as connections:
        connection = await connection_of(connections, pubkey)
        venue = connection.venue
        read = await read_whole(venue, connection.chain, pubkey)
        if not isinstance(read, FreshRead) or read.position is None:
            raise _no_position(venue, pubkey, read if not isinstance(read, FreshRead) else None)
        found = explained(venue, read.position, read.view, read.now_s, supposed)
        liquidator = dry_liquidator(session.settings)
        answer, failure = await _asked(connection, found, liquidator)
        report = Report(
            venue=venue,
            explanation=found,
            now_from="node",
            doubts=await _doubts(connection, found),
            cost=await _cost(connection, found, liquidator),
            answer=answer,
            unanswered=failure,
        )
        show(session, report)


async def _doubts(connection: "Connection", found: "Explanation") -> "Doubts":
    """Return every source of the price, each asked now, and what they say against liquidating.

    Raises:
        SettingsError: Hermes cannot be used as it is set.
        RpcError: the node did not answer.
    """
    from liqctl.cli.connect import tuning_of  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.cli.hermes import hermes_of  # noqa: PLC0415 - with the venue only
    from liqctl.keeper.doubting import doubts_of, guard_of, look_beside  # noqa: PLC0415 - the same
    from liqctl.ports import SystemRng  # noqa: PLC0415 - the same

    settings, venue, chain = connection.settings, connection.venue, connection.chain
    guard = guard_of(venue, tuning_of(settings).limits)
    async with hermes_of(settings, connection.clock, SystemRng()) as hermes:
        await look_beside(guard, venue, chain, hermes, found.view, found.now_s)
    return doubts_of(guard, found.position, found.view, found.now_s)


async def _asked(
    connection: "Connection",
    found: "Explanation",
    liquidator: str | None,
) -> "tuple[Answer | None, str | None]":
    """Return what the program says, and why it says nothing where that is so."""
    from liqctl.keeper.asking import ask_program  # noqa: PLC0415 - with the venue only

    if found.supposed:
        return None, "it knows nothing of supposed prices"
    position = found.position
    try:
        answer = await ask_program(
            connection.venue,
            connection.chain,
            position,
            found.view,
            liquidator or position.owner,
            min_context_slot=found.slot,
        )
    except (RpcError, LayoutError) as error:
        return None, str(error)
    return answer, "it has no view that could be asked" if answer is None else None


async def _cost(
    connection: "Connection", found: "Explanation", liquidator: str | None
) -> "Cost | None":
    """Return what a liquidation costs and pays back, or None where it cannot be planned."""
    from liqctl.cli.connect import tuning_of  # noqa: PLC0415 - 300 ms, not for --help
    from liqctl.cli.explain_report import Cost  # noqa: PLC0415 - 40 ms, not for --help

    payer = liquidator or found.position.owner
    try:
        plan = connection.venue.plan(found.position, found.view, payer)
    except LayoutError:
        return None
    there = await connection.chain.accounts(plan.creates) if plan.creates else None
    missing = [one for one in plan.creates if there is None or there.by_address[one] is None]
    return Cost.of(tuning_of(connection.settings).fees, plan, missing, liquidator)


def _no_position(venue: "Venue", pubkey: str, value: "Decoded | None") -> LiqctlError:
    from liqctl.cli.liquidate import described  # noqa: PLC0415 - when it is none
    from liqctl.core.account import Gone  # noqa: PLC0415 - with the venue only

    if value is None or isinstance(value, Gone):
        return LiqctlError(
            f"no account at {pubkey}: it never was, or the position is closed already; "
            f"`liqctl history --position {pubkey}` shows what this database knows of it"
        )
    return LayoutError(
        f"{pubkey} is not a position of the {venue.id} program {venue.program_id}, but "
        f"{described(value)}"
    )
