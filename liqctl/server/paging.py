"""Keyset paging: cursors that only fit the list and the filters they were made for."""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from typing import Annotated, TypeVar
from urllib.parse import urlencode

import msgspec

from liqctl.server.errors import ApiError

K = TypeVar("K")

PAGE_MAX = 500
PAGE = 50
CURSOR_LENGTH_MAX = 256
# What a database keeps in a column of whole numbers.
Whole = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


def cursor_of(path: str, filters: Mapping[str, object], key: object) -> str:
    """Return the cursor that continues the list at `path` after the row with this key."""
    text = msgspec.json.encode((_seal(path, filters), key))
    return urlsafe_b64encode(text).rstrip(b"=").decode("ascii")


def key_of(path: str, filters: Mapping[str, object], cursor: str, key: type[K]) -> K:
    """Return the key that a cursor holds.

    Raises:
        ApiError: 400, it is not one of ours, or was made for another list or other filters.
    """
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        seal, found = msgspec.json.decode(text, type=tuple[str, msgspec.Raw])
        if seal != _seal(path, filters):
            raise ApiError(
                400, "cursor_foreign", "The cursor belongs to another list or to other filters."
            )
        return msgspec.json.decode(found, type=key)
    except (ValueError, msgspec.MsgspecError):
        raise ApiError(400, "cursor_invalid", "The cursor is not one of this API.") from None


def next_link(path: str, query: Mapping[str, object], cursor: str) -> str:
    """Return the address of the next page, with the filters of this one."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{path}?{urlencode({**given, 'cursor': cursor})}"


def _seal(path: str, filters: Mapping[str, object]) -> str:
    """Return what tells this list with these filters from every other one."""
    named = sorted((name, value) for name, value in filters.items() if value is not None)
    told = msgspec.json.encode((path, named))
    return hashlib.blake2b(told, digest_size=6).hexdigest()
