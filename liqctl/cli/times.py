"""Times and ages as people read and write them."""

import re
from datetime import UTC, datetime, timedelta

from liqctl.errors import SettingsError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def span(duration_ms: int) -> str:
    """Return a duration in its two largest units, rounded down; a negative one is none at all.

    >>> span(400), span(42_000), span(125_000), span(93_600_000)
    ('0 s', '42 s', '2 min 5 s', '1 d 2 h')
    """
    rest = max(duration_ms, 0) // 1_000
    parts: list[tuple[int, str]] = []
    for seconds, unit in UNITS:
        count, rest = divmod(rest, seconds)
        if count or parts:
            parts.append((count, unit))
    shown = [f"{count} {unit}" for count, unit in parts[:2] if count]
    return " ".join(shown) or "0 s"


def duration_ms(text: str, option: str) -> int:
    """Return how long a text such as 90s, 30m, 2h, 7d or 1d12h is, in milliseconds.

    >>> duration_ms("2h", "--for"), duration_ms("1d12h", "--for")
    (7200000, 129600000)

    Raises:
        SettingsError: it is none, or more than ten thousand days.
    """
    shape = r"(?:(\d{1,5})d)?(?:(\d{1,5})h)?(?:(\d{1,5})m)?(?:(\d{1,5})s)?"
    found = re.fullmatch(shape, text, re.ASCII)
    counts = (0,) if found is None else tuple(int(count or 0) for count in found.groups())
    seconds = sum(count * unit for count, (unit, _) in zip(counts, UNITS, strict=False))
    if not 0 < seconds <= 10_000 * UNITS[0][0]:
        raise SettingsError(f"{option} must be a duration such as 30m, 2h or 7d, was {text}")
    return seconds * 1_000


def unix_s(text: str, option: str) -> int:
    """Return a date, or a date and time, as unix seconds, rounded down; without a zone it is UTC.

    >>> unix_s("2023-11-14", "--since"), unix_s("2023-11-14T23:13:20+01:00", "--since")
    (1699920000, 1700000000)

    Raises:
        SettingsError: it is neither.
    """
    try:
        moment = datetime.fromisoformat(text)
        known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return (known - EPOCH) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise SettingsError(
            f"{option} must be a date such as 2026-11-24 or 2026-11-24T18:30, was {text!r}"
        ) from None


def utc(unix_s: int) -> str:
    """Return a time in UTC to the second; the number itself where no calendar reaches.

    >>> utc(1_700_000_000), utc(2**63 - 1)
    ('2023-11-14 22:13:20Z', '9223372036854775807')
    """
    try:
        return f"{EPOCH + timedelta(seconds=unix_s):%Y-%m-%d %H:%M:%S}Z"
    except OverflowError:
        return str(unix_s)
