"""The ways in which a node lets its callers down, by kind."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Fault(StrEnum):
    """One kind of fault; its value is the name in options and in the summary."""

    RESET = "reset"
    SERVER_ERROR = "server_error"
    NO_ANSWER = "no_answer"
    RATE_LIMITED = "rate_limited"
    RETRY_AFTER = "retry_after"
    REPLY_LOST = "reply_lost"
    DELAY = "delay"
    STALE = "stale"
    UNHEALTHY = "unhealthy"
    MIN_CONTEXT = "min_context"
    NO_HISTORY = "no_history"
    FORGOTTEN = "forgotten"
    EMPTY_HISTORY = "empty_history"
    WRONG_SIGNATURE = "wrong_signature"
    SHORT_ARRAY = "short_array"
    SLOT_BACKWARDS = "slot_backwards"
    TRUNCATED_LIST = "truncated_list"
    WRONG_TYPE = "wrong_type"
    NO_JSON = "no_json"
    OUTAGE = "outage"
    WS_MUTE = "ws_mute"
    WS_DROP = "ws_drop"
    WS_GARBAGE = "ws_garbage"
    WS_DUPLICATE = "ws_duplicate"
    WS_REORDER = "ws_reorder"


ABOUT: Mapping[Fault, str] = MappingProxyType(
    {
        Fault.RESET: "the connection is reset before the request reaches the node",
        Fault.SERVER_ERROR: "HTTP 500, 502, 503 or 504 instead of the node's answer",
        Fault.NO_ANSWER: "the request is swallowed and the connection stays open in silence",
        Fault.RATE_LIMITED: "HTTP 429 without Retry-After",
        Fault.RETRY_AFTER: "HTTP 429 with Retry-After of 1 to 3 seconds",
        Fault.REPLY_LOST: "the node gets the transaction, its answer never arrives",
        Fault.DELAY: "the answer arrives 0.2 to 3 seconds late",
        Fault.STALE: "an answer of some seconds ago, or -32016 where it is too old for what was asked",
        Fault.UNHEALTHY: "error -32005, node is behind; every second time without its data",
        Fault.MIN_CONTEXT: "error -32016 where minContextSlot was asked for; likewise",
        Fault.NO_HISTORY: "error -32011 where the transaction history is asked for",
        Fault.FORGOTTEN: "null for signatures that the node knows",
        Fault.EMPTY_HISTORY: "getSignaturesForAddress leaves out the newest entries, or all",
        Fault.WRONG_SIGNATURE: "a sent transaction is answered with another signature",
        Fault.SHORT_ARRAY: "fewer entries than were asked for, none said to be missing",
        Fault.SLOT_BACKWARDS: "the slot and height of an answer are up to 500 too low",
        Fault.TRUNCATED_LIST: "getProgramAccounts leaves out accounts and says nothing",
        Fault.WRONG_TYPE: "a result of another JSON type than the method promises",
        Fault.NO_JSON: "HTTP 200 with a web page or half of the answer",
        Fault.OUTAGE: "everything is down for this share of each period",
        Fault.WS_MUTE: "a WebSocket connection goes silent and stays open",
        Fault.WS_DROP: "a WebSocket connection is reset",
        Fault.WS_GARBAGE: "a WebSocket frame comes after one that means nothing",
        Fault.WS_DUPLICATE: "a notification comes twice",
        Fault.WS_REORDER: "a notification comes after the next one",
    }
)

WRITES = frozenset({"sendTransaction", "requestAirdrop"})
LAGGING = frozenset(
    {
        "getAccountInfo", "getBalance", "getBlockHeight", "getEpochInfo", "getLatestBlockhash",
        "getMultipleAccounts", "getProgramAccounts", "getSignatureStatuses", "getSlot",
        "getTokenAccountBalance", "isBlockhashValid",
    }
)  # fmt: skip
_METHODS: Mapping[Fault, frozenset[str]] = MappingProxyType(
    {
        Fault.REPLY_LOST: WRITES,
        Fault.STALE: LAGGING,
        Fault.NO_HISTORY: frozenset(
            {"getSignatureStatuses", "getSignaturesForAddress", "getTransaction", "getBlock"}
        ),
        Fault.FORGOTTEN: frozenset({"getSignatureStatuses", "getTransaction"}),
        Fault.EMPTY_HISTORY: frozenset({"getSignaturesForAddress"}),
        Fault.WRONG_SIGNATURE: frozenset({"sendTransaction"}),
        Fault.SHORT_ARRAY: frozenset({"getMultipleAccounts", "getSignatureStatuses"}),
        Fault.TRUNCATED_LIST: frozenset({"getProgramAccounts"}),
    }
)

ON_SOCKET = frozenset(
    {Fault.WS_MUTE, Fault.WS_DROP, Fault.WS_GARBAGE, Fault.WS_DUPLICATE, Fault.WS_REORDER}
)
"""Faults of a WebSocket frame; the others are of an HTTP request."""
OF_NOTIFICATIONS = frozenset({Fault.WS_DUPLICATE, Fault.WS_REORDER})
CUTS = frozenset(
    {Fault.RESET, Fault.SERVER_ERROR, Fault.NO_ANSWER, Fault.RATE_LIMITED, Fault.RETRY_AFTER}
)
"""Faults that a whole HTTP request meets before the node has seen it."""
REFUSALS = frozenset({Fault.UNHEALTHY, Fault.MIN_CONTEXT, Fault.NO_HISTORY})
"""Faults that answer one call with an error object; the node never sees the call."""
CHANGES = frozenset(
    {
        Fault.STALE, Fault.FORGOTTEN, Fault.EMPTY_HISTORY, Fault.WRONG_SIGNATURE,
        Fault.SHORT_ARRAY, Fault.SLOT_BACKWARDS, Fault.TRUNCATED_LIST, Fault.WRONG_TYPE,
    }
)  # fmt: skip
"""Faults that change the result of one call after the node has answered."""


def concerns(fault: Fault, method: str, params: object) -> bool:
    """Return whether a call can meet this kind of fault."""
    if fault in ON_SOCKET or fault is Fault.OUTAGE:
        return False
    if method not in _METHODS.get(fault, (method,)):
        return False
    if fault is Fault.MIN_CONTEXT:
        return min_context_slot(params) is not None
    if fault is Fault.NO_HISTORY and method == "getSignatureStatuses":
        return _config(params).get("searchTransactionHistory") is True
    return True


def min_context_slot(params: object) -> int | None:
    """Return the minContextSlot that a call asks for."""
    found = _config(params).get("minContextSlot")
    return found if type(found) is int else None


def _config(params: object) -> Mapping[str, object]:
    """Return the object of options that comes last among the parameters, if there is one."""
    last = params[-1] if isinstance(params, list) and params else None
    return last if isinstance(last, dict) else {}
