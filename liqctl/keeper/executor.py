"""From a decision to recorded, signed bytes on the wire, or to a typed reason why not."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

import structlog

from liqctl.core.account import Gone, Seen
from liqctl.core.bid import worth_lamports
from liqctl.core.engine import Engine
from liqctl.core.events import Decision, OutcomeSeen
from liqctl.core.guards import Spending, unprofitable
from liqctl.core.health import Assessment
from liqctl.core.intent import Attempt, Claim, IntentRequest
from liqctl.core.sending import Phase, Sending, begin, step
from liqctl.core.sending_events import (
    Ask,
    Claimed,
    Effect,
    EndIntent,
    Event,
    Heard,
    ReadAfresh,
    ReadFresh,
    Recorded,
    Release,
    Report,
    SignAndRecord,
    Simulate,
    TakeClaim,
    Tried,
    Weigh,
    Weighed,
)
from liqctl.errors import InvariantError, SpendCapReached, StoreError, invariant, present
from liqctl.keeper.asking import ask_view
from liqctl.keeper.context import Context, failure_text
from liqctl.keeper.draft import Draft, Drafter, Offer, Trial
from liqctl.keeper.gate import Gate
from liqctl.keeper.live import Live
from liqctl.keeper.purse import in_flight_lamports, spent
from liqctl.keeper.reading import FreshRead, read_fresh
from liqctl.keeper.rows import snapshot_of
from liqctl.keeper.settle import LEASE_MS, Settler

log = structlog.get_logger(__name__)

SLOW_SIGNATURE_NS = 200_000_000
BEHIND_SLOTS_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How far a decision came: an outcome, or an attempt that is now in flight."""

    outcome: OutcomeSeen | None
    live: Live | None = None
    read: FreshRead | None = None
    trial: Trial | None = None


@dataclass(slots=True, kw_only=True)
class _Work:
    """One decision under way: its state, and what its effects have brought so far."""

    decision: Decision
    view: Mapping[str, Seen]
    draft: Draft | None
    state: Sending
    read: FreshRead | None = None
    trial: Trial | None = None
    outcome: OutcomeSeen | None = None
    claiming: asyncio.Task[Event] | None = None
    running: list[asyncio.Task[Event]] = field(default_factory=list)


