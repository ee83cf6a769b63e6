"""The store in the memory of one program: the same contract without the disk."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

from liqctl.core.intent import (
    ATTEMPT_EDGES,
    INTENT_EDGES,
    LIVE,
    Attempt,
    AttemptState,
    Claim,
    Ending,
    IntentRequest,
    IntentState,
)
from liqctl.core.record import (
    DROPPED,
    EventRow,
    Exclusion,
    FailureRow,
    InsuranceSample,
    Liquidation,
    QueueOrder,
    QueueRow,
    Totals,
)
from liqctl.errors import StoreError, invariant
from liqctl.store.columns import intent_key, liquidation_event, read_health, stored_health

ENDED = frozenset({IntentState.DONE, IntentState.GONE, IntentState.FAILED})
CLAIMABLE = frozenset({IntentState.NEW, IntentState.OPEN})
EXPIRED = frozenset({AttemptState.EXPIRED, AttemptState.VOID})
FINALIZED = frozenset({AttemptState.FINALIZED_OK, AttemptState.FINALIZED_ERR})
TOLD_LATER = (
    "liquidated_size",
    "liquidation_price",
    "liquidator_reward",
    "bad_debt",
    "bad_debt_uncovered",
    "fund_delta",
    "is_full_liquidation",
    "timestamp",
    "fee_lamports",
)
PRUNE_BATCH = 10_000


@dataclass(slots=True, kw_only=True)
class _Intent:
    id: int
    request: IntentRequest
    step: int
    owner: str | None = None
    fence: int = 0
    lease_until: int = 0
    state: IntentState = IntentState.NEW
    reason: str = ""
    attempts: list["_Attempt"] = field(default_factory=list)

    def is_held_by(self, claim: Claim) -> bool:
        return self.owner == claim.owner and self.fence == claim.fence

    def has(self, *states: AttemptState) -> bool:
        return any(attempt.row.state in states for attempt in self.attempts)

    def move(self, state: IntentState, reason: str) -> None:
        """Go along an allowed edge, or raise."""
        if state != self.state and (self.state, state) not in INTENT_EDGES:
            raise StoreError(f"intent: forbidden edge {self.state} -> {state}")
        if state not in CLAIMABLE and self.has(*LIVE):
            raise StoreError("intent: an attempt is live")
        if state is IntentState.DONE and not self.has(AttemptState.FINALIZED_OK):
            raise StoreError("intent: DONE without a finalized attempt")
        self.state, self.reason, self.owner, self.lease_until = state, reason, None, 0


@dataclass(slots=True, kw_only=True)
class _Attempt:
    row: Attempt
    intent: _Intent
    ending: Ending | None = None

    def check(self, ending: Ending) -> None:
        """Raise unless the attempt may end like this."""
        state = self.row.state
        if state != ending.state and (state, ending.state) not in ATTEMPT_EDGES:
            raise StoreError(f"attempt: forbidden edge {state} -> {ending.state}")
        known = ending.proof_json or (self.ending and self.ending.proof_json)
        if ending.state in EXPIRED and known is None:
            raise StoreError(f"attempt: {ending.state} without a proof")
        if ending.state is AttemptState.VOID and self.row.sends:
            raise StoreError("attempt: VOID although it was sent")

    def lamports(self) -> int:
        if self.row.state in EXPIRED:
            return 0
        fee = None if self.ending is None else self.ending.fee_lamports
        return self.row.max_cost_lamports if fee is None else fee


class MemoryStore:
    """The Store for tests, simulations and dry runs; what it holds ends with it."""

    def __init__(self) -> None:
        """Start empty."""
        self._intents: list[_Intent] = []
        self._attempts: dict[str, _Attempt] = {}
        self._liquidations: dict[str, Liquidation] = {}
        self._failures: list[FailureRow] = []
        self._events: list[EventRow] = []
        self._last_seq = 0
        self._versions = 0
        self._samples: list[InsuranceSample] = []
        self._queue: dict[str, QueueRow] = {}
        self._exclusions: dict[str, Exclusion] = {}
        self._state: dict[str, tuple[str, int]] = {}

    def close(self) -> None:
        """Do nothing: there is nothing to release."""

    def claim(self, request: IntentRequest, owner: str, now_ms: int, lease_ms: int) -> Claim | None:
        """Return the intent under a fresh lease; None while it is leased, in flight or HELD."""
        steps = [i for i in self._intents if _subject(i.request) == _subject(request)]
        latest = steps[-1] if steps else None
        if latest is None or latest.state in ENDED:
            latest = _Intent(id=len(self._intents) + 1, request=request, step=len(steps) + 1)
            self._intents.append(latest)
        if latest.has(*LIVE):
            return None
        claim = self.adopt(latest.id, owner, now_ms, lease_ms)
        if claim is not None:
            latest.request = replace(
                latest.request,
                decision_slot=request.decision_slot,
                snapshot_json=request.snapshot_json,
            )
        return claim

    def adopt(self, intent_id: int, owner: str, now_ms: int, lease_ms: int) -> Claim | None:
        """Return a claim on an existing unfinished intent, or None if it is leased."""
        if not 0 < intent_id <= len(self._intents):
            return None
        intent = self._intents[intent_id - 1]
        over = not now_ms < intent.lease_until <= now_ms + lease_ms
        free = intent.owner in {None, owner} or over
        if intent.state not in CLAIMABLE or not free:
            return None
        intent.owner, intent.fence, intent.lease_until = owner, intent.fence + 1, now_ms + lease_ms
        return Claim(
            intent_id=intent_id,
            key=intent_key(intent.request, intent.step),
            owner=owner,
            fence=intent.fence,
            attempts=len(intent.attempts),
            read_slot_min=self._read_slot_min(intent.request),
        )

    def _read_slot_min(self, request: IntentRequest) -> int:
        place = (request.program, request.position)
        ended = [
            attempt.ending.final_slot or 0
            for attempt in self._attempts.values()
            if attempt.ending is not None
            and (attempt.intent.request.program, attempt.intent.request.position) == place
        ]
        return max(ended, default=0)

    def renew(self, claim: Claim, now_ms: int, lease_ms: int) -> bool:
        """Extend the lease; False when it has ended or is somebody else's."""
        intent = self._intents[claim.intent_id - 1]
        ours = intent.is_held_by(claim) and intent.lease_until > now_ms
        if ours:
            intent.lease_until = now_ms + lease_ms
        return ours

    def release(self, claim: Claim, now_ms: int) -> None:  # noqa: ARG002 - the contract's shape
        """Give up the lease; nothing happens when it is not ours any more."""
        intent = self._intents[claim.intent_id - 1]
        if intent.is_held_by(claim):
            intent.owner, intent.lease_until = None, 0

    def end_intent(self, claim: Claim, state: IntentState, reason: str, now_ms: int) -> bool:  # noqa: ARG002 - the contract's shape
        """End or hold an intent without a live attempt; False when the claim is not ours."""
        intent = self._intents[claim.intent_id - 1]
        if not intent.is_held_by(claim):
            return False
        intent.move(state, reason)
        return True

    def reopen_held(self, now_ms: int, *, position: str | None = None) -> int:  # noqa: ARG002 - the contract's shape
        """Return HELD intents (of one position) to OPEN; how many."""
        held = [
            i
            for i in self._intents
            if i.state is IntentState.HELD and position in {None, i.request.position}
        ]
        for intent in held:
            intent.state, intent.reason = IntentState.OPEN, ""
        return len(held)

    def record_attempt(self, claim: Claim, attempt: Attempt, now_ms: int) -> bool:
        """Keep a SIGNED attempt and open its intent; False when the claim is not ours."""
        invariant(attempt.intent_id == claim.intent_id, "an attempt belongs to the claimed intent")
        intent = self._intents[claim.intent_id - 1]
        if (
            not intent.is_held_by(claim)
            or intent.lease_until <= now_ms
            or intent.request.position != attempt.position
            or intent.has(AttemptState.FINALIZED_OK)
        ):
            return False
        known = attempt.signature in self._attempts or any(
            other.row.n == attempt.n for other in intent.attempts
        )
        if known or intent.has(*LIVE) or attempt.state is not AttemptState.SIGNED:
            raise StoreError("attempt: not a new one, not SIGNED, or another one is live")
        kept = _Attempt(
            row=replace(attempt, signed_ms=now_ms, sends=0, seen_slot=None), intent=intent
        )
        self._attempts[attempt.signature] = kept
        intent.attempts.append(kept)
        intent.state = IntentState.OPEN
        return True

    def mark_sent(self, signature: str, now_ms: int) -> None:  # noqa: ARG002 - the contract's shape
        """Count a send; SIGNED becomes SENT, a terminal attempt stays as it is."""
        kept = self._require(signature)
        if kept.row.state in LIVE:
            signed = kept.row.state is AttemptState.SIGNED
            state = AttemptState.SENT if signed else kept.row.state
            kept.row = replace(kept.row, state=state, sends=kept.row.sends + 1)

    def mark_seen(self, signature: str, slot: int, level: str) -> None:  # noqa: ARG002 - the contract's shape
        """Note what a node reported below finalized; a terminal attempt stays as it is."""
        kept = self._require(signature)
        if kept.row.state in LIVE:
            kept.row = replace(kept.row, state=AttemptState.SEEN, seen_slot=slot)

    def mark_unseen(self, signature: str) -> None:
        """Return a SEEN attempt to SENT; any other stays as it is."""
        kept = self._require(signature)
        if kept.row.state is AttemptState.SEEN:
            kept.row = replace(kept.row, state=AttemptState.SENT, seen_slot=None)

    def _require(self, signature: str) -> _Attempt:
        try:
            return self._attempts[signature]
        except KeyError:
            raise StoreError(f"the store knows no attempt {signature}") from None

    def end_attempt(
        self,
        signature: str,
        ending: Ending,
        *,
        liquidation: Liquidation | None,
        failure: FailureRow | None,
        intent_state: IntentState | None,
        now_ms: int,  # noqa: ARG002 - the contract's shape
    ) -> None:
        """Make an attempt terminal with everything that follows from it, or nothing of it."""
        if liquidation is not None:
            invariant(liquidation.signature == signature, "a liquidation has its attempt's name")
        kept = self._require(signature)
        kept.check(ending)
        before, repeated = (kept.row, kept.ending), kept.row.state is ending.state
        kept.row = replace(kept.row, state=ending.state)
        kept.ending = _filled(kept.ending, ending)
        if intent_state is None and not repeated:
            kept.intent.owner, kept.intent.lease_until = None, 0
        elif intent_state is not None and not repeated:
            try:
                kept.intent.move(intent_state, "" if failure is None else failure.failure_class)
            except StoreError:
                kept.row, kept.ending = before
                raise
        if liquidation is not None and signature not in self._liquidations:
            self._put_liquidation(liquidation)
        known = self._liquidations.get(signature)
        if known is not None and known.fee_lamports is None:
            self._liquidations[signature] = replace(known, fee_lamports=ending.fee_lamports)
        if failure is not None and not repeated:
            self._failures.append(failure)

    def _put_liquidation(self, row: Liquidation) -> None:
        health = read_health(stored_health(row.health_factor_before))
        numbered = replace(row, id=len(self._liquidations) + 1, health_factor_before=health)
        self._liquidations[row.signature] = numbered
        self.append_event("liquidation", liquidation_event(row), row.created_at)

    def live_attempts(self) -> list[Attempt]:
        """Return every attempt that is not terminal, oldest first."""
        live = [kept.row for kept in self._attempts.values() if kept.row.state in LIVE]
        return sorted(live, key=lambda row: (row.signed_ms, row.intent_id, row.n))

    def unpriced_attempts(self, limit: int) -> list[Attempt]:
        """Return final attempts whose fee no node has told yet, newest first."""
        found = [
            replace(kept.row, final_slot=kept.ending.final_slot)
            for kept in self._attempts.values()
            if kept.row.state in FINALIZED
            and kept.ending is not None
            and kept.ending.fee_lamports is None
        ]
        return sorted(found, key=lambda row: -row.signed_ms)[: max(0, limit)]

    def price_attempt(
        self, signature: str, fee_lamports: int, liquidation: Liquidation | None
    ) -> None:
        """Fill in what the ledger told later; what is known already stays."""
        kept = self._attempts.get(signature)
        if kept is not None and kept.ending is not None and kept.ending.fee_lamports is None:
            kept.ending = replace(kept.ending, fee_lamports=fee_lamports)
        known = self._liquidations.get(signature)
        if liquidation is not None and known is not None and known.fee_lamports is None:
            told = {name: getattr(liquidation, name) for name in TOLD_LATER}
            self._liquidations[signature] = replace(known, **told)

    def intent_of(self, signature: str) -> tuple[IntentRequest, int, str] | None:
        """Return request, id and state of the intent that an attempt belongs to."""
        kept = self._attempts.get(signature)
        return None if kept is None else (kept.intent.request, kept.intent.id, kept.intent.state)

    def spent_lamports(self, since_ms: int) -> int:
        """Return fees of final attempts plus the maximum cost of live ones, signed since then."""
        attempts = self._attempts.values()
        return sum(kept.lamports() for kept in attempts if kept.row.signed_ms >= since_ms)

    def record_failure(self, failure: FailureRow) -> None:
        """Append a failure."""
        self._failures.append(failure)

    def append_event(self, kind: str, body_json: str, now_ms: int) -> int:
        """Append to the ordered stream and return its `seq`."""
        _require_json(body_json)
        self._last_seq += 1
        row = EventRow(seq=self._last_seq, kind=kind, at_ms=now_ms, body_json=body_json)
        self._events.append(row)
        return self._last_seq

    def events_since(self, seq: int, limit: int) -> list[EventRow]:
        """Return events after `seq`, oldest first."""
        return [row for row in self._events if row.seq > seq][: max(0, limit)]

    def last_seq(self) -> int:
        """Return the newest `seq` ever given, pruned or not; 0 before the first."""
        return self._last_seq

    def prune_events(self, keep: int) -> int:
        """Delete the oldest events beyond the newest `keep`, 10,000 at most; return how many."""
        surplus = min(PRUNE_BATCH, max(0, len(self._events) - max(0, keep)))
        del self._events[:surplus]
        return surplus

    def record_insurance(self, sample: InsuranceSample) -> None:
        """Append a balance of the fund."""
        self._samples.append(sample)

    def insurance_history(self, limit: int) -> list[InsuranceSample]:
        """Return the latest samples, oldest first."""
        return self._samples[max(0, len(self._samples) - max(0, limit)) :]

    def put_queue(self, rows: Sequence[QueueRow], removed: Sequence[str]) -> None:
        """Write rows and delete removed positions, except those with an order waiting."""
        waiting = {p for p, row in self._queue.items() if row.order is not None}
        for position in removed:
            if position not in waiting:
                self._queue.pop(position, None)
        for row in rows:
            if row.position not in waiting:
                self._queue[row.position] = replace(_finite(row), order=None)

    def order_queue(self, rows: Sequence[QueueRow]) -> int:
        """Write rows with an order (ENQUEUE unless they name one); return how many.

        Of a row that exists, what the keeper keeps (state, reason, tries, times) stays.
        """
        for row in rows:
            old = self._queue.get(row.position, row)
            self._queue[row.position] = replace(
                _finite(row),
                state=old.state,
                reason=old.reason,
                tries=old.tries,
                next_try_ms=old.next_try_ms,
                since_ms=old.since_ms,
                order=row.order or QueueOrder.ENQUEUE,
            )
        return len(rows)

    def set_order(self, position: str, order: QueueOrder) -> bool:
        """Set an order on an existing row; False when there is none."""
        if position not in self._queue:
            return False
        self._queue[position] = replace(self._queue[position], order=order)
        return True

    def version(self) -> int:
        """Return another number each time: all writers share the one connection."""
        self._versions += 1
        return self._versions

    def take_orders(self, now_ms: int) -> list[QueueRow]:
        """Return rows with an order and carry out what outlasts the rows, or nothing of it."""
        taken = [row for row in self.queue() if row.order is not None]
        for row in taken:
            position = row.position
            self._queue[position] = replace(row, order=None)
            if row.order is QueueOrder.DROP:
                del self._queue[position]
                dropped = Exclusion(position=position, reason=DROPPED, since_ms=now_ms)
                self._exclusions[position] = dropped
            elif row.order is QueueOrder.RETRY:
                self._exclusions.pop(position, None)
        return taken

    def exclude(self, exclusion: Exclusion) -> None:
        """Keep an exclusion in place of an earlier one; a retry that waits is cancelled."""
        held = [each for each in self._exclusions.values() if each.holds(exclusion.since_ms)]
        self._exclusions = {each.position: each for each in (*held, exclusion)}
        self._cancel(exclusion.position, QueueOrder.RETRY)

    def include(self, position: str) -> bool:
        """Forget an exclusion, and a drop that waits; False when there was neither."""
        cancelled = self._cancel(position, QueueOrder.DROP)
        return self._exclusions.pop(position, None) is not None or cancelled

    def exclusions(self) -> list[Exclusion]:
        """Return what is excluded, by position; some may have run out."""
        return [self._exclusions[position] for position in sorted(self._exclusions)]

    def _cancel(self, position: str, order: QueueOrder) -> bool:
        row = self._queue.get(position)
        waiting = row is not None and row.order is order
        if row is not None and waiting:
            self._queue[position] = replace(row, order=None)
        return waiting

    def queue(self) -> list[QueueRow]:
        """Return all rows, least health first."""
        return sorted(self._queue.values(), key=_urgency)

    def recent_liquidations(
        self, *, symbol: str | None = None, position: str | None = None, limit: int = 50
    ) -> list[Liquidation]:
        """Return the newest liquidations first."""
        newest = [
            row
            for row in reversed(self._liquidations.values())
            if symbol in {None, row.symbol} and position in {None, row.position_pubkey}
        ]
        return newest[: max(0, limit)]

    def recent_failures(self, *, position: str | None = None, limit: int = 50) -> list[FailureRow]:
        """Return the newest failures first."""
        newest = [r for r in reversed(self._failures) if position in {None, r.position_pubkey}]
        return newest[: max(0, limit)]

    def totals(self) -> Totals:
        """Return counts and sums over everything recorded."""
        rows = self._liquidations.values()
        lost_races = sum(row.failure_class == "lost_race" for row in self._failures)
        endings = [kept.ending for kept in self._attempts.values() if kept.ending is not None]
        return Totals(
            full=sum(row.is_full_liquidation for row in rows),
            partial=sum(not row.is_full_liquidation for row in rows),
            failed=len(self._failures) - lost_races,
            lost_races=lost_races,
            rewards=sum(row.liquidator_reward for row in rows),
            bad_debt=sum(row.bad_debt for row in rows),
            fees_lamports=sum(ending.fee_lamports or 0 for ending in endings),
        )

    def put_state(self, name: str, value_json: str, now_ms: int) -> None:
        """Write one named piece of the keeper's state for other programs to read."""
        _require_json(value_json)
        self._state[name] = (value_json, now_ms)

    def state(self, name: str) -> tuple[str, int] | None:
        """Return a named piece of state and when it was written."""
        return self._state.get(name)


def _subject(request: IntentRequest) -> tuple[str, str, int]:
    return request.program, request.position, request.generation


def _filled(old: Ending | None, new: Ending) -> Ending:
    if old is None:
        return new
    missing = {f.name: getattr(new, f.name) for f in fields(old) if getattr(old, f.name) is None}
    return replace(old, **missing)


def _finite(row: QueueRow) -> QueueRow:
    return replace(row, health=read_health(stored_health(row.health)))


def _urgency(row: QueueRow) -> tuple[bool, float, str]:
    unknown = math.isnan(row.health)
    return unknown, 0.0 if unknown else row.health, row.position


def _require_json(text: str) -> None:
    try:
        json.loads(text, parse_constant=_refuse_constant)
    except ValueError as error:
        raise StoreError(f"not a JSON document: {error}") from error


def _refuse_constant(name: str) -> object:
    raise ValueError(name)
