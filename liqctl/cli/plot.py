"""A small line plot for a terminal, in plain ASCII where that is all it can show."""

from collections.abc import Callable, Sequence

import plotext

WIDTH_MAX = 72
HEIGHT = 9
ASCII = str.maketrans("┌┐└┘─│┤├┬┴┼", "++++-|+++++")


def line_plot(
    points: Sequence[tuple[int, int]],
    *,
    width: int,
    unicode: bool,
    label: Callable[[int], str],
    ends: tuple[str, str],
) -> list[str]:
    """Return the lines of a plot of (x, y), x growing: y labelled at its bounds, x at its ends."""
    across = [x for x, _ in points]
    up = [y for _, y in points]
    low, high = min(up), max(up)
    figure = plotext.figure
    figure.clear()
    figure.theme("colorless")
    figure.plot_size(min(width, WIDTH_MAX), HEIGHT)
    signal = figure.signal(across, up, marker="hd" if unicode else "*")
    signal.lines(True)
    figure.draw(signal)
    bounds = sorted({low, high})
    figure.ruler(axis="y").ticks(bounds, [label(y) for y in bounds])
    figure.ruler(axis="x").ticks([across[0], across[-1]], list(ends))
    text = str(figure.build().string(colorless=True))
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return lines if unicode else [line.translate(ASCII) for line in lines]
