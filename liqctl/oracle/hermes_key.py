"""The API key of Hermes: out of a file that nobody else can read, and never shown."""

import os
import re
import stat
from pathlib import Path

from liqctl.errors import SettingsError

_KEY_BYTES_MAX = 4096
_KEY = re.compile(rb"[\x21-\x7e]{1,512}")


def read_api_key(path: Path) -> str:
    """Return the one line of a key file; it reads a file and blocks.

    Raises:
        SettingsError: missing, no file, another user's, open to others, or no key inside. No
            message shows the content.
    """
    place = f"the API key file {path}"
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as error:
        raise SettingsError("the path of the API key file has a zero byte") from error
    except OSError as error:
        raise SettingsError(f"{place} cannot be read: {error.strerror}") from error
    try:
        # the opened file itself, so that nothing changes between check and read
        _check(place, path, os.fstat(opened))
        content = os.read(opened, _KEY_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsError(f"{place} cannot be read: {error.strerror}") from error
    finally:
        os.close(opened)
    key = content.strip()
    if _KEY.fullmatch(key) is None:
        raise SettingsError(f"{place} holds no key: expected one word in one line")
    return key.decode("ascii")


def _check(place: str, path: Path, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"{place} is no regular file")
    if found.st_uid != os.geteuid():
        raise SettingsError(f"{place} belongs to user {found.st_uid}, not to you")
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise SettingsError(f"{place} is open to others (mode {mode:04o}); run: chmod 600 {path}")
