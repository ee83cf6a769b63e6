"""The file that alert channels may stand in: one a line, readable by its owner alone."""

from pathlib import Path

from liqctl.alerts.routes import parse_route
from liqctl.errors import SettingsError
from liqctl.ports.secret_file import read_secret_file

SIZE_MAX = 65_536
NAME = "the alert channel file"


def read_channel_file(path: Path) -> tuple[str, ...]:
    """Return the lines that are neither empty nor comments (`#`); it reads a file and blocks.

    Raises:
        SettingsError: as `read_secret_file`, or too large or no text, or which line is no channel.
            No message shows the content.
    """
    content = read_secret_file(path, NAME, bytes_max=SIZE_MAX)
    if len(content) > SIZE_MAX:
        raise SettingsError(f"{NAME} {path} must hold at most {SIZE_MAX} bytes")
    try:
        lines = [line.strip() for line in content.decode("utf-8").splitlines()]
    except UnicodeDecodeError:
        raise SettingsError(f"{NAME} {path} must be UTF-8 text") from None
    used = [(n, line) for n, line in enumerate(lines, 1) if line and not line.startswith("#")]
    for number, line in used:
        try:
            parse_route(line)
        except SettingsError as error:
            raise SettingsError(f"{NAME} {path}, line {number}, {error}") from None
    return tuple(line for _, line in used)
