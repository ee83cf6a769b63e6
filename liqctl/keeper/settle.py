"""Attempts from the wire to their end: send, rebroadcast, observe, finish. Restart begins here too."""

import asyncio
import json
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import structlog

from liqctl.chain.answers import Commitment, Landed, Status
from liqctl.chain.expiry import prove_expiry
from liqctl.chain.rpc import NO_HISTORY
from liqctl.chain.send_answer import SendKind
from liqctl.core.events import OutcomeSeen, Result
from liqctl.core.instruction import Failure, Outcome
from liqctl.core.intent import (
    Attempt,
    AttemptState,
    Claim,
    Ending,
    IntentRequest,
    IntentState,
    Next,
    after_status,
)
from liqctl.core.record import FailureRow, Liquidation
from liqctl.errors import RpcError, RpcMalformed, RpcRefused, StoreBusy, StoreError, invariant
from liqctl.keeper.context import Context, failure_text
from liqctl.keeper.gate import Gate
from liqctl.keeper.rows import failure_row, liquidate_index_of, liquidation_row

log = structlog.get_logger(__name__)

LEASE_MS = 20_000
RENEW_MS = 5_000
REBROADCAST_MS = 2_000
RESCUE_MS = 2_000
STATUS_BATCH = 256
LANDED_READS_MAX = 10
LATENCIES_KEPT = 10_000
LOST = frozenset({Outcome.GONE, Outcome.HEALTHY})
STOP_SENDING = frozenset({SendKind.HOPELESS, SendKind.BROKE, SendKind.REJECTED_BUG})


@dataclass(slots=True, kw_only=True)
class Live:
    """An attempt in the air and what is known of it since the last look."""

    attempt: Attempt
    claim: Claim
    request: IntentRequest
    latency_us: int | None = None
    sent_ms: int = 0
    renewed_ms: int = 0
    landed_reads: int = 0
    confirmed: bool = False
    rebroadcast: bool = True
    preflight: Failure | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    outcome: OutcomeSeen | None = None


