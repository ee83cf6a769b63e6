"""Integers as people read them in a message."""

QUOTE_DIGITS = 6
SOL_DIGITS = 9


def decimal(amount: int, digits: int) -> str:
    """Return an amount of so many decimal places exactly, without zeros at the end.

    >>> decimal(-1_234_500_000, 6), decimal(7, 0)
    ('-1,234.5', '7')
    """
    whole, places = divmod(abs(amount), 10**digits)
    text = f"{places:0{digits}d}".rstrip("0") if digits else ""
    return f"{'-' if amount < 0 else ''}{whole:,}{'.' if text else ''}{text}"


def quote(amount: int) -> str:
    """Return an amount of 1e-6 quote.

    >>> quote(500_000_000)
    '500'
    """
    return decimal(amount, QUOTE_DIGITS)


def sol(lamports: int) -> str:
    """Return lamports in SOL.

    >>> sol(50_000_000)
    '0.05 SOL'
    """
    return f"{decimal(lamports, SOL_DIGITS)} SOL"


def percent(bps: int) -> str:
    """Return basis points in per cent.

    >>> percent(525)
    '5.25 %'
    """
    return f"{decimal(bps, 2)} %"


def duration(seconds: int) -> str:
    """Return a time span in its two largest units, rounded down.

    >>> duration(59), duration(3_725), duration(100_000)
    ('59 s', '1 h 2 min', '1 d 3 h')
    """
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(max(seconds, 0), size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def ago(ms: int) -> str:
    """Return how long ago something was, rounded down.

    >>> ago(61_900)
    '1 min 1 s ago'
    """
    return f"{duration(ms // 1_000)} ago"
