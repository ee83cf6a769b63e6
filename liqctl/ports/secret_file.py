"""A secret out of a file: read only if nobody else could have read or replaced it."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from liqctl.errors import SettingsError


def read_secret_file(path: Path, name: str, *, bytes_max: int, missing: str = "") -> bytes:
    """Return the content of a secret file, at most `bytes_max` + 1 bytes of it; it blocks.

    `name` is what the file is called in messages ("the key file"); `missing` is what to do when
    there is none. No message shows the content.

    Raises:
        SettingsError: missing, no regular file, another user's, open to others, or a link that
            others could turn.
    """
    place = f"{name} {path}"
    try:
        opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except ValueError as error:
        raise SettingsError(f"the path of {name} has a zero byte") from error
    except OSError as error:
        if missing and isinstance(error, FileNotFoundError):
            raise SettingsError(f"no {name.removeprefix('the ')} at {path}; {missing}") from None
        raise SettingsError(f"{place} cannot be read: {error.strerror}") from error
    try:
        _check(place, path, os.fstat(opened))
        _refuse_shared_link(place, path)
        return os.read(opened, bytes_max + 1)
    except OSError as error:
        raise SettingsError(f"{place} cannot be read: {error.strerror}") from error
    finally:
        os.close(opened)


def _check(place: str, path: Path, found: os.stat_result) -> None:
    """Check the opened file itself, so that nothing can change between check and read."""
    if not stat.S_ISREG(found.st_mode):
        raise SettingsError(f"{place} is no regular file")
    if found.st_uid != os.geteuid():
        raise SettingsError(
            f"{place} belongs to user {found.st_uid}, not to you (user {os.geteuid()})"
        )
    if found.st_mode & 0o077:
        mode = stat.S_IMODE(found.st_mode)
        raise SettingsError(f"{place} is open to others (mode {mode:04o}); run: chmod 600 {path}")


def _refuse_shared_link(place: str, path: Path) -> None:
    """Refuse a symbolic link where somebody else could change what stands at either end."""
    links = list(_links(path.absolute()))
    ends = [path.resolve().parent] if path.is_symlink() else []
    for folder in [link.parent for link in links] + ends:
        try:
            mode = folder.stat().st_mode
        except OSError:
            continue
        if mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SettingsError(
                f"{place} is a link, and others may write to {folder};"
                " name the file itself, in a folder of your own"
            )


def _links(path: Path) -> Iterator[Path]:
    """Yield every symbolic link on the way to a path that could be opened just now."""
    for prefix in (*reversed(path.parents), path):
        if prefix.is_symlink():
            yield prefix
            yield from _links(prefix.parent / prefix.readlink() / path.relative_to(prefix))
            return
