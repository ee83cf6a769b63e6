"""Answers of a node made wrong: pure functions of the answer and of one number."""

import hashlib
from typing import Any

from liqctl.chain.base58 import encode
from liqctl.chain.rpc import MIN_CONTEXT_NOT_REACHED, NO_HISTORY, UNHEALTHY
from liqctl.sim.chaos.faults import Fault, min_context_slot

SLOTS_BACK_MAX = 500
UNCHANGED = object()
"""What `changed` returns for a result that the fault cannot spoil."""
_OTHER_TYPES: tuple[object, ...] = ("", True, -1, 2**64 - 1, 0.5, [], {}, [[[]]], "\x1b[31m")
_PAGE = b"<html><body><h1>502 Bad Gateway</h1></body></html>"


def refusal(fault: Fault, params: object, shade: float) -> dict[str, Any]:
    """Return the error object of a refused call; in the upper half of `shade` it lacks its data."""
    slots_behind = 1 + int(shade * SLOTS_BACK_MAX)
    match fault:
        case Fault.NO_HISTORY:
            return {
                "code": NO_HISTORY,
                "message": "Transaction history is not available from this node",
            }
        case Fault.MIN_CONTEXT:
            slot = max((min_context_slot(params) or 0) - slots_behind, 0)
            error = {
                "code": MIN_CONTEXT_NOT_REACHED,
                "message": "Minimum context slot has not been reached",
                "data": {"contextSlot": slot},
            }
        case _:
            error = {
                "code": UNHEALTHY,
                "message": f"Node is behind by {slots_behind} slots",
                "data": {"numSlotsBehind": slots_behind},
            }
    if shade >= 0.5:
        del error["data"]
    return error


def changed(fault: Fault, method: str, result: object, shade: float) -> object:
    """Return the result as the fault leaves it, or UNCHANGED where it has nothing to spoil.

    The given result stays as it is.
    """
    match fault:
        case Fault.WRONG_SIGNATURE:
            return _other_signature(result) if isinstance(result, str) else UNCHANGED
        case Fault.SHORT_ARRAY | Fault.TRUNCATED_LIST:
            return _shortened(result, shade)
        case Fault.SLOT_BACKWARDS:
            return _set_back(result, 1 + int(shade * SLOTS_BACK_MAX))
        case Fault.FORGOTTEN | Fault.EMPTY_HISTORY:
            return _forgotten(method, result, shade)
        case Fault.WRONG_TYPE:
            return _of_other_type(result, shade)
        case _:
            return UNCHANGED


def no_json(body: bytes, shade: float) -> bytes:
    """Return a web page, or the first half of the answer."""
    return _PAGE if shade < 0.5 else body[: len(body) // 2]


def _other_signature(signature: str) -> str:
    return encode(hashlib.blake2b(signature.encode()).digest())


def _shortened(result: object, shade: float) -> object:
    """Cut a list, bare or in its context; at least one entry goes."""
    match result:
        case [_, *_] as entries:
            return entries[: int(len(entries) * shade)]
        case {"value": [_, *_] as entries, **rest}:
            return {**rest, "value": entries[: int(len(entries) * shade)]}
        case _:
            return UNCHANGED


def _set_back(result: object, slots: int) -> object:
    """Lower every slot and height that the result says of its bank."""
    match result:
        case int() if type(result) is int:
            return max(result - slots, 0)
        case {"context": {"slot": int(slot), **context}, **rest}:
            if isinstance(value := rest.get("value"), dict):
                rest["value"] = _lowered(value, slots)
            return {"context": {**context, "slot": max(slot - slots, 0)}, **rest}
        case dict() as fields if "absoluteSlot" in fields:
            return _lowered(fields, slots)
        case _:
            return UNCHANGED


def _lowered(fields: dict[str, Any], slots: int) -> dict[str, Any]:
    names = {"absoluteSlot", "blockHeight", "lastValidBlockHeight"}
    return {
        name: max(value - slots, 0) if name in names and type(value) is int else value
        for name, value in fields.items()
    }


def _forgotten(method: str, result: object, shade: float) -> object:
    match method, result:
        case "getSignatureStatuses", {"value": list() as entries, **rest} if any(entries):
            return {**rest, "value": [None] * len(entries)}
        case "getSignaturesForAddress", [_, *_] as entries:
            newest = len(entries) if shade < 0.5 else (len(entries) + 1) // 2
            return entries[newest:]
        case "getTransaction", dict():
            return None
        case _:
            return UNCHANGED


def _of_other_type(result: object, shade: float) -> object:
    """Put a value of another type in the place of the result, or of the value in its context."""
    match result:
        case {"value": true, **rest} if int(shade * 1_000) % 2 == 0:
            return {**rest, "value": _not_like(true, shade)}
        case _:
            return _not_like(result, shade)


def _not_like(true: object, shade: float) -> object:
    offered = [each for each in _OTHER_TYPES if type(each) is not type(true)]
    return offered[int(shade * len(offered))]
