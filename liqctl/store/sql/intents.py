"""Intents and attempts: what is due, under whose lease, and what became of each signed transaction."""

from typing import Any

from liqctl.core.guards import DAY_MS, HOUR_MS, SpendCaps
from liqctl.core.intent import Attempt, Claim, Ending, IntentRequest, IntentState
from liqctl.core.record import FailureRow, Liquidation
from liqctl.errors import SpendCapReached, StoreError, invariant
from liqctl.store import columns
from liqctl.store.sql.session import SqlSession


class SqlIntents(SqlSession):
    """The part of the Store that money depends on."""

    def claim(self, request: IntentRequest, owner: str, now_ms: int, lease_ms: int) -> Claim | None:
        """Return the intent under a fresh lease; None while it is leased, in flight or HELD."""
        generation = columns.stored_amount(request.generation)
        with self._writing() as db:
            if self._sql.in_flight(db, request=request)["has_live"]:
                return None
            latest = self._sql.latest_intent(db, request=request, generation=generation)
            if latest is None or latest["state"] in {"DONE", "GONE", "FAILED"}:
                step = 1 if latest is None else latest["step"] + 1
                key = columns.intent_key(request, step)
                made = self._sql.insert_intent(
                    db,
                    request=request,
                    generation=generation,
                    step=step,
                    key=key,
                    owner=owner,
                    now_ms=now_ms,
                    lease_until=now_ms + lease_ms,
                )
                if made is None:
                    return None  # another keeper recorded this step a moment ago
                return Claim(
                    intent_id=made["id"],
                    key=key,
                    owner=owner,
                    fence=1,
                    attempts=0,
                    read_slot_min=self._read_slot_min(db, made["id"]),
                )
            claim = self._take(db, latest["id"], owner, now_ms, lease_ms)
            if claim is not None:
                self._sql.refresh_decision(db, intent_id=claim.intent_id, request=request)
            return claim

    def adopt(self, intent_id: int, owner: str, now_ms: int, lease_ms: int) -> Claim | None:
        """Return a claim on an existing unfinished intent, or None if it is leased."""
        with self._writing() as db:
            return self._take(db, intent_id, owner, now_ms, lease_ms)

    def _take(
        self, db: object, intent_id: int, owner: str, now_ms: int, lease_ms: int
    ) -> Claim | None:
        row = self._sql.take_intent(
            db, intent_id=intent_id, owner=owner, now_ms=now_ms, lease_until=now_ms + lease_ms
        )
        if row is None:
            return None
        return Claim(
            intent_id=intent_id,
            key=row["key"],
            owner=owner,
            fence=row["fence"],
            attempts=row["attempts"],
            read_slot_min=self._read_slot_min(db, intent_id),
        )

    def _read_slot_min(self, db: object, intent_id: int) -> int:
        return int(self._sql.read_slot_min(db, intent_id=intent_id)["slot"])

    def renew(self, claim: Claim, now_ms: int, lease_ms: int) -> bool:
        """Extend the lease; False when it has ended or is somebody else's."""
        with self._writing() as db:
            until = now_ms + lease_ms
            return bool(self._sql.renew_lease(db, claim=claim, now_ms=now_ms, lease_until=until))

    def release(self, claim: Claim, now_ms: int) -> None:
        """Give up the lease; nothing happens when it is not ours any more."""
        with self._writing() as db:
            self._sql.release_lease(db, claim=claim, now_ms=now_ms)

    def end_intent(self, claim: Claim, state: IntentState, reason: str, now_ms: int) -> bool:
        """End or hold an intent without a live attempt; False when the claim is not ours."""
        with self._writing() as db:
            return bool(
                self._sql.end_claimed_intent(
                    db, claim=claim, state=state, reason=reason, now_ms=now_ms
                )
            )

    def reopen_held(self, now_ms: int, *, position: str | None = None) -> int:
        """Return HELD intents (of one position) to OPEN; how many."""
        with self._writing() as db:
            return int(self._sql.reopen_held(db, position=position, now_ms=now_ms))

    def record_attempt(
        self,
        claim: Claim,
        attempt: Attempt,
        now_ms: int,
        *,
        decision_slot: int | None = None,
        caps: SpendCaps | None = None,
    ) -> bool:
        """Commit a SIGNED attempt and open its intent; False when the claim is not ours."""
        invariant(attempt.intent_id == claim.intent_id, "an attempt belongs to the claimed intent")
        with self._writing() as db:
            if caps is not None:
                self._demand_room(db, attempt.max_cost_lamports, caps, now_ms)
            if decision_slot is not None:
                self._sql.judge_intent(db, claim=claim, decision_slot=decision_slot)
            if not self._sql.insert_attempt(db, claim=claim, attempt=attempt, now_ms=now_ms):
                return False
            self._sql.open_intent(db, intent_id=claim.intent_id, now_ms=now_ms)
        return True

    def _demand_room(self, db: object, cost_lamports: int, caps: SpendCaps, now_ms: int) -> None:
        self._sql.lock_spending(db)
        hour, day = (
            int(self._sql.spent_lamports(db, since_ms=now_ms - window_ms)["lamports"])
            for window_ms in (HOUR_MS, DAY_MS)
        )
        reason = caps.refusal(cost_lamports, hour, day)
        if reason is not None:
            raise SpendCapReached(reason)

    def mark_sent(self, signature: str, now_ms: int) -> None:
        """Count a send; SIGNED becomes SENT, a terminal attempt stays as it is."""
        with self._writing() as db:
            if not self._sql.mark_sent(db, signature=signature, now_ms=now_ms):
                self._require(db, signature)

    def mark_seen(self, signature: str, slot: int, level: str) -> None:
        """Note what a node reported below finalized; a terminal attempt stays as it is."""
        with self._writing() as db:
            if not self._sql.mark_seen(db, signature=signature, slot=slot, level=level):
                self._require(db, signature)

    def mark_unseen(self, signature: str) -> None:
        """Return a SEEN attempt to SENT; any other stays as it is."""
        with self._writing() as db:
            if not self._sql.mark_unseen(db, signature=signature):
                self._require(db, signature)

    def _require(self, db: object, signature: str) -> str:
        """Return the state of an attempt that must exist."""
        row = self._sql.attempt_state(db, signature=signature)
        if row is None:
            raise StoreError(f"the database {self._name} knows no attempt {signature}")
        return str(row["state"])

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
        """Make an attempt terminal with everything that follows from it, in one commit.

        The same ending again only fills in what was not known the first time.
        """
        if liquidation is not None:
            invariant(liquidation.signature == signature, "a liquidation has its attempt's name")
        with self._writing() as db:
            repeated = self._require(db, signature) == ending.state
            row = self._sql.end_attempt(db, signature=signature, ending=ending, now_ms=now_ms)
            if liquidation is not None:
                self._put_liquidation(db, liquidation)
            self._sql.fill_liquidation_fee(
                db, signature=signature, fee_lamports=ending.fee_lamports
            )
            if repeated:
                return
            if failure is not None:
                self._sql.insert_failure(db, row=failure)
            if intent_state is None:
                self._sql.free_intent(db, intent_id=row["intent_id"], now_ms=now_ms)
            else:
                self._sql.end_intent(
                    db,
                    intent_id=row["intent_id"],
                    state=intent_state,
                    reason="" if failure is None else failure.failure_class,
                    now_ms=now_ms,
                )

    def _put_liquidation(self, db: object, row: Liquidation) -> None:
        health = columns.stored_health(row.health_factor_before)
        amount = columns.amounts(row, columns.LIQUIDATION_AMOUNTS)
        if self._sql.insert_liquidation(db, row=row, amount=amount, health=health):
            self._sql.append_event(
                db,
                kind="liquidation",
                body_json=columns.liquidation_event(row),
                now_ms=row.created_at,
            )
        elif row.fee_lamports is not None:
            self._sql.correct_liquidation(db, row=row, amount=amount)

    def live_attempts(self, program: str | None = None) -> list[Attempt]:
        """Return every attempt (for one program) that is not terminal, oldest first."""
        with self._reading() as db:
            found: Any = self._sql.live_attempts(db, program=program)
            return [columns.attempt_of(row) for row in found]

    def unpriced_attempts(self, limit: int, program: str | None = None) -> list[Attempt]:
        """Return final attempts (for one program) whose fee no node has told yet, newest first."""
        with self._reading() as db:
            found: Any = self._sql.unpriced_attempts(db, program=program, limit=max(0, limit))
            return [columns.attempt_of(row) for row in found]

    def price_attempt(
        self,
        signature: str,
        fee_lamports: int,
        cost_lamports: int | None,
        liquidation: Liquidation | None,
    ) -> None:
        """Fill in what the ledger told later; what is known already stays."""
        with self._writing() as db:
            self._sql.price_attempt(
                db, signature=signature, fee_lamports=fee_lamports, cost_lamports=cost_lamports
            )
            if liquidation is not None:
                amount = columns.amounts(liquidation, columns.LIQUIDATION_AMOUNTS)
                self._sql.correct_liquidation(db, row=liquidation, amount=amount)

    def intent_of(self, signature: str) -> tuple[IntentRequest, int, str] | None:
        """Return request, id and state of the intent that an attempt belongs to."""
        with self._reading() as db:
            row = self._sql.intent_of(db, signature=signature)
        return None if row is None else (columns.request_of(row), row["id"], row["state"])

    def spent_lamports(self, since_ms: int) -> int:
        """Return what attempts, live or signed since then, cost or can have cost at most."""
        with self._reading() as db:
            return int(self._sql.spent_lamports(db, since_ms=since_ms)["lamports"])
