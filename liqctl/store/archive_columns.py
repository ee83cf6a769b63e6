"""Between the archive's records and their columns: pure, like `columns`."""

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import date
from typing import Any

from liqctl.core.alert import Alert, AlertState, Delivery, Severity
from liqctl.core.record import AttemptRow, DaySum, PositionRow, PriceRow
from liqctl.store.columns import Row, read_health, stored_amount, stored_health

POSITION_COLUMNS = tuple(each.name for each in fields(PositionRow))
POSITION_AMOUNTS = (
    "size",
    "collateral",
    "entry_price",
    "equity",
    "maintenance_margin",
    "liquidation_price",
    "mark_price",
)
PRICE_AMOUNTS = ("price", "confidence")
TOTAL_AMOUNTS = ("rewards", "bad_debt", "bad_debt_uncovered")
DAY_AMOUNTS = ("size", *TOTAL_AMOUNTS)
ATTEMPT_NAMES = {
    "sig": "signature",
    "first_sent": "first_sent_ms",
    "fee_paid": "fee_lamports",
    "err_json": "error_json",
}
BEFORE_ALL_POSITIONS = (-math.inf, "")
SPLIT = 10**9
EPOCH_DAY = date(1970, 1, 1).toordinal()


def health_rank(health: float) -> float:
    """Return what positions are ordered by: unknown health comes after every other.

    >>> health_rank(0.5), health_rank(float("nan"))
    (0.5, inf)
    """
    stored = health if health == -math.inf else stored_health(health)
    return math.inf if stored is None else stored


def position_columns(row: PositionRow) -> dict[str, object]:
    """Return a position as the table takes it."""
    # Not asdict, which copies every value and takes ten times as long: this is done for every row.
    columns = {name: getattr(row, name) for name in POSITION_COLUMNS}
    return _amounts_stored(columns, POSITION_AMOUNTS) | {"health": stored_health(row.health)}


def position_of(row: Row) -> PositionRow:
    """Return the position in a row of `positions`."""
    columns = _amounts_read(row, POSITION_AMOUNTS)
    del columns["health_rank"]
    columns["health"] = read_health(row["health"])
    columns["liquidatable"] = None if row["liquidatable"] is None else bool(row["liquidatable"])
    return PositionRow(**columns)


def price_columns(row: PriceRow) -> dict[str, object]:
    """Return a price as the table takes it."""
    return _amounts_stored(asdict(row), PRICE_AMOUNTS)


def price_of(row: Row) -> PriceRow:
    """Return the price in a row of `prices`."""
    return PriceRow(**_amounts_read(row, PRICE_AMOUNTS))


def attempt_row_of(row: Row) -> AttemptRow:
    """Return the attempt in a row of `attempt` with the venue and position of its intent."""
    return AttemptRow(**{ATTEMPT_NAMES.get(name, name): row[name] for name in dict(row)})


def day_of(timestamp: int) -> str:
    """Return the UTC day of a time in unix seconds.

    >>> day_of(86_399), day_of(1_764_115_200)
    ('1970-01-01', '2025-11-26')
    """
    return _day(timestamp // 86_400)


def _day(days: int) -> str:
    return date.fromordinal(EPOCH_DAY + days).isoformat()


def day_sum_of(row: Row, oversized: Sequence[Row]) -> DaySum:
    """Return the sums in a row of `day_sums` with the oversized amounts of its group."""
    group = ("day", "venue", "symbol")
    ours = [each for each in oversized if all(each[name] == row[name] for name in group)]
    return DaySum(
        day=_day(row["day"]),
        venue=row["venue"],
        symbol=row["symbol"],
        full=row["full_count"],
        partial=row["liquidations"] - row["full_count"],
        fees_lamports=int(row["fees_lamports"]),
        **summed(DAY_AMOUNTS, row, ours),
    )


def summed(names: Sequence[str], sums: Row, oversized: Sequence[Row]) -> dict[str, int]:
    """Return whole sums by name: the halves of SQL together, and the digits of text columns."""
    return {
        name: int(sums[f"{name}_high"]) * SPLIT
        + int(sums[f"{name}_low"])
        + sum(int(row[name]) for row in oversized if isinstance(row[name], str))
        for name in names
    }


def alert_of(row: Row) -> Alert:
    """Return the alert in a row of `alert`."""
    columns = dict(row)
    columns["severity"] = Severity(row["severity"])
    columns["state"] = AlertState(row["state"])
    return Alert(**columns)


def latest_ms(alert: Alert) -> int:
    """Return the time of the last thing that happened to an alert."""
    return max(alert.raised_ms, alert.resolved_ms or 0, alert.notified_ms or 0)


def delivery_of(row: Row) -> Delivery:
    """Return the message in a row of `alert_delivery`."""
    columns = dict(row)
    columns["severity"] = Severity(row["severity"])
    columns["resolves"] = bool(row["resolves"])
    return Delivery(**columns)


def _amounts_stored(record: dict[str, object], names: Sequence[str]) -> dict[str, object]:
    for name in names:
        amount = record[name]
        if isinstance(amount, int):
            record[name] = stored_amount(amount)
    return record


def _amounts_read(row: Row, names: Sequence[str]) -> dict[str, Any]:
    columns = dict(row)
    columns.update({name: None if row[name] is None else int(row[name]) for name in names})
    return columns
