"""Intents and attempts in memory, with the rules that the database's triggers enforce."""

from dataclasses import fields, replace

from liqctl.core.guards import DAY_MS, HOUR_MS, SpendCaps
from liqctl.core.intent import (
    LIVE,
    Attempt,
    AttemptState,
    Claim,
    Ending,
    IntentRequest,
    IntentState,
)
from liqctl.core.record import FailureRow, Liquidation
from liqctl.errors import SpendCapReached, StoreError, invariant
from liqctl.store.columns import intent_key, liquidation_event, read_health, stored_health
from liqctl.store.memory.tables import CLAIMABLE, KeptAttempt, KeptIntent, MemoryTables

ENDED = frozenset({IntentState.DONE, IntentState.GONE, IntentState.FAILED})
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


class MemoryIntents(MemoryTables):
    """The part of the Store that money depends on."""

    def claim(self, request: IntentRequest, owner: str, now_ms: int, lease_ms: int) -> Claim | None:
        """Return the intent under a fresh lease; None while it is leased, in flight or HELD."""
        if self._in_flight(request):
            return None
        steps = [i for i in self._intents if _subject(i.request) == _subject(request)]
        latest = steps[-1] if steps else None
        if latest is None or latest.state in ENDED:
            latest = KeptIntent(id=len(self._intents) + 1, request=request, step=len(steps) + 1)
            self._intents.append(latest)
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

    def _in_flight(self, request: IntentRequest) -> bool:
        place = (request.program, request.position)
        return any(
            intent.has(*LIVE)
            for intent in self._intents
            if (intent.request.program, intent.request.position) == place
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

    def record_attempt(
        self,
        claim: Claim,
        attempt: Attempt,
        now_ms: int,
        *,
        decision_slot: int | None = None,
        caps: SpendCaps | None = None,
    ) -> bool:
        """Keep a SIGNED attempt and open its intent; False when the claim is not ours."""
        invariant(attempt.intent_id == claim.intent_id, "an attempt belongs to the claimed intent")
        if caps is not None:
            spent = (self.spent_lamports(now_ms - window) for window in (HOUR_MS, DAY_MS))
            reason = caps.refusal(attempt.max_cost_lamports, *spent)
            if reason is not None:
                raise SpendCapReached(reason)
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
        if self._in_flight(intent.request):
            return False
        kept = KeptAttempt(
            row=replace(attempt, signed_ms=now_ms, sends=0, seen_slot=None), intent=intent
        )
        if decision_slot is not None:
            intent.request = replace(intent.request, decision_slot=decision_slot)
        self._attempts[attempt.signature] = kept
        intent.attempts.append(kept)
        intent.state = IntentState.OPEN
        return True

    def mark_sent(self, signature: str, now_ms: int) -> None:
        """Count a send; SIGNED becomes SENT, a terminal attempt stays as it is."""
        kept = self._require(signature)
        if kept.row.state in LIVE:
            signed = kept.row.state is AttemptState.SIGNED
            state = AttemptState.SENT if signed else kept.row.state
            kept.row = replace(kept.row, state=state, sends=kept.row.sends + 1)
            if kept.first_sent_ms is None:
                kept.first_sent_ms = now_ms

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

    def _require(self, signature: str) -> KeptAttempt:
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
        now_ms: int,
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
        elif liquidation is not None and liquidation.fee_lamports is not None:
            self._correct_liquidation(liquidation)
        known = self._liquidations.get(signature)
        if known is not None and known.fee_lamports is None:
            self._liquidations[signature] = replace(known, fee_lamports=ending.fee_lamports)
        if failure is not None and not repeated:
            self.record_failure(failure)
        if kept.ended_ms is None:
            kept.ended_ms = now_ms

    def _put_liquidation(self, row: Liquidation) -> None:
        health = read_health(stored_health(row.health_factor_before))
        numbered = replace(row, id=len(self._liquidations) + 1, health_factor_before=health)
        self._liquidations[row.signature] = numbered
        self.append_event("liquidation", liquidation_event(row), row.created_at)

    def live_attempts(self, program: str | None = None) -> list[Attempt]:
        """Return every attempt (for one program) that is not terminal, oldest first."""
        live = [
            kept.row
            for kept in self._attempts.values()
            if kept.row.state in LIVE and program in {None, kept.intent.request.program}
        ]
        return sorted(live, key=lambda row: (row.signed_ms, row.intent_id, row.n))

    def unpriced_attempts(self, limit: int, program: str | None = None) -> list[Attempt]:
        """Return final attempts (for one program) whose fee no node has told yet, newest first."""
        found = [
            replace(kept.row, final_slot=kept.ending.final_slot)
            for kept in self._attempts.values()
            if kept.row.state in FINALIZED
            and program in {None, kept.intent.request.program}
            and kept.ending is not None
            and kept.ending.fee_lamports is None
        ]
        return sorted(found, key=lambda row: -row.signed_ms)[: max(0, limit)]

    def price_attempt(
        self,
        signature: str,
        fee_lamports: int,
        cost_lamports: int | None,
        liquidation: Liquidation | None,
    ) -> None:
        """Fill in what the ledger told later; what is known already stays."""
        kept = self._attempts.get(signature)
        if kept is not None and kept.ending is not None and kept.ending.fee_lamports is None:
            told = replace(kept.ending, fee_lamports=fee_lamports, cost_lamports=cost_lamports)
            kept.ending = _filled(kept.ending, told)
        if liquidation is not None:
            self._correct_liquidation(liquidation)

    def _correct_liquidation(self, row: Liquidation) -> None:
        known = self._liquidations.get(row.signature)
        if known is not None and known.fee_lamports is None:
            told = {name: getattr(row, name) for name in TOLD_LATER}
            self._liquidations[row.signature] = replace(known, **told)

    def intent_of(self, signature: str) -> tuple[IntentRequest, int, str] | None:
        """Return request, id and state of the intent that an attempt belongs to."""
        kept = self._attempts.get(signature)
        return None if kept is None else (kept.intent.request, kept.intent.id, kept.intent.state)

    def spent_lamports(self, since_ms: int) -> int:
        """Return what attempts, live or signed since then, cost or can have cost at most."""
        return sum(
            kept.lamports()
            for kept in self._attempts.values()
            if kept.row.signed_ms >= since_ms or kept.row.state in LIVE
        )

    def record_failure(self, failure: FailureRow) -> None:
        """Append a failure."""
        self._failures.append(replace(failure, id=len(self._failures) + 1))


def _subject(request: IntentRequest) -> tuple[str, str, int]:
    return request.program, request.position, request.generation


def _filled(old: Ending | None, new: Ending) -> Ending:
    if old is None:
        return new
    missing = {f.name: getattr(new, f.name) for f in fields(old) if getattr(old, f.name) is None}
    return replace(old, **missing)
