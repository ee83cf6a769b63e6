"""Waiting for a person or a pipe while an event loop is running."""

import signal
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def interruptible() -> Generator[None]:
    """Have Ctrl-C raise KeyboardInterrupt in the block, which blocks the loop's own thread.

    The loop would only cancel its task, which runs when the block is over. In another thread the
    block would not be told at all, and the end of the program would wait for it.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