class Settler:
    """Owns every live attempt of this keeper, new or found at the start.

    `deliver` gets the outcome of each attempt that ends. Nothing here signs.
    """

    def __init__(
        self,
        context: Context,
        gate: Gate | None,
        deliver: Callable[[OutcomeSeen], None],
        *,
        interval_ms: int = 500,
    ) -> None:
        """Settle for the context's owner; without a gate nothing is rebroadcast."""
        self._context = context
        self._chain = context.chain
        self._store = context.store
        self._clock = context.clock
        self._gate = gate
        self._deliver = deliver
        self._interval_s = interval_ms / 1_000
        self._live: dict[str, Live] = {}
        # Being recorded by this process: on record already, perhaps, but not for others to rescue.
        self.expected: set[str] = set()
        self._rescued_ms = 0
        self.counts: Counter[str] = Counter()
        self.latencies_us: deque[int] = deque(maxlen=LATENCIES_KEPT)

    def in_flight_lamports(self) -> int:
        """Return the most that the live attempts can still cost."""
        return sum(live.attempt.max_cost_lamports for live in self._live.values())

    def unconfirmed(self) -> int:
        """Return how many attempts are in the air, not yet confirmed and not without hope.

        One that a node has refused for good stays live until its expiry is proven, a minute or so;
        it must not keep the place of one that can land.
        """
        return sum(not live.confirmed and live.rebroadcast for live in self._live.values())

    def positions(self) -> set[str]:
        """Return the positions with a live attempt."""
        return {live.attempt.position for live in self._live.values()}

    async def recover(self) -> int:
        """Take up every live attempt in the store whose lease is free; return how many.

        An attempt that was recorded but perhaps never sent is treated as sent.
        """
        store, taken = self._store.store, 0
        for attempt in await self._store.run(store.live_attempts):
            if attempt.signature in self._live or attempt.signature in self.expected:
                continue
            known = await self._store.run(store.intent_of, attempt.signature)
            now_ms = self._clock.unix_ms()
            claim = await self._store.run(
                store.adopt, attempt.intent_id, self._context.owner, now_ms, LEASE_MS
            )
            if known is None or claim is None:
                continue
            live = Live(attempt=attempt, claim=claim, request=known[0])
            if attempt.state is AttemptState.SIGNED:
                await self._store.run(store.mark_sent, attempt.signature, now_ms)
                live.attempt = replace(attempt, state=AttemptState.SENT)
            self._live[attempt.signature] = live
            taken += 1
            log.info("attempt_recovered", position=attempt.position, signature=attempt.signature)
        return taken

    async def launch(self, live: Live) -> None:
        """Send a recorded attempt for the first time and watch it from now on."""
        self._live[live.attempt.signature] = live
        self.expected.discard(live.attempt.signature)
        if live.latency_us is not None:
            self.latencies_us.append(live.latency_us)
        await self._send(live, first=True)
        log.info(
            "transaction_submitted",
            position=live.attempt.position,
            signature=live.attempt.signature,
        )

    async def run(self) -> None:
        """Look at every live attempt again and again; ends only by cancellation.

        Attempts of a keeper that died are taken up as soon as their leases have ended.
        """
        while True:
            await self._clock.sleep(self._interval_s)
            try:
                await self._rescue()
                if self._live:
                    await self.settle_once()
            except StoreError as error:
                self.counts["store_errors"] += 1
                log.warning("settling_waits", error=str(error))

    async def _rescue(self) -> None:
        now_ms = self._clock.unix_ms()
        if now_ms - self._rescued_ms >= RESCUE_MS:
            self._rescued_ms = now_ms
            await self.recover()

    async def settle_once(self) -> None:
        """Look once at every live attempt and do what follows; a node's error waits for later."""
        await self._renew()
        try:
            epoch = await self._chain.epoch_info(Commitment.FINALIZED)
            for batch in _batches(list(self._live.values()), STATUS_BATCH):
                answer = await self._chain.statuses([live.attempt.signature for live in batch])
                for live, status in zip(batch, answer.statuses, strict=True):
                    await self._follow_apart(live, status, epoch.block_height)
        except RpcError as error:
            self.counts["rpc_errors"] += 1
            log.warning("settling_waits", error=str(error))

    async def drain(self, timeout_s: float) -> None:
        """Settle what is in the air, for at most this long, then leave the rest on record."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._live:
                    await self.settle_once()
                    await self._clock.sleep(self._interval_s)
        except (TimeoutError, StoreError) as error:
            log.info("left_in_flight", attempts=len(self._live), error=str(error))
        try:
            for live in list(self._live.values()):
                await self._store.run(self._store.store.release, live.claim, self._clock.unix_ms())
        except StoreError as error:
            log.warning("leases_kept", error=str(error))

    async def _follow_apart(self, live: Live, status: Status | None, height: int) -> None:
        """Follow one attempt; what is wrong with it alone holds up no other."""
        try:
            await self._follow(live, status, height)
        except (RpcRefused, RpcMalformed) as error:
            self.counts["rpc_errors"] += 1
            log.warning("attempt_waits", signature=live.attempt.signature, error=str(error))
        except StoreBusy:
            raise
        except StoreError as error:
            self.counts["store_errors"] += 1
            log.warning("attempt_waits", signature=live.attempt.signature, error=str(error))

    async def _follow(self, live: Live, status: Status | None, height: int) -> None:
        """Do what one status answer calls for."""
        attempt, now_ms = live.attempt, self._clock.unix_ms()
        if status is not None and status.level is not Commitment.PROCESSED:
            live.confirmed = True
        step = after_status(
            attempt.state,
            level=None if status is None else status.level.value,
            past_last_valid_height=height > attempt.last_valid_block_height,
            rebroadcast_due=live.rebroadcast and now_ms - live.sent_ms >= REBROADCAST_MS,
        )
        store = self._store.store
        match step:
            case Next.WAIT:
                return
            case Next.REBROADCAST:
                await self._send(live, first=False)
            case Next.NOTE_SEEN if status is not None:
                level = status.level.value
                await self._store.run(store.mark_seen, attempt.signature, status.slot, level)
                live.attempt = replace(attempt, state=AttemptState.SEEN, seen_slot=status.slot)
                log.info("transaction_seen", signature=attempt.signature, level=level)
            case Next.NOTE_UNSEEN:
                await self._store.run(store.mark_unseen, attempt.signature)
                live.attempt = replace(attempt, state=AttemptState.SENT)
                live.confirmed = False
            case Next.FINISH if status is not None:
                await self._finish(live, status)
            case Next.PROVE_EXPIRY:
                await self._expire(live)
            case _:
                invariant(False, f"{step} without a status")

    async def _send(self, live: Live, *, first: bool) -> None:
        """Put recorded bytes on the wire; every answer means that they may have arrived."""
        if self._gate is None:
            return
        answer = await self._gate.send(
            live.attempt.raw, first=first, min_context_slot=live.attempt.min_context_slot
        )
        now_ms = self._clock.unix_ms()
        live.sent_ms = now_ms
        live.rebroadcast = answer.kind not in STOP_SENDING
        live.preflight = answer.failure or live.preflight
        if answer.kind not in {SendKind.SENT, SendKind.SEEN_ALREADY}:
            self.counts[f"send_{answer.kind}"] += 1
            log.warning("send_answered", signature=live.attempt.signature, answer=str(answer.kind))
        try:
            await self._store.run(self._store.store.mark_sent, live.attempt.signature, now_ms)
        except StoreError as error:
            # The bytes have left all the same, and after a restart SIGNED counts as sent.
            self.counts["store_errors"] += 1
            log.warning("send_not_marked", signature=live.attempt.signature, error=str(error))
            return
        if live.attempt.state is AttemptState.SIGNED:
            live.attempt = replace(live.attempt, state=AttemptState.SENT)

    async def _finish(self, live: Live, status: Status) -> None:
        """Write the end of a finalized attempt with all that the ledger tells about it."""
        landed = await self._landed(live)
        if landed is None and live.landed_reads < LANDED_READS_MAX:
            return
        fee = landed.fee_lamports if landed is not None else None
        if status.failure is None:
            ending = Ending(
                state=AttemptState.FINALIZED_OK, final_slot=status.slot, fee_lamports=fee
            )
            row = self._liquidation(live, status.slot, landed)
            await self._end(live, ending, liquidation=row, intent=IntentState.DONE)
            self.counts["full" if row.is_full_liquidation else "partial"] += 1
            log.info("transaction_confirmed", position=row.position_pubkey, slot=status.slot)
            self._close(live, Result.LANDED, "landed", status.slot)
            return
        failure = replace(status.failure, logs=landed.logs if landed is not None else ())
        ending = Ending(
            state=AttemptState.FINALIZED_ERR,
            final_slot=status.slot,
            fee_lamports=fee,
            error_json=json.dumps({"name": failure.name, "code": failure.code}),
        )
        await self._failed(live, ending, failure, status.slot)

    async def _landed(self, live: Live) -> Landed | None:
        """Return what the ledger tells, or None while, or because, this node does not tell it."""
        landed = None
        try:
            landed = await self._chain.transaction(live.attempt.signature)
        except RpcError as error:
            hidden = isinstance(error, RpcRefused) and error.code == NO_HISTORY
            if not hidden and not isinstance(error, RpcMalformed):
                raise
            log.warning("transaction_not_shown", error=str(error))
        live.landed_reads += 1
        return landed

    async def _failed(self, live: Live, ending: Ending, failure: Failure, slot: int) -> None:
        """Write a failure on chain; one that somebody else caused is a lost race, no failure."""
        outcome = self._context.outcome_of(failure, liquidate_index_of(live.request))
        if outcome in LOST:
            await self._lost(live, ending, outcome, slot)
            return
        reason = f"{outcome}:{failure_text(failure)}"
        row = self._failure(live, outcome.value, reason, slot)
        await self._end(live, ending, failure=row)
        self.counts["failed"] += 1
        self._close(live, Result.FAILED, reason, slot)

    async def _lost(self, live: Live, ending: Ending, outcome: Outcome, slot: int) -> None:
        """Write that somebody else was first, or the price turned."""
        row = self._failure(live, "lost_race", outcome.value, slot)
        await self._end(live, ending, failure=row, intent=IntentState.GONE)
        self.counts["lost_races"] += 1
        self._close(live, Result.LOST_RACE, outcome.value, slot)

    async def _expire(self, live: Live) -> None:
        """End an attempt that can no longer land, once that is proven."""
        proof = await prove_expiry(self._chain, live.attempt)
        if proof is None:
            self.counts["unproven_expiry"] += 1
            return
        unsent = live.attempt.state is AttemptState.SIGNED
        state = AttemptState.VOID if unsent else AttemptState.EXPIRED
        ending = Ending(state=state, proof_json=proof.json)
        if live.preflight is not None:
            index = liquidate_index_of(live.request)
            outcome = self._context.outcome_of(live.preflight, index)
            if outcome in LOST:
                await self._lost(live, ending, outcome, proof.slot)
                return
        row = self._failure(live, "expired", "the blockhash expired before it landed", None)
        await self._end(live, ending, failure=row)
        self.counts["expired"] += 1
        self._close(live, Result.FAILED, "expired", 0)

    async def _end(
        self,
        live: Live,
        ending: Ending,
        *,
        liquidation: Liquidation | None = None,
        failure: FailureRow | None = None,
        intent: IntentState | None = None,
    ) -> None:
        store, now_ms = self._store.store, self._clock.unix_ms()
        await self._store.run(
            store.end_attempt,
            live.attempt.signature,
            ending,
            liquidation=liquidation,
            failure=failure,
            intent_state=intent,
            now_ms=now_ms,
        )
        if intent is None:
            await self._store.run(store.release, live.claim, now_ms)

    def _close(self, live: Live, result: Result, reason: str, slot: int) -> None:
        del self._live[live.attempt.signature]
        live.outcome = OutcomeSeen(
            position=live.attempt.position,
            result=result,
            reason=reason,
            slot=slot,
            jitter_permille=int(self._context.rng.random() * 1_000),
        )
        live.ended.set()
        self._deliver(live.outcome)

    def _liquidation(self, live: Live, slot: int, landed: Landed | None) -> Liquidation:
        attempt = replace(live.attempt, seen_slot=slot)
        told = self._context.venue.effects(landed.logs) if landed is not None else None
        return liquidation_row(
            attempt,
            live.request,
            landed,
            told,
            now_ms=self._clock.unix_ms(),
            latency_us=live.latency_us,
        )

    def _failure(self, live: Live, failure_class: str, detail: str, slot: int | None) -> FailureRow:
        now_ms = self._clock.unix_ms()
        return failure_row(live.attempt, failure_class, detail, slot=slot, now_ms=now_ms)

    async def _renew(self) -> None:
        """Keep the leases of what is in the air."""
        now_ms = self._clock.unix_ms()
        for live in list(self._live.values()):
            if now_ms - live.renewed_ms >= RENEW_MS:
                renew = self._store.store.renew
                live.renewed_ms = now_ms
                if not await self._store.run(renew, live.claim, now_ms, LEASE_MS):
                    log.warning("lease_lost", signature=live.attempt.signature)
                    self._close(live, Result.REFUSED, "held_by_another", 0)


def _batches(items: list[Live], size: int) -> list[list[Live]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
