"""Times and ages as people read them."""

from datetime import UTC, datetime, timedelta

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


def utc(unix_s: int) -> str:
    """Return a time in UTC to the second; the number itself where no calendar reaches.

    >>> utc(1_700_000_000), utc(2**63 - 1)
    ('2023-11-14 22:13:20Z', '9223372036854775807')
    """
    try:
        return f"{EPOCH + timedelta(seconds=unix_s):%Y-%m-%d %H:%M:%S}Z"
    except OverflowError:
        return str(unix_s)
