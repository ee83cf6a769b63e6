"""The calls in a JSON-RPC request, and the answers to them taken apart and put together again."""

from dataclasses import dataclass

import msgspec

from liqctl.sim.chaos.faults import CHANGES, LAGGING, REFUSALS, Fault, min_context_slot
from liqctl.sim.chaos.mutate import UNCHANGED, changed, refusal
from liqctl.sim.chaos.plan import Plan, Verdict
from liqctl.sim.chaos.shelf import Shelf
from liqctl.sim.chaos.tally import Tally

UNREADABLE = "(unreadable)"
BATCH_MAX = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a request, and what is to happen to it."""

    body: object
    method: str
    params: object
    verdict: Verdict

    @property
    def fault(self) -> Fault | None:
        """The fault that it meets."""
        return self.verdict.fault

    @property
    def id(self) -> object:
        """The id that its answer carries."""
        return self.body.get("id") if isinstance(self.body, dict) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one POST asks: its calls in order; `batch` if they came as a list."""

    calls: tuple[Call, ...]
    batch: bool

    @property
    def refused(self) -> tuple[Call, ...]:
        """The calls that the node never sees."""
        return tuple(call for call in self.calls if call.fault in REFUSALS)

    def first(self, kinds: frozenset[Fault]) -> Call | None:
        """Return the first call that meets one of these faults: it decides for the whole request."""
        return next((call for call in self.calls if call.fault in kinds), None)

    def forwarded(self, body: bytes) -> bytes:
        """Return what the node gets: the very bytes that came, unless calls are refused."""
        if not self.refused:
            return body
        return msgspec.json.encode([c.body for c in self.calls if c.fault not in REFUSALS])


def request_of(body: bytes, plan: Plan, first_index: int) -> Request:
    """Return the calls of a body; the first one has number `first_index`.

    What is no JSON, or a batch beyond BATCH_MAX, is one call that the node answers as it likes.
    """
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        found = None
    if isinstance(found, list) and 0 < len(found) <= BATCH_MAX:
        entries, batch = found, True
    else:
        entries, batch = [found], False
    return Request(
        calls=tuple(_call(each, plan, number) for number, each in enumerate(entries, first_index)),
        batch=batch,
    )


def _call(body: object, plan: Plan, index: int) -> Call:
    method = body.get("method") if isinstance(body, dict) else None
    params = body.get("params") if isinstance(body, dict) else None
    name = method if isinstance(method, str) else UNREADABLE
    return Call(body=body, method=name, params=params, verdict=plan.of_call(index, name, params))


class Answers:
    """Changes what a node has answered; counts every fault that takes effect."""

    def __init__(self, shelf: Shelf | None, tally: Tally) -> None:
        """Take old answers from the shelf and put new ones there; None: no answer is stale."""
        self._shelf = shelf
        self._tally = tally

    def concern(self, request: Request) -> bool:
        """Return whether the answer has to be read: it may be changed, or is to be kept."""
        return any(
            call.fault in CHANGES
            or call.fault in REFUSALS
            or (self._shelf is not None and call.method in LAGGING)
            for call in request.calls
        )

    def told(self, request: Request, body: bytes | None, now_s: float) -> bytes:
        """Return the answer to a request as its callers get it; None: the node was not asked.

        An answer that is no JSON passes as it is.
        """
        try:
            found = [] if body is None else msgspec.json.decode(body)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return body or b""
        refusals = [self._refused(call) for call in request.refused]
        if not request.batch:
            (call,) = request.calls
            return msgspec.json.encode(refusals[0] if refusals else self._one(call, found, now_s))
        by_id = {msgspec.json.encode(call.id): call for call in request.calls}
        answers = found if isinstance(found, list) else [found]
        return msgspec.json.encode([self._of(by_id, each, now_s) for each in answers] + refusals)

    def _of(self, by_id: dict[bytes, Call], answer: object, now_s: float) -> object:
        """Return one answer of a batch; they come in any order."""
        call = None
        if isinstance(answer, dict):
            call = by_id.get(msgspec.json.encode(answer.get("id")))
        return answer if call is None else self._one(call, answer, now_s)

    def _refused(self, call: Call) -> dict[str, object]:
        fault = call.fault or Fault.UNHEALTHY
        self._tally.fault(fault, call.method)
        error = refusal(fault, call.params, call.verdict.shade)
        return {"jsonrpc": "2.0", "id": call.id, "error": error}

    def _one(self, call: Call, answer: object, now_s: float) -> object:
        if not isinstance(answer, dict) or "result" not in answer:
            return answer
        told = answer
        if call.fault is Fault.STALE and self._shelf is not None:
            told = _lagging(self._shelf, call, answer, now_s)
        elif call.fault is not None and call.fault in CHANGES:
            result = changed(call.fault, call.method, answer["result"], call.verdict.shade)
            told = answer if result is UNCHANGED else {**answer, "result": result}
        if self._shelf is not None and call.method in LAGGING:
            self._shelf.put(call.method, call.params, answer["result"], now_s)
        if told is not answer and call.fault is not None:
            self._tally.fault(call.fault, call.method)
        return told


def _lagging(
    shelf: Shelf, call: Call, answer: dict[str, object], now_s: float
) -> dict[str, object]:
    """Return what a node says that is some seconds behind: an old answer, or that it is behind.

    The answer itself comes back where neither is possible: nothing old is known and no slot
    was asked for.
    """
    kept = shelf.older(call.method, call.params, now_s)
    asked = min_context_slot(call.params)
    if kept is not None and (asked is None or (kept.slot or 0) >= asked):
        return {**answer, "result": msgspec.Raw(kept.result)}
    if asked is None:
        return answer
    error = refusal(Fault.MIN_CONTEXT, call.params, call.verdict.shade)
    return {"jsonrpc": "2.0", "id": call.id, "error": error}
