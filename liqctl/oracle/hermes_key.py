"""The API key of Hermes: out of a file that nobody else can read, and never shown."""

import re
from pathlib import Path

from liqctl.errors import SettingsError
from liqctl.ports.secret_file import read_secret_file

_KEY_BYTES_MAX = 4096
_KEY = re.compile(rb"[\x21-\x7e]{1,512}")


def read_api_key(path: Path) -> str:
    """Return the one line of a key file; it reads a file and blocks.

    Raises:
        SettingsError: as `read_secret_file`, or no key inside. No message shows the content.
    """
    key = read_secret_file(path, "the API key file", bytes_max=_KEY_BYTES_MAX).strip()
    if _KEY.fullmatch(key) is None:
        raise SettingsError(f"the API key file {path} holds no key: expected one word in one line")
    return key.decode("ascii")
