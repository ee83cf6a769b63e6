"""Earlier answers of a node, kept for a while so that it can seem to lag."""

from collections import OrderedDict
from dataclasses import dataclass

import msgspec

from liqctl.sim.chaos.faults import min_context_slot

AGE_S_MAX = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """An answer and when it was given; `slot` is that of its bank, if the answer says so."""

    result: bytes
    slot: int | None
    at_s: float


@dataclass(slots=True, kw_only=True)
class _Pair:
    new: Kept
    old: Kept | None = None

    @property
    def size(self) -> int:
        return len(self.new.result) + (0 if self.old is None else len(self.old.result))


class Shelf:
    """At most two answers to each question: one of about now and one at least `lag_s` older."""

    def __init__(self, *, lag_s: float = 4.0, bytes_max: int = 32 * 1024 * 1024) -> None:
        """Keep `bytes_max` bytes of answers; what was not renewed for the longest time goes first."""
        self._lag_s = lag_s
        self._bytes_max = bytes_max
        self._pairs: OrderedDict[bytes, _Pair] = OrderedDict()
        self._bytes = 0

    @property
    def size(self) -> int:
        """Return how many bytes of answers are kept."""
        return self._bytes

    def put(self, method: str, params: object, result: object, now_s: float) -> None:
        """Keep an answer, unless one of less than `lag_s` ago is there."""
        question = _question(method, params)
        pair = self._pairs.get(question)
        if pair is not None and now_s - pair.new.at_s < self._lag_s:
            return
        encoded = msgspec.json.encode(result)
        if len(encoded) > self._bytes_max // 4:
            return
        kept = Kept(result=encoded, slot=_slot_of(result), at_s=now_s)
        if pair is not None:
            self._bytes -= pair.size
        self._pairs[question] = _Pair(new=kept, old=None if pair is None else pair.new)
        self._pairs.move_to_end(question)
        self._bytes += self._pairs[question].size
        while self._bytes > self._bytes_max:
            _, gone = self._pairs.popitem(last=False)
            self._bytes -= gone.size

    def older(self, method: str, params: object, now_s: float) -> Kept | None:
        """Return the oldest answer of the last AGE_S_MAX seconds to the same question."""
        pair = self._pairs.get(_question(method, params))
        kept = [] if pair is None else [each for each in (pair.old, pair.new) if each is not None]
        return next((each for each in kept if 0 < now_s - each.at_s <= AGE_S_MAX), None)


def _question(method: str, params: object) -> bytes:
    """Return what is asked, whatever bank it is asked of at least."""
    if isinstance(params, list) and min_context_slot(params) is not None:
        config = {name: each for name, each in params[-1].items() if name != "minContextSlot"}
        params = [*params[:-1], config]
    return msgspec.json.encode([method, params], order="deterministic")


def _slot_of(result: object) -> int | None:
    match result:
        case {"context": {"slot": int(slot)}} | {"absoluteSlot": int(slot)}:
            return slot
        case int():
            return result
        case _:
            return None
