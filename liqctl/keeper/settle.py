"""Attempts from the wire to their end: send, rebroadcast, observe, finish. Restart begins here too."""

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Iterable

import structlog

from liqctl.chain.answers import Commitment, Status
from liqctl.chain.expiry import prove_expiry
from liqctl.chain.send_answer import SendKind
from liqctl.core.events import Cause, OutcomeSeen
from liqctl.core.intent import AttemptState
from liqctl.core.record import Liquidation
from liqctl.core.sending import Phase, Rules, resume, step
from liqctl.core.sending_events import (
    Answered,
    Effect,
    End,
    Ended,
    Event,
    LeaseLost,
    LeaseTaken,
    LedgerRead,
    Looked,
    Noted,
    NoteSeen,
    NoteSent,
    NoteUnseen,
    ProveExpiry,
    Proven,
    ReadLedger,
    Report,
    Send,
)
from liqctl.errors import (
    InvariantError,
    RpcError,
    StoreBusy,
    StoreError,
    present,
)
from liqctl.keeper.context import Context, failure_text
from liqctl.keeper.ending import at_loss, ending_of, failure_of, liquidation_of
from liqctl.keeper.gate import Gate
from liqctl.keeper.late import fill_in
from liqctl.keeper.leases import take_up
from liqctl.keeper.ledger import passes, read_landed
from liqctl.keeper.live import Live
from liqctl.keeper.metrics import Speeds
from liqctl.keeper.rows import liquidate_index_of

log = structlog.get_logger(__name__)

