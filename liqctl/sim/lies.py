"""Answers that a broken or dishonest endpoint gives."""

from collections.abc import Callable, Mapping
from typing import Any

from liqctl.chain import base58
from liqctl.sim.swarm import Dice

_BACKWARDS_SLOTS = 60
_ABSURD_FEE = 10**12


def lie(
    method: str,
    result: Any,  # noqa: ANN401 - any JSON
    rng: Dice,
    first_slot: int = 0,
) -> tuple[str, Any] | None:
    """Return the kind of the lie and the false result, None when this answer offers none.

    No lie names a slot before the ledger's first one: no ledger of a cluster is so short.
    """
    told = [(kind, tell(result, rng)) for kind, tell in _LIES.get(method, {}).items()]
    fitting = [(kind, false) for kind, false in told if false is not None]
    fitting = [one for one in fitting if _slot_of(one[1], first_slot) >= first_slot]
    return rng.pick(fitting) if fitting else None


def _slot_of(false: Any, otherwise: int) -> int:  # noqa: ANN401
    is_in_context = isinstance(false, dict) and "context" in false
    return int(false["context"]["slot"]) if is_in_context else otherwise


def _wrong_signature(result: Any, rng: Dice) -> Any:  # noqa: ANN401
    return base58.encode(bytes(rng.whole(1, 255) for _ in range(64))) if result else None


def _short_array(result: Any, _rng: Dice) -> Any:  # noqa: ANN401
    return {**result, "value": result["value"][:-1]} if result["value"] else None


def _backwards(result: Any, rng: Dice) -> Any:  # noqa: ANN401
    slot = max(result["context"]["slot"] - rng.whole(1, _BACKWARDS_SLOTS), 0)
    return {**result, "context": {**result["context"], "slot": slot}}


def ahead(result: Any, rng: Dice) -> Any:  # noqa: ANN401
    """Return a result from a slot that the cluster cannot have come to, None where it tells none."""
    if not isinstance(result, dict):
        return None
    slot = result["context"]["slot"] + 10 ** rng.whole(4, 18)
    return {**result, "context": {**result["context"], "slot": slot}}


def _null_status(result: Any, _rng: Dice) -> Any:  # noqa: ANN401
    if not any(result["value"]):
        return None
    return {**result, "value": [None] * len(result["value"])}


def _small_height(result: Any, rng: Dice) -> Any:  # noqa: ANN401
    value = result["value"]
    height = max(value["lastValidBlockHeight"] - rng.whole(1, 150), 1)
    return {**result, "value": {**value, "lastValidBlockHeight": height}}


def _absurd_fees(result: Any, _rng: Dice) -> Any:  # noqa: ANN401
    return [{**row, "prioritizationFee": _ABSURD_FEE} for row in result] if result else None


def _truncated_list(result: Any, _rng: Dice) -> Any:  # noqa: ANN401
    listed = result["value"] if isinstance(result, dict) else result
    if not listed:
        return None
    half = listed[: len(listed) // 2]
    return {**result, "value": half} if isinstance(result, dict) else half


_LIES: Mapping[str, Mapping[str, Callable[[Any, Dice], Any]]] = {
    "sendTransaction": {"lie_wrong_signature": _wrong_signature},
    "getSignatureStatuses": {
        "lie_short_array": _short_array,
        "lie_context_backwards": _backwards,
        "lie_context_ahead": ahead,
        "lie_null_status": _null_status,
    },
    "getMultipleAccounts": {
        "lie_short_array": _short_array,
        "lie_context_backwards": _backwards,
        "lie_context_ahead": ahead,
    },
    "getLatestBlockhash": {
        "lie_small_height": _small_height,
        "lie_context_backwards": _backwards,
        "lie_context_ahead": ahead,
    },
    "getRecentPrioritizationFees": {"lie_absurd_fees": _absurd_fees},
    "getProgramAccounts": {
        "lie_truncated_list": _truncated_list,
        "lie_context_ahead": ahead,
    },
}
