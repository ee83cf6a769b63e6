"""From a decision to recorded, signed bytes on the wire, or to a typed reason why not."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from liqctl.core.account import Seen
from liqctl.core.events import Decision, OutcomeSeen, Result
from liqctl.core.guards import TOKEN_ACCOUNT_RENT_LAMPORTS, Limits, Spending, refusal
from liqctl.core.instruction import Outcome
from liqctl.core.intent import Attempt, Claim, IntentRequest, IntentState
from liqctl.errors import LiqctlError, StoreError, invariant
from liqctl.keeper.context import Context, failure_text, first_error
from liqctl.keeper.draft import Draft, Drafter, Trial
from liqctl.keeper.gate import Gate
from liqctl.keeper.reading import FreshRead, objection, read_fresh
from liqctl.keeper.rows import snapshot_of
from liqctl.keeper.settle import LEASE_MS, Live, Settler
from liqctl.ports import Store

log = structlog.get_logger(__name__)

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How far a decision came: an outcome, or an attempt that is now in flight."""

    outcome: OutcomeSeen | None
    live: Live | None = None
    read: FreshRead | None = None
    trial: Trial | None = None


class Executor:
    """Carries decisions out; any number may be under way.

    Order: claim, fresh read and simulation together; exact verdict; limits; sign; record; send.
    Without a gate (dry run) nothing is claimed and it stops before signing; without a drafter
    nothing is simulated either.
    """

    def __init__(
        self,
        context: Context,
        settler: Settler,
        *,
        gate: Gate | None,
        drafter: Drafter | None,
        limits: Limits,
        hold: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Wire the parts; the drafter pays with the gate's key, `hold` may still say no."""
        if gate is not None:
            paying = drafter is not None and drafter.liquidator == gate.liquidator
            invariant(paying, "the drafter does not pay with the gate's key")
        self._context = context
        self._venue = context.venue
        self._chain = context.chain
        self._store = context.store
        self._clock = context.clock
        self._settler = settler
        self._gate = gate
        self._drafter = drafter
        self._limits = limits
        self._hold = hold
        self._recording = asyncio.Lock()

    async def run(
        self, decision: Decision, view: Mapping[str, Seen], *, max_size: int | None = None
    ) -> Execution:
        """Carry out a decision and return how far it came.

        Raises:
            RpcError: a read failed; nothing was sent.
            StoreError: the store failed; nothing was sent that is not recorded.
        """
        log.info("liquidation_triggered", position=decision.position.address)
        draft = await self._draft(decision, view, max_size)
        claiming = asyncio.create_task(self._claim(decision, draft))
        try:
            execution = await self._carry_out(decision, view, draft, claiming)
        except BaseException:
            await self._give_back(claiming)
            raise
        if execution.live is not None:
            execution.live.latency_us = self._latency_us(decision)
            await self._settler.launch(execution.live)
        return execution

    async def _carry_out(
        self,
        decision: Decision,
        view: Mapping[str, Seen],
        draft: Draft | None,
        claiming: asyncio.Task[Claim | None],
    ) -> Execution:
        """Return the outcome of a decision, or its attempt, recorded and ready to be sent."""
        try:
            async with asyncio.TaskGroup() as together:
                reading = together.create_task(self._read(decision, view, draft))
                trying = together.create_task(self._simulate(draft, decision.assessment.slot))
        except* LiqctlError as errors:
            raise first_error(errors) from errors
        read, trial = reading.result(), trying.result()
        claim = await asyncio.shield(claiming)
        stop = objection(decision, read, self._limits)
        if stop is None and trial is not None and trial.simulation.slot < read.slot:
            trial = await self._simulate(draft, read.slot)
        stop = stop or self._objection_of(decision, trial)
        if self._gate is None or self._drafter is None:
            stop = stop or _outcome(decision, Result.REFUSED, "dry_run")
        elif claim is None:
            stop = _outcome(decision, Result.REFUSED, "held_by_another")
        elif stop is None and trial is not None:
            sending = Sending(self._gate, self._drafter, claim, decision, read, trial)
            return await self._commit(sending)
        elif stop is not None:
            await self._stop(claim, stop)
        return Execution(outcome=stop, read=read, trial=trial)

    async def _draft(
        self, decision: Decision, view: Mapping[str, Seen], max_size: int | None
    ) -> Draft | None:
        if self._drafter is None:
            return None
        return await self._drafter.draft(decision.position, view, max_size)

    async def _read(
        self, decision: Decision, view: Mapping[str, Seen], draft: Draft | None
    ) -> FreshRead:
        beside = [] if self._drafter is None else [self._drafter.liquidator]
        if draft is not None:
            beside += draft.creates
        return await read_fresh(self._venue, self._chain, decision.position, view, beside)

    async def _simulate(self, draft: Draft | None, min_context_slot: int) -> Trial | None:
        if self._drafter is None or draft is None:
            return None
        return await self._drafter.simulate(draft, min_context_slot)

    async def _claim(self, decision: Decision, draft: Draft | None) -> Claim | None:
        if self._gate is None or draft is None:
            return None
        request = self._request(decision, self._gate, draft)
        now_ms = self._clock.unix_ms()
        claim = self._store.store.claim
        return await self._store.run(claim, request, self._context.owner, now_ms, LEASE_MS)

    def _objection_of(self, decision: Decision, trial: Trial | None) -> OutcomeSeen | None:
        """Return the outcome when the simulated transaction fails, else None."""
        if trial is None or trial.simulation.failure is None:
            return None
        failure = trial.simulation.failure
        outcome = self._context.outcome_of(failure, trial.draft.liquidate_index)
        result = {Outcome.HEALTHY: Result.RECOVERED, Outcome.GONE: Result.GONE}.get(
            outcome, Result.FAILED
        )
        return _outcome(decision, result, f"{outcome}:{failure_text(failure)}")

    async def _give_back(self, claiming: asyncio.Task[Claim | None]) -> None:
        """Free the lease of a decision that broke off; others would wait for its end."""
        try:
            claim = await claiming
            if claim is not None:
                await self._store.run(self._store.store.release, claim, self._clock.unix_ms())
        except StoreError as error:
            log.warning("lease_kept", error=str(error))

    async def _commit(self, sending: "Sending") -> Execution:
        """Check the limits, sign what was simulated, and record it.

        One decision at a time: each must count what the others are about to spend.
        """
        decision = sending.decision
        async with self._recording:
            cost = _cost(sending)
            reason = refusal(cost, await self._spending(sending), self._limits) or self._hold()
            if reason is None and sending.claim.attempts >= self._limits.attempts_max:
                reason = "attempts_spent"
            live = None if reason is not None else await self._record(sending, cost)
        stop = None
        if reason is not None:
            stop = _outcome(decision, Result.REFUSED, reason)
            await self._stop(sending.claim, stop)
        elif live is None:
            stop = _outcome(decision, Result.REFUSED, "claim_lost")
        return Execution(outcome=stop, live=live, read=sending.read, trial=sending.trial)

    async def _record(self, sending: "Sending", cost: int) -> Live | None:
        """Sign and commit the attempt; None when the claim is not ours any more."""
        gate, claim, decision, draft = sending.gate, sending.claim, sending.decision, sending.draft
        raw, signature = await gate.sign(draft.message)
        now_ms = self._clock.unix_ms()
        attempt = Attempt(
            signature=signature,
            intent_id=claim.intent_id,
            n=claim.attempts + 1,
            position=decision.position.address,
            symbol=decision.assessment.symbol,
            raw=raw,
            blockhash=draft.blockhash.hash,
            last_valid_block_height=draft.blockhash.last_valid_block_height,
            min_context_slot=draft.blockhash.context_slot,
            compute_unit_limit=sending.drafter.fees.compute_unit_limit,
            compute_unit_price_micro_lamports=sending.drafter.fees.price_micro_lamports,
            max_cost_lamports=cost,
            signed_ms=now_ms,
        )
        sending.drafter.signed(draft)
        record, recorded = self._store.store.record_attempt, False
        self._settler.expected.add(signature)
        try:
            recorded = await self._store.run(record, claim, attempt, now_ms)
        finally:
            if not recorded:
                self._settler.expected.discard(signature)
        request = self._request(decision, gate, draft)
        return Live(attempt=attempt, claim=claim, request=request) if recorded else None

    def _request(self, decision: Decision, gate: Gate, draft: Draft) -> IntentRequest:
        return IntentRequest(
            venue=self._venue.id,
            program=self._venue.program_id,
            position=decision.position.address,
            generation=decision.position.generation,
            decision_slot=decision.assessment.slot,
            snapshot_json=snapshot_of(decision, gate.liquidator, draft.liquidate_index),
        )

    async def _spending(self, sending: "Sending") -> Spending:
        payer = sending.read.beside.get(sending.gate.liquidator)
        hour, day = await self._store.run(_spent, self._store.store, self._clock.unix_ms())
        return Spending(
            balance_lamports=0 if payer is None else payer.lamports,
            in_flight_lamports=self._settler.in_flight_lamports(),
            hour_lamports=hour,
            day_lamports=day,
        )

    async def _stop(self, claim: Claim, stop: OutcomeSeen) -> None:
        """End the intent with what a fresh read found, or leave it open for a later try."""
        store, now_ms = self._store.store, self._clock.unix_ms()
        if stop.slot and stop.result in {Result.GONE, Result.RECOVERED}:
            await self._store.run(store.end_intent, claim, IntentState.GONE, stop.reason, now_ms)
        elif stop.reason == "attempts_spent":
            await self._store.run(store.end_intent, claim, IntentState.FAILED, stop.reason, now_ms)
        else:
            await self._store.run(store.release, claim, now_ms)

    def _latency_us(self, decision: Decision) -> int | None:
        if decision.tick_ns == 0:
            return None
        return (self._clock.monotonic_ns() - decision.tick_ns) // 1_000


@dataclass(frozen=True, slots=True)
class Sending:
    """A confirmed decision on its way through the gate."""

    gate: Gate
    drafter: Drafter
    claim: Claim
    decision: Decision
    read: FreshRead
    trial: Trial

    @property
    def draft(self) -> Draft:
        """The message that was simulated."""
        return self.trial.draft


def _cost(sending: Sending) -> int:
    """Return the most that a transaction can cost, with the accounts that it must create."""
    draft, beside = sending.draft, sending.read.beside
    missing = sum(beside.get(address) is None for address in draft.creates)
    return draft.fee_lamports + missing * TOKEN_ACCOUNT_RENT_LAMPORTS


def _spent(store: Store, now_ms: int) -> tuple[int, int]:
    return store.spent_lamports(now_ms - HOUR_MS), store.spent_lamports(now_ms - 24 * HOUR_MS)


def _outcome(decision: Decision, result: Result, reason: str, slot: int = 0) -> OutcomeSeen:
    return OutcomeSeen(position=decision.position.address, result=result, reason=reason, slot=slot)
