"""A venue's accounts out of files instead of a node: the same pass, without any network."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from liqctl.core.account import Account, Seen
from liqctl.core.engine import Engine
from liqctl.core.events import AccountsSeen, ClockSeen
from liqctl.core.health import Assessment
from liqctl.core.position import Market, Position
from liqctl.core.price import PriceReading
from liqctl.core.queue import Queue
from liqctl.core.whatif import reading_of
from liqctl.errors import SettingsError
from liqctl.keeper.book import ColumnBook
from liqctl.keeper.decode import CLOCK_SYSVAR, decode, decode_clock
from liqctl.keeper.survey import Finding, Survey, estimates, worst_first
from liqctl.ports import Venue

BY_OPTION, BY_CLOCK, BY_PRICE = "option", "clock", "newest_price"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """Accounts of one moment: `now_s` is the cluster's time, `now_from` where that comes from."""

    view: Mapping[str, Seen]
    slot: int
    now_s: int
    now_from: str


def shelf_of(venue: Venue, accounts: Sequence[Account], now_s: int | None) -> Shelf:
    """Return dumped accounts as a view, at the time given, the dumped clock's or the newest price's.

    Raises:
        SettingsError: one account was dumped twice, or nothing says what time it is.
    """
    dumped: dict[str, Account] = {}
    for account in accounts:
        if account.address in dumped:
            raise SettingsError(f"--accounts: there are two dumps of {account.address}")
        dumped[account.address] = account
    clock = decode_clock(dumped.pop(CLOCK_SYSVAR, None))
    slot = 0 if clock is None else clock.slot
    view = {address: decode(venue, address, one, slot) for address, one in dumped.items()}
    if now_s is not None:
        return Shelf(view=view, slot=slot, now_s=now_s, now_from=BY_OPTION)
    if clock is not None:
        return Shelf(view=view, slot=slot, now_s=clock.unix_timestamp, now_from=BY_CLOCK)
    newest = max(_publish_times(venue, view), default=None)
    if newest is None:
        raise SettingsError(
            f"--accounts: no dump of the clock, {CLOCK_SYSVAR}, and none of a price; give --now"
        )
    return Shelf(view=view, slot=slot, now_s=newest, now_from=BY_PRICE)


def _publish_times(venue: Venue, view: Mapping[str, Seen]) -> list[int]:
    values = [seen.value for seen in view.values()]
    markets = [one for one in values if isinstance(one, Market)]
    used = [reading_of(venue, one, view) for one in markets]
    readings = [one for one in (*values, *used) if isinstance(one, PriceReading)]
    return [one.publish_time for one in readings]


def engine_of(venue: Venue, shelf: Shelf) -> Engine:
    """Return an engine that has seen everything on the shelf at its time."""
    engine = Engine(venue, ColumnBook(), Queue(capacity=max(len(shelf.view), 1)))
    engine.apply(ClockSeen(slot=shelf.slot, unix_timestamp=shelf.now_s), 0)
    engine.apply(AccountsSeen(seen=tuple(shelf.view.values())), 0)
    return engine


def audit(
    engine: Engine, shelf: Shelf, *, market: str | None = None, min_notional: int = 0
) -> Survey:
    """Return what is liquidatable on the shelf, what is not known and why.

    `market` is a symbol; `min_notional` is in 1e-6 quote.
    """
    held = [engine.position(entry.position) for entry in engine.queue.entries()]
    judged = [Finding(position=p, assessment=_judged(engine, p)) for p in held if p is not None]
    return Survey(
        slot=shelf.slot,
        coverage=engine.coverage(),
        findings=worst_first(
            one
            for one in judged
            if one.assessment.liquidatable is True
            and market in {None, one.assessment.symbol}
            and one.assessment.notional >= min_notional
        ),
        estimates=estimates(engine, market=market, min_notional=min_notional),
    )


def _judged(engine: Engine, position: Position) -> Assessment:
    return engine.doubted(engine.assess(position), engine.view)
