"""What an answer proves about the endpoint that gave it: its slot, or that it is false."""

import base64
import binascii
from collections.abc import Sequence

from liqctl.chain.answers import Commitment
from liqctl.chain.base58 import encode

_ONE_EACH = frozenset({"getMultipleAccounts", "getSignatureStatuses"})


def lie_in(method: str, params: Sequence[object], result: object) -> str | None:
    """Return what is provably false in an answer, or None.

    No honest node answers below an asked minContextSlot, with another number of entries than were
    asked for, or with another signature than that of the bytes it was given.
    """
    slot, asked = slot_in(method, result), config_of(params).get("minContextSlot")
    if slot is not None and isinstance(asked, int) and slot < asked:
        return f"slot {slot}, slot {asked} or later was asked"
    if method in _ONE_EACH:
        return _wrong_count(params, result)
    if method == "sendTransaction" and result != _signature(params):
        return "another signature"
    return None


def slot_in(method: str, result: object) -> int | None:
    """Return the slot of the bank that an answer comes from, where it tells one."""
    found: object = None
    match result:
        case {"context": {"slot": slot}}:
            found = slot
        case {"absoluteSlot": slot} if method == "getEpochInfo":
            found = slot
        case int() if method == "getSlot":
            found = result
    return found if type(found) is int else None


def entries_in(result: object) -> int:
    """Return how many entries a snapshot lists."""
    match result:
        case {"value": list() as entries}:
            return len(entries)
        case _:
            return 0


def level_of(params: Sequence[object]) -> object:
    """Return the commitment that a call asked for; without one the node takes finalized."""
    return config_of(params).get("commitment", Commitment.FINALIZED)


def config_of(params: Sequence[object]) -> dict[str, object]:
    """Return the configuration object that ends the parameters of a call, or an empty one."""
    last = params[-1] if params else None
    return last if isinstance(last, dict) else {}


def _wrong_count(params: Sequence[object], result: object) -> str | None:
    asked = params[0] if params else None
    match result:
        case {"value": list() as entries} if isinstance(asked, list):
            if len(entries) != len(asked):
                return f"{len(entries)} entries for {len(asked)}"
    return None


def _signature(params: Sequence[object]) -> str | None:
    text = params[0] if params else None
    if not isinstance(text, str):
        return None
    try:
        return encode(base64.b64decode(text, validate=True)[1:65])
    except (binascii.Error, ValueError):
        return None
