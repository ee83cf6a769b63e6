"""Which database a URL leads to at this moment."""

import os

from liqctl.errors import SettingsError
from liqctl.store.connection import MEMORY
from liqctl.store.open import sqlite_path


def place_of(url: str) -> tuple[int, int] | None:
    """Return device and inode of an SQLite file: others once it was replaced, None when it is gone.

    An open connection goes on reading a file that was moved away; a reader that is to follow the
    name compares this. Always None for a database that is not a file.
    """
    try:
        path = sqlite_path(url)
    except SettingsError:
        return None
    if path == MEMORY:
        return None
    try:
        found = os.stat(path)  # noqa: PTH116 - one call, made for every read
    except OSError:
        return None
    return found.st_dev, found.st_ino
