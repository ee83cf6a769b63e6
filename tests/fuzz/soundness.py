"""What may come out of a decoder: typed values whose numbers are integers."""

from collections.abc import Coroutine, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

# For ranking and display, infinite where there is nothing to divide by.
_FLOATS_ALLOWED = frozenset({"health", "health_factor_before", "retry_after_s"})


class Unsound(Exception):
    """A decoder let through what nobody can count with."""


def sound(value: object) -> None:
    """Return when there is no float in a value, however deep.

    Raises:
        Unsound: there is one.
    """
    if isinstance(value, float):
        raise Unsound(f"a float: {value!r}")
    if isinstance(value, Mapping):
        for each in value.values():
            sound(each)
    elif isinstance(value, tuple | list):
        for each in value:
            sound(each)
    elif is_dataclass(value) and not isinstance(value, type):
        for name in _names(type(value)):
            sound(getattr(value, name))


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind) if each.name not in _FLOATS_ALLOWED)


def expect(value: object, *kinds: type) -> None:
    """Return when a value is of one of the kinds and sound.

    Raises:
        Unsound: it is not.
    """
    if not isinstance(value, kinds):
        raise Unsound(f"{type(value).__name__} came out")
    sound(value)


def driven(call: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that waits for nothing but its turn."""
    while True:
        try:
            call.send(None)
        except StopIteration as end:
            return end.value
