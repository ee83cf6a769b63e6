"""Foreign text made fit to be shown."""

_TEXT_LENGTH_MAX = 300


def one_line(text: str) -> str:
    """Return foreign text cut short and without control characters, fit for a terminal and a log."""
    shown = "".join(each if each.isprintable() else "?" for each in text[: _TEXT_LENGTH_MAX + 1])
    return shown if len(shown) <= _TEXT_LENGTH_MAX else shown[:_TEXT_LENGTH_MAX] + "…"