LEASE_MS = 20_000
RENEW_MS = 5_000
RESCUE_MS = 2_000
FILL_IN_MS = 15_000
STATUS_BATCH = 256
LATENCIES_KEPT = 10_000
STOP_SENDING = frozenset({SendKind.HOPELESS, SendKind.BROKE, SendKind.REJECTED_BUG})


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
        rules: Rules | None = None,
        sol_price: Callable[[], int | None] = lambda: None,
    ) -> None:
        """Settle for the context's owner; without a gate nothing is rebroadcast.

        `sol_price` is in 1e-6 quote: fees are lamports, rewards are not.
        """
        self._context = context
        self._chain = context.chain
        self._store = context.store
        self._clock = context.clock
        self._gate = gate
        self._deliver = deliver
        self._interval_s = interval_ms / 1_000
        self.rules = rules or Rules()
        self.sol_price = sol_price
        self._live: dict[str, Live] = {}
        # Being recorded by this process: on record already, perhaps, but not for others to rescue.
        self.expected: set[str] = set()
        self._rescued_ms = 0
        self.counts: Counter[str] = Counter()
        self.latencies_us: deque[int] = deque(maxlen=LATENCIES_KEPT)
        self.speeds = Speeds()

    def unconfirmed(self) -> int:
        """Return how many attempts are in the air, not yet confirmed and not without hope.

        One that a node has refused for good stays live until its expiry is proven, a minute or so;
        it must not keep the place of one that can land.
        """
        return sum(
            not live.state.confirmed and live.state.rebroadcast for live in self._live.values()
        )

    def oldest_ms(self, now_ms: int) -> int | None:
        """Return for how long the oldest live attempt has been signed, None without one."""
        signed_ms = min((live.attempt.signed_ms for live in self._live.values()), default=None)
        return None if signed_ms is None else max(now_ms - signed_ms, 0)

    def positions(self) -> set[str]:
        """Return the positions with a live attempt."""
        return {live.attempt.position for live in self._live.values()}

    async def recover(self) -> int:
        """Take up every live attempt of the venue whose lease is free; return how many.

        An attempt that was recorded but perhaps never sent is treated as sent.
        """
        store, taken = self._store.store, 0
        for attempt in await self._store.run(store.live_attempts, self._context.venue.program_id):
            if attempt.signature in self._live or attempt.signature in self.expected:
                continue
            known = await self._store.run(store.intent_of, attempt.signature)
            if known is None:
                continue
            taken_up = await take_up(self._context, attempt, LEASE_MS)
            if taken_up is None:
                continue
            request = known[0]
            state, effects = resume(*taken_up, request.generation, self.rules)
            live = Live(state=state, request=request)
            await self._drive(live, effects)
            self._live[attempt.signature] = live
            taken += 1
            log.info("attempt_recovered", position=attempt.position, signature=attempt.signature)
        return taken

    async def launch(self, live: Live, effects: tuple[Effect, ...]) -> None:
        """Send a recorded attempt for the first time and watch it from now on."""
        self._live[live.attempt.signature] = live
        self.expected.discard(live.attempt.signature)
        self.counts["launched"] += 1
        self.speeds.launched(live.latency_us)
        if live.latency_us is not None:
            self.latencies_us.append(live.latency_us)
        live.launching = True
        try:
            await self._drive(live, effects)
        finally:
            live.launching = False
        log.info(
            "transaction_submitted",
            position=live.attempt.position,
            signature=live.attempt.signature,
        )

    async def run(self) -> None:
        """Look at every live attempt again and again; ends only by cancellation.

        Attempts of a keeper that died are taken up as soon as their leases have ended. Figures
        that came late are asked for beside it: no attempt in the air waits for them.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._fill_in(), name="late figures")
            await self._settle()

    async def _settle(self) -> None:
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
        now_ms = self._context.steady.ms()
        if now_ms - self._rescued_ms >= RESCUE_MS:
            self._rescued_ms = now_ms
            await self.recover()

    async def _fill_in(self) -> None:
        while True:
            try:
                self.counts["filled_in"] += await fill_in(self._context)
            except StoreError as error:
                self.counts["store_errors"] += 1
                log.warning("settling_waits", error=str(error))
            await self._clock.sleep(FILL_IN_MS / 1_000)

    async def settle_once(self) -> None:
        """Look once at every live attempt and do what follows; a node's error waits for later."""
        await self._renew()
        try:
            epoch = await self._chain.epoch_info(Commitment.FINALIZED)
            # one that is only just being sent is followed when that is over
            settled = [live for live in self._live.values() if not live.launching]
            for batch in _batches(settled, STATUS_BATCH):
                answer = await self._chain.statuses([live.attempt.signature for live in batch])
                # What is final waits for the ledger alone; the others must not wait for that.
                found = sorted(zip(batch, answer.statuses, strict=True), key=_is_final)
                for live, status in found:
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
        """Follow one attempt; what is wrong with it alone holds up no other.

        A node that is away or busy ends the round, or every attempt would wait for it in turn.
        Whoever met that comes last in the next round.
        """
        try:
            await self._follow(live, status, height)
        except RpcError:
            self._live[live.attempt.signature] = self._live.pop(live.attempt.signature)
            raise
        except StoreBusy:
            raise
        except StoreError as error:
            self.counts["store_errors"] += 1
            log.warning("attempt_waits", signature=live.attempt.signature, error=str(error))

    async def _follow(self, live: Live, status: Status | None, height: int) -> None:
        """Do what one look at the cluster calls for."""
        live.status = status
        look = Looked(
            level=None if status is None else status.level.value,
            slot=0 if status is None else status.slot,
            finalized_height=height,
            now_ms=self._context.steady.ms(),
        )
        live.state, effects = step(live.state, look)
        await self._drive(live, effects)

    async def _drive(self, live: Live, effects: Iterable[Effect]) -> None:
        """Perform effects and what follows from them; one that fails comes again by a later look.

        Whoever else ends the attempt meanwhile has the last word.
        """
        waiting = deque(effects)
        while waiting:
            event = await self._perform(live, waiting.popleft())
            if live.state.phase is Phase.OVER:
                return
            if event is not None:
                live.state, following = step(live.state, event)
                waiting.extend(following)

    async def _perform(self, live: Live, effect: Effect) -> Event | None:
        match effect:
            case Send():
                return await self._send(live, effect)
            case NoteSent() | NoteSeen() | NoteUnseen():
                return await self._note(live, effect)
            case ReadLedger():
                return await self._read_ledger(live)
            case ProveExpiry():
                return await self._prove(live)
            case End():
                return await self._end(live, effect)
            case Report():
                self._close(live, effect)
            case _:
                raise InvariantError(f"{type(effect).__name__} is not for the settler")
        return None

    async def _send(self, live: Live, effect: Send) -> Event | None:
        """Put recorded bytes on the wire; every answer means that they may have arrived."""
        if self._gate is None:
            return None
        attempt = live.attempt
        answer = await self._gate.send(
            attempt.raw, first=effect.first, min_context_slot=attempt.min_context_slot
        )
        if answer.kind not in {SendKind.SENT, SendKind.SEEN_ALREADY}:
            self.counts[f"send_{answer.kind}"] += 1
            log.warning("send_answered", signature=attempt.signature, answer=str(answer.kind))
        preflight = None
        if answer.failure is not None and answer.kind in STOP_SENDING:
            index = liquidate_index_of(live.request)
            preflight = self._context.outcome_of(answer.failure, index)
        return Answered(
            now_ms=self._context.steady.ms(),
            hopeless=answer.kind in STOP_SENDING,
            preflight=preflight,
        )

    async def _note(self, live: Live, effect: NoteSent | NoteSeen | NoteUnseen) -> Event | None:
        """Write a live state of the attempt; where that fails it counts as SEEN.

        The row may say so all the same, and nothing SEEN is proven expired.
        """
        if isinstance(effect, NoteSent):
            return await self._note_sent(live)
        try:
            return await self._note_sight(live, effect)
        except StoreError:
            live.state, _ = step(live.state, Noted(state=AttemptState.SEEN))
            raise

    async def _note_sight(self, live: Live, effect: NoteSeen | NoteUnseen) -> Event:
        store, signature = self._store.store, live.attempt.signature
        match effect:
            case NoteSeen():
                live.seen_ns = live.seen_ns or self._clock.monotonic_ns()
                await self._store.run(store.mark_seen, signature, effect.slot, effect.level)
                log.info("transaction_seen", signature=signature, level=effect.level)
                return Noted(state=AttemptState.SEEN, slot=effect.slot)
            case NoteUnseen():
                live.seen_ns = 0
                await self._store.run(store.mark_unseen, signature)
                return Noted(state=AttemptState.SENT)

    async def _note_sent(self, live: Live) -> Event | None:
        """Count a send; the bytes are out whether or not that can be written, or was."""
        try:
            mark = self._store.store.mark_sent
            await self._store.run(mark, live.attempt.signature, self._clock.unix_ms())
        except StoreError as error:
            self.counts["store_errors"] += 1
            log.warning("send_not_marked", signature=live.attempt.signature, error=str(error))
        unsent = live.attempt.state is AttemptState.SIGNED
        return Noted(state=AttemptState.SENT) if unsent else None

    async def _read_ledger(self, live: Live) -> Event:
        """Ask what the ledger tells; a node that refuses or answers wrongly tells nothing.

        Only so many silences are waited for, hence an outage is none of them.
        """
        status = present(live.status, "a ledger read without a status")
        live.landed = None
        try:
            failed = status.failure is not None
            live.landed = await read_landed(self._chain, live.attempt, status.slot, failed=failed)
        except RpcError as error:
            if passes(error):
                raise
            log.warning("transaction_not_shown", error=str(error))
        if status.failure is None:
            return LedgerRead(told=live.landed is not None)
        index = liquidate_index_of(live.request)
        outcome = self._context.outcome_of(live.failure_on_chain(status), index)
        text = failure_text(status.failure)
        return LedgerRead(told=live.landed is not None, outcome=outcome, text=text)

    async def _prove(self, live: Live) -> Event | None:
        live.proof = await prove_expiry(self._chain, live.attempt)
        if live.proof is None:
            self.counts["unproven_expiry"] += 1
            return None
        return Proven(slot=live.proof.slot)

    async def _end(self, live: Live, effect: End) -> Event:
        """Write the end of an attempt and all that follows from it in one commit."""
        liquidation, failure = None, None
        if effect.state is AttemptState.FINALIZED_OK:
            liquidation = liquidation_of(self._context, live, effect.stop.slot)
            live.at_loss = at_loss(live.attempt, liquidation, self.sol_price())
        else:
            failure = failure_of(live.attempt, effect.stop, now_ms=self._clock.unix_ms())
        await self._store.run(
            self._store.store.end_attempt,
            live.attempt.signature,
            ending_of(live, effect.state),
            liquidation=liquidation,
            failure=failure,
            intent_state=effect.intent,
            now_ms=self._clock.unix_ms(),
        )
        if liquidation is None:
            self._count_unlanded(effect)
        else:
            self._count_landed(live, liquidation)
        return Ended()

    def _count_landed(self, live: Live, liquidation: Liquidation) -> None:
        self.counts["full" if liquidation.is_full_liquidation else "partial"] += 1
        position, slot = liquidation.position_pubkey, liquidation.slot
        log.info("transaction_confirmed", position=position, slot=slot)
        seen_ns = live.seen_ns or self._clock.monotonic_ns()
        took_ns = seen_ns - live.tick_ns if live.tick_ns else None
        self.speeds.landed(slot - live.request.decision_slot, took_ns)

    def _count_unlanded(self, effect: End) -> None:
        if effect.stop.cause is Cause.LOST_RACE:
            self.counts["lost_races"] += 1
        else:
            finalized = effect.state is AttemptState.FINALIZED_ERR
            self.counts["failed" if finalized else "expired"] += 1

    def _close(self, live: Live, report: Report) -> None:
        del self._live[live.attempt.signature]
        live.outcome = self._context.outcome_seen(
            live.attempt.position, report.stop, at_loss=live.at_loss
        )
        live.ended.set()
        self._deliver(live.outcome)

    async def _renew(self) -> None:
        """Keep the leases of what is in the air; one that ran out is taken again if it is free."""
        steady_ms, now_ms = self._context.steady.ms(), self._clock.unix_ms()
        for live in list(self._live.values()):
            if steady_ms - live.renewed_ms >= RENEW_MS:
                renew = self._store.store.renew
                live.renewed_ms = steady_ms
                if not await self._store.run(renew, live.claim, now_ms, LEASE_MS):
                    await self._take_again(live)

    async def _take_again(self, live: Live) -> None:
        taken_up = await take_up(self._context, live.attempt, LEASE_MS)
        if taken_up is not None:
            live.state, _ = step(live.state, LeaseTaken(claim=taken_up[0], attempt=taken_up[1]))
            return
        log.warning("lease_lost", signature=live.attempt.signature)
        live.state, effects = step(live.state, LeaseLost())
        await self._drive(live, effects)


def _is_final(found: tuple[Live, Status | None]) -> bool:
    status = found[1]
    return status is not None and status.level is Commitment.FINALIZED


def _batches(items: list[Live], size: int) -> list[list[Live]]:
    return [items[i : i + size] for i in range(0, len(items), size)]
