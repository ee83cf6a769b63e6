"""`liqctl queue`: what waits, is in flight or is quarantined, and orders to the keeper."""

from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from liqctl.cli import command_app
from liqctl.cli.options import Session, with_session
from liqctl.cli.times import duration_ms, span
from liqctl.core.queue import NEVER_MS
from liqctl.core.record import Exclusion, QueueOrder, QueueRow, QueueState
from liqctl.errors import LiqctlError, SettingsError

if TYPE_CHECKING:
    from liqctl.ports import Store

app = command_app()

SILENT_MS = 10_000
REASON_LENGTH_MAX = 200
EXAMPLES = (
    "Examples: liqctl queue --state quarantined; liqctl queue --json; "
    "liqctl queue drop PUBKEY; liqctl queue retry PUBKEY; "
    "liqctl queue exclude PUBKEY --for 2h --reason 'owner asked'; liqctl queue include PUBKEY"
)


class Action(StrEnum):
    """What can be ordered for one position."""

    DROP = "drop"
    RETRY = "retry"
    EXCLUDE = "exclude"
    INCLUDE = "include"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to do with one position; time and reason are those of an exclusion."""

    action: Action
    position: str
    for_ms: int | None
    reason: str


@app.command(epilog=EXAMPLES)
@with_session()
def queue(
    *,
    session: Session,
    action: Annotated[
        Action | None,
        typer.Argument(
            help="Order something for one position: drop sets one of the queue aside until it is "
            "retried, retry lifts backoff, quarantine, drop and exclusion, exclude keeps any "
            "position from being liquidated, include takes it back.",
        ),
    ] = None,
    pubkey: Annotated[
        str | None, typer.Argument(metavar="PUBKEY", help="The position's address.")
    ] = None,
    market: Annotated[
        str | None, typer.Option("--market", metavar="SYMBOL", help="List only this market.")
    ] = None,
    state: Annotated[
        QueueState | None, typer.Option("--state", help="List only what stands so.")
    ] = None,
    duration: Annotated[
        str | None,
        typer.Option(
            "--for", metavar="TIME", help="Exclude for so long, such as 30m or 2h; else for good."
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why it is excluded.")
    ] = None,
) -> None:
    """Show what waits, is in flight or is quarantined, and why.

    Reads the database only, whether a keeper runs or not. A running keeper takes orders within a
    second.
    """
    from liqctl.core.status import STATE_PREFIX  # noqa: PLC0415 - 10 ms, not for --help
    from liqctl.ports import SystemClock  # noqa: PLC0415 - 20 ms, not for --help
    from liqctl.store.open import open_store  # noqa: PLC0415 - 180 ms, not for --help

    listing = action is None
    if not listing and (market is not None or state is not None):
        raise SettingsError("--market and --state choose what is listed; an order takes neither")
    if action is not Action.EXCLUDE and (duration is not None or reason is not None):
        raise SettingsError("--for and --reason are for `liqctl queue exclude`")
    order = None if action is None else _order(action, pubkey, duration, reason)
    url = session.settings.database_url
    with closing(open_store(url, create=False, read_only=listing)) as store:
        now_ms = SystemClock().unix_ms()
        written = [at_ms for _, _, at_ms in store.states(STATE_PREFIX)]
        age_ms = max(now_ms - max(written), 0) if written else None
        if order is not None:
            _act(session, store, order, now_ms, age_ms)
            return
        rows, exclusions = _found(store, market, state, now_ms)
    _print(session, rows, exclusions, now_ms, age_ms)


def _found(
    store: "Store", market: str | None, state: QueueState | None, now_ms: int
) -> tuple[list[QueueRow], list[Exclusion]]:
    """Return the rows that are wanted, and what is excluded: all of it, or as far as it is listed."""
    rows = [
        row for row in store.queue() if market in {None, row.symbol} and state in {None, row.state}
    ]
    listed = {row.position for row in rows}
    everything = market is None and state is None
    exclusions = [
        each
        for each in store.exclusions()
        if each.holds(now_ms) and (everything or each.position in listed)
    ]
    return rows, exclusions


def _order(action: Action, pubkey: str | None, duration: str | None, reason: str | None) -> Order:
    return Order(
        action=action,
        position=_position(action, pubkey),
        for_ms=None if duration is None else duration_ms(duration, "--for"),
        reason="by hand" if reason is None else _line(reason),
    )


def _position(action: Action, pubkey: str | None) -> str:
    from liqctl.chain.base58 import is_address  # noqa: PLC0415 - 90 ms, not for --help

    if pubkey is None:
        raise SettingsError(f"`liqctl queue {action}` needs the PUBKEY of a position")
    if not is_address(pubkey):
        raise SettingsError(f"{pubkey!r} is no public key in base58")
    return pubkey


def _line(text: str) -> str:
    """Return a reason as one short line.

    Raises:
        SettingsError: it is longer, or not one line.
    """
    line = text.strip()
    if not line or len(line) > REASON_LENGTH_MAX or not line.isprintable():
        raise SettingsError(f"--reason must be one line of at most {REASON_LENGTH_MAX} characters")
    return line


def _act(session: Session, store: "Store", order: Order, now_ms: int, age_ms: int | None) -> None:
    """Do what was asked with one position.

    Raises:
        LiqctlError: the queue has no such row, nothing excludes it, or it is in flight.
    """
    action, position = order.action, order.position
    if action in {Action.DROP, Action.RETRY}:
        _give(session, store, QueueOrder(action.value), position, age_ms)
        return
    told = f"{position} is no longer excluded"
    if action is Action.EXCLUDE:
        until_ms = None if order.for_ms is None else now_ms + order.for_ms
        store.exclude(
            Exclusion(position=position, reason=order.reason, since_ms=now_ms, until_ms=until_ms)
        )
        left = "until it is included" if order.for_ms is None else f"for {span(order.for_ms)}"
        told = f"{position} is excluded {left}: {order.reason}"
    elif not store.include(position):
        raise LiqctlError(f"{position} is not excluded; `liqctl queue` lists what is")
    if session.as_json:
        session.screen.json(
            {"type": "order", "position": position, "order": action, "keeper_age_ms": age_ms}
        )
        return
    session.screen.print(told)
    session.screen.note(_keeper(age_ms))


def _give(
    session: Session, store: "Store", order: QueueOrder, position: str, age_ms: int | None
) -> None:
    """Leave an order in the row of a position.

    Raises:
        LiqctlError: there is no such row, or a running keeper has the position in flight.
    """
    row = next((row for row in store.queue() if row.position == position), None)
    if row is not None and row.state is QueueState.IN_FLIGHT and not _silent(age_ms):
        raise LiqctlError(
            f"{position} is in flight and takes no orders; `liqctl queue` shows when it is not"
        )
    if row is None or not store.set_order(position, order):
        raise LiqctlError(
            f"{position} is not in the queue; `liqctl queue` lists what is, "
            f"`liqctl liquidate {position}` works on any position"
        )
    if session.as_json:
        session.screen.json(
            {"type": "order", "position": position, "order": order, "keeper_age_ms": age_ms}
        )
        return
    session.screen.print(f"{order} ordered for {position}")
    if _silent(age_ms):
        session.screen.note(
            f"{_keeper(age_ms)}; the order waits in the database, "
            "but a keeper that starts may take up the position before it takes the order"
        )


def _silent(age_ms: int | None) -> bool:
    return age_ms is None or age_ms > SILENT_MS


def _keeper(age_ms: int | None) -> str:
    if age_ms is None:
        return "no keeper has written to this database; `liqctl watch` starts one"
    if _silent(age_ms):
        return f"no keeper seems to be running: the last one wrote {span(age_ms)} ago"
    return f"the keeper wrote {age_ms:,} ms ago"


def _print(
    session: Session,
    rows: list[QueueRow],
    exclusions: list[Exclusion],
    now_ms: int,
    age_ms: int | None,
) -> None:
    if session.as_json:
        found = [_as_json(row, now_ms) for row in rows]
        excluded = [_exclusion_json(each, now_ms) for each in exclusions]
        session.screen.json(
            {"type": "queue", "keeper_age_ms": age_ms, "rows": found, "excluded": excluded}
        )
        return
    if rows:
        _print_table(session, rows, now_ms)
    if exclusions:
        _print_exclusions(session, exclusions, now_ms)
    counts = [
        f"{sum(row.state is state for row in rows)} {state.replace('_', ' ')}"
        for state in QueueState
    ]
    if exclusions:
        counts.append(f"{len(exclusions)} excluded")
    session.screen.print(", ".join(counts))
    session.screen.note(_keeper(age_ms))


def _print_table(session: Session, rows: list[QueueRow], now_ms: int) -> None:
    from liqctl.cli.arithmetic import size_digits  # noqa: PLC0415 - 40 ms, not for --help
    from liqctl.cli.market_name import market_names  # noqa: PLC0415 - with the rows only
    from liqctl.cli.render import decimal, health  # noqa: PLC0415 - 40 ms, not for --help

    cells = [
        (
            row.position,
            market,
            row.side,
            decimal(row.size, size_digits(row.venue)),
            health(row.health),
            row.state.replace("_", " ") + (f", {row.order} ordered" if row.order else ""),
            row.reason or "-",
            row.tries,
            _next_try(row, now_ms),
            f"{span(now_ms - row.since_ms)} ago",
        )
        for row, market in zip(rows, market_names(rows), strict=True)
    ]
    columns = (
        *("position", "market", "side", "size", "health"),
        *("state", "reason", "tries", "next try", "since"),
    )
    session.screen.table(columns, cells, right=("size", "health", "tries", "next try"))


def _print_exclusions(session: Session, exclusions: list[Exclusion], now_ms: int) -> None:
    cells = [
        (
            each.position,
            each.reason,
            "until included" if each.until_ms is None else span(each.until_ms - now_ms),
            f"{span(now_ms - each.since_ms)} ago",
        )
        for each in exclusions
    ]
    session.screen.table(("excluded", "reason", "time left", "since"), cells)


def _exclusion_json(exclusion: Exclusion, now_ms: int) -> dict[str, object]:
    """Return an exclusion as scripts see it: `left_ms` is null when only a person ends it."""
    until_ms = exclusion.until_ms
    return {
        "position": exclusion.position,
        "reason": exclusion.reason,
        "since_ms": exclusion.since_ms,
        "left_ms": None if until_ms is None else until_ms - now_ms,
    }


def _next_try(row: QueueRow, now_ms: int) -> str:
    """Return when the keeper will take a row, in whole seconds rounded up."""
    if row.state is QueueState.IN_FLIGHT:
        return "-"
    if row.next_try_ms >= NEVER_MS:
        return "on retry"
    left_ms = row.next_try_ms - now_ms
    return f"in {-(-left_ms // 1_000):,} s" if left_ms > 0 else "now"


def _as_json(row: QueueRow, now_ms: int) -> dict[str, object]:
    """Return a row as scripts see it: `next_try_in_ms` is null when only an order brings one."""
    never = row.next_try_ms >= NEVER_MS
    return {
        "position": row.position,
        "owner": row.owner,
        "venue": row.venue,
        "symbol": row.symbol,
        "side": row.side,
        "size": row.size,
        "health": row.health,
        "state": row.state,
        "reason": row.reason,
        "tries": row.tries,
        "next_try_in_ms": None if never else max(row.next_try_ms - now_ms, 0),
        "since_ms": row.since_ms,
        "order": row.order,
    }