class Executor:
    """Performs what `core.sending.step` asks for until bytes are on record, then launches them.

    Any number of decisions may be under way. Without a gate (dry run) nothing is claimed or
    signed; without a drafter nothing is simulated either.
    """

    def __init__(
        self,
        context: Context,
        settler: Settler,
        *,
        gate: Gate | None,
        drafter: Drafter | None,
        hold: Callable[[str, FreshRead], Awaitable[str | None]],
        engine: Engine,
    ) -> None:
        """Wire the parts; the drafter pays with the gate's key, `hold` has the last word.

        No node far behind the engine's slot is asked, and the engine's prices may speak against
        a read. The key's money is counted over the context's fleet.
        """
        if gate is not None:
            paying = drafter is not None and drafter.liquidator == gate.liquidator
            invariant(paying, "the drafter does not pay with the gate's key")
        self._context = context
        self._store = context.store
        self._clock = context.clock
        self._settler = settler
        self._gate = gate
        self._drafter = drafter
        self._rules = replace(settler.rules, sends=gate is not None, tries=drafter is not None)
        self._hold = hold
        self._engine = engine
        self._sol_price = settler.sol_price
        self._fleet = context.fleet

    async def run(
        self, decision: Decision, view: Mapping[str, Seen], *, max_size: int | None = None
    ) -> Execution:
        """Carry out a decision and return how far it came.

        Raises:
            RpcError: a read failed; nothing was sent.
            StoreError: the store failed; nothing was sent that is not recorded.
        """
        position = decision.position
        log.info("liquidation_triggered", position=position.address)
        draft = await self._draft(decision, view, max_size)
        state, effects = begin(position.address, position.generation, self._rules)
        work = _Work(decision=decision, view=view, draft=draft, state=state)
        try:
            effects = await self._check(work, effects)
            if work.state.phase is Phase.WEIGHING:
                effects = await self._commit(work, effects)
        except BaseException:
            await self._give_back(work)
            raise
        live = None
        if work.state.phase is Phase.LIVE:
            live = self._live(work)
            await self._settler.launch(live, effects)
        else:
            await self._stop(work, effects)
        return Execution(outcome=work.outcome, live=live, read=work.read, trial=work.trial)

    async def _draft(
        self, decision: Decision, view: Mapping[str, Seen], max_size: int | None
    ) -> Draft | None:
        if self._drafter is None:
            return None
        worth = None
        sol_price_e6 = self._sol_price()
        if sol_price_e6 is not None:
            floor = self._rules.limits.profit_floor_permille
            worth = worth_lamports(decision.assessment.reward, sol_price_e6, floor)
        offer = Offer(attempt=decision.tries + 1, worth_lamports=worth)
        return await self._drafter.draft(decision.position, view, max_size, offer)

    async def _check(self, work: _Work, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        """Ask for everything at once and take the answers as they come."""
        while work.state.phase is Phase.CHECKING:
            work.running += [self._started(work, each) for each in effects]
            await asyncio.wait(work.running, return_when=asyncio.FIRST_COMPLETED)
            done = next(task for task in work.running if task.done())
            event = done.result()
            work.running.remove(done)
            work.state, effects = step(work.state, event)
        return effects

    def _started(self, work: _Work, effect: Effect) -> asyncio.Task[Event]:
        task = asyncio.create_task(self._checked(work, effect))
        if isinstance(effect, TakeClaim):
            work.claiming = task
        return task

    async def _checked(self, work: _Work, effect: Effect) -> Event:
        match effect:
            case TakeClaim():
                return Claimed(claim=await self._claim(work))
            case ReadFresh():
                return await self._read(work, effect.min_context_slot)
            case Simulate():
                return await self._simulate(work, effect.min_context_slot)
            case Ask():
                return await self._ask(work, effect.min_context_slot)
            case _:
                raise _unexpected(effect)

    async def _commit(self, work: _Work, effects: tuple[Effect, ...]) -> tuple[Effect, ...]:
        """Weigh, sign and record: one decision at a time, each counts what the others spend."""
        async with self._fleet.committing:
            while work.state.phase in {Phase.WEIGHING, Phase.SIGNING}:
                [effect] = effects
                match effect:
                    case Weigh():
                        event: Event = await self._weigh(work)
                    case SignAndRecord():
                        event = await self._record(work, effect)
                    case _:
                        raise _unexpected(effect)
                work.state, effects = step(work.state, event)
        return effects

    async def _stop(self, work: _Work, effects: tuple[Effect, ...]) -> None:
        """End what was never signed."""
        store, now_ms = self._store.store, self._clock.unix_ms()
        for effect in effects:
            match effect:
                case EndIntent():
                    claim = present(work.state.claim, "an intent ends without a claim")
                    await self._store.run(
                        store.end_intent, claim, effect.state, effect.reason, now_ms
                    )
                case Release():
                    claim = present(work.state.claim, "a release without a claim")
                    await self._store.run(store.release, claim, now_ms)
                case Report():
                    position = work.decision.position.address
                    work.outcome = self._context.outcome_seen(position, effect.stop)
                case _:
                    raise _unexpected(effect)

    async def _claim(self, work: _Work) -> Claim | None:
        now_ms = self._clock.unix_ms()
        claim = self._store.store.claim
        request = self._request(work)
        return await self._store.run(claim, request, self._context.owner, now_ms, LEASE_MS)

    async def _read(self, work: _Work, min_context_slot: int) -> ReadAfresh:
        beside = [] if self._drafter is None else [self._drafter.liquidator]
        if work.draft is not None:
            beside += work.draft.creates
        position = work.decision.position
        read = await read_fresh(
            self._context.venue,
            self._context.chain,
            position,
            work.view,
            beside,
            min_context_slot=max(min_context_slot, self._engine.slot - BEHIND_SLOTS_MAX),
        )
        work.read = read
        held, verdict = read.view[position.address].value, read.assessment
        return ReadAfresh(
            slot=read.slot,
            gone=isinstance(held, Gone),
            generation=None if read.position is None else read.position.generation,
            verdict=verdict and self._engine.doubted(verdict, read.view, read.now_s),
        )

    async def _simulate(self, work: _Work, min_context_slot: int) -> Tried:
        drafter = present(self._drafter, "a simulation without a drafter")
        draft = present(work.draft, "a simulation without a draft")
        slot = min_context_slot or work.decision.assessment.slot
        work.trial = await drafter.simulate(draft, slot)
        work.draft = draft = work.trial.draft
        simulation = work.trial.simulation
        if simulation.failure is None:
            return Tried(slot=simulation.slot)
        outcome = self._context.outcome_of(simulation.failure, draft.liquidate_index)
        return Tried(slot=simulation.slot, outcome=outcome, text=failure_text(simulation.failure))

    async def _ask(self, work: _Work, min_context_slot: int) -> Heard:
        """Ask the program's own view about what was read; one without an answer says no."""
        drafter = present(self._drafter, "the program is asked without a drafter")
        read = present(work.read, "the program is asked without a fresh read")
        answer = await ask_view(
            self._context.venue,
            self._context.chain,
            present(read.position, "the program is asked about no position"),
            read.view,
            drafter.liquidator,
            min_context_slot=min_context_slot,
        )
        if answer is None:
            return Heard(slot=min_context_slot, liquidatable=None)
        if answer.liquidatable is not True:
            log.info(
                "view_answered",
                position=work.decision.position.address,
                liquidatable=answer.liquidatable,
                outcome=answer.outcome,
                error=answer.error,
            )
        return Heard(slot=answer.slot, liquidatable=answer.liquidatable)

    async def _weigh(self, work: _Work) -> Weighed:
        gate = present(self._gate, "something is weighed without a gate")
        draft = present(work.draft, "something is weighed without a draft")
        read = present(work.read, "something is weighed without a fresh read")
        verdict = present(read.assessment, "something is weighed without a verdict")
        payer = read.beside.get(gate.liquidator)
        store = self._store.store
        hour, day = await self._store.run(spent, store, self._clock.unix_ms())
        in_flight = await self._store.run(in_flight_lamports, store, gate.liquidator)
        spending = Spending(
            balance_lamports=0 if payer is None else payer.lamports,
            in_flight_lamports=in_flight,
            hour_lamports=hour,
            day_lamports=day,
        )
        lost_lamports = draft.lost_lamports(read.beside)
        return Weighed(
            cost_lamports=draft.cost_lamports(read.beside),
            spending=spending,
            hold=await self._hold(work.decision.position.address, read),
            unprofitable=self._unprofitable(draft, verdict, lost_lamports),
        )

    def _unprofitable(self, draft: Draft, verdict: Assessment, lost_lamports: int) -> str | None:
        """Return why it is not worth its cost; a program that pays rent alone is told apart."""
        reason = unprofitable(verdict.reward, lost_lamports, self._sol_price(), self._rules.limits)
        returns = draft.plan.returns_lamports
        if reason is None or verdict.reward or not returns:
            return reason
        log.info(
            "rent_below_cost",
            position=draft.position,
            cost_lamports=lost_lamports + returns,
            returns_lamports=returns,
        )
        return "rent_below_cost"

    async def _record(self, work: _Work, effect: SignAndRecord) -> Recorded:
        """Sign and commit the attempt; after a slow signature what holds is asked for again."""
        gate = present(self._gate, "a signature without a gate")
        drafter = present(self._drafter, "a signature without a drafter")
        draft = present(work.draft, "a signature without a draft")
        claim = present(work.state.claim, "a signature without a claim")
        read = present(work.read, "a signature without a fresh read")
        asked_ns = self._clock.monotonic_ns()
        raw, signature = await gate.sign(draft.message)
        if self._clock.monotonic_ns() - asked_ns > SLOW_SIGNATURE_NS:
            hold = await self._hold(work.decision.position.address, read)
            if hold is not None:
                return Recorded(attempt=None, hold=hold)
        now_ms = self._clock.unix_ms()
        attempt = Attempt(
            signature=signature,
            intent_id=claim.intent_id,
            n=effect.n,
            position=work.decision.position.address,
            symbol=work.decision.assessment.symbol,
            raw=raw,
            blockhash=draft.blockhash.hash,
            last_valid_block_height=draft.blockhash.last_valid_block_height,
            min_context_slot=draft.blockhash.context_slot,
            compute_unit_limit=draft.compute_unit_limit,
            compute_unit_price_micro_lamports=draft.price_micro_lamports,
            max_cost_lamports=effect.cost_lamports,
            signed_ms=now_ms,
        )
        drafter.signed(draft)
        record, recorded = self._store.store.record_attempt, False
        caps = self._rules.limits.caps
        self._settler.expected.add(signature)
        try:
            recorded = await self._store.run(
                record, claim, attempt, now_ms, decision_slot=read.slot, caps=caps
            )
        except SpendCapReached as error:
            return Recorded(attempt=None, hold=error.reason)
        finally:
            if not recorded:
                self._settler.expected.discard(signature)
        return Recorded(attempt=attempt if recorded else None)

    async def _give_back(self, work: _Work) -> None:
        """Free the lease of a decision that broke off; others would wait for its end."""
        reads = [task for task in work.running if task is not work.claiming]
        for task in reads:
            task.cancel()
        if reads:
            await asyncio.wait(reads)
            _ = [task.exception() for task in reads if not task.cancelled()]
        try:
            claimed = None if work.claiming is None else await work.claiming
            if isinstance(claimed, Claimed) and claimed.claim is not None:
                release = self._store.store.release
                await self._store.run(release, claimed.claim, self._clock.unix_ms())
        except StoreError as error:
            log.warning("lease_kept", error=str(error))

    def _live(self, work: _Work) -> Live:
        tick_ns = work.decision.tick_ns
        latency_us = (self._clock.monotonic_ns() - tick_ns) // 1_000 if tick_ns else None
        return Live(
            state=work.state,
            request=self._request(work),
            latency_us=latency_us,
            tick_ns=tick_ns,
        )

    def _request(self, work: _Work) -> IntentRequest:
        position = work.decision.position
        gate = present(self._gate, "a request without a gate")
        draft = present(work.draft, "a request without a draft")
        return IntentRequest(
            venue=self._context.venue.id,
            program=self._context.venue.program_id,
            position=position.address,
            generation=position.generation,
            decision_slot=work.decision.assessment.slot,
            snapshot_json=snapshot_of(work.decision, gate.liquidator, draft.liquidate_index),
        )


def _unexpected(effect: Effect) -> InvariantError:
    return InvariantError(f"{type(effect).__name__} is not for the executor at this point")
