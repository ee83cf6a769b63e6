"""One liquidation from its decision to its end: `step` takes an event and gives state and effects.

    begin ─> CHECKING ── claim, fresh read and trial agree ──> WEIGHING ── limits hold ──> SIGNING
                │                                                 │            committed ──┤
                └──── an objection, a limit, a claim lost ──> OVER <── terminal ──── LIVE <┘
    resume ──────────────────────────────────────────────────────────────────────────> LIVE

A verdict that is only an estimate needs one more voice: the program's own view is asked last, and
without its yes nothing is weighed.

Nothing here waits, reads or writes: a driver performs the effects and feeds back what came of
them, each event once. The state holds durable facts alone, so that an effect that failed needs no
undoing: the next look at the cluster leads to it again. A process that starts anew resumes in LIVE
with what is on record; there is no other way back.
"""

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import assert_never

from liqctl.core.events import Cause, Result
from liqctl.core.guards import Limits, blocker, refusal
from liqctl.core.instruction import Outcome
from liqctl.core.intent import Attempt, AttemptState, Claim, IntentState
from liqctl.core.price_policy import Doubt
from liqctl.core.sending_events import (
    Answered,
    Ask,
    Claimed,
    Effect,
    End,
    Ended,
    EndIntent,
    Event,
    Heard,
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
    ReadAfresh,
    ReadFresh,
    ReadLedger,
    Recorded,
    Release,
    Report,
    Send,
    SignAndRecord,
    Simulate,
    Stop,
    TakeClaim,
    Tried,
    Weigh,
    Weighed,
)
from liqctl.errors import invariant, present

LOST = frozenset({Outcome.GONE, Outcome.HEALTHY})
# What other prices speak against, other prices end.
DOUBTS = frozenset(Doubt)


class Phase(StrEnum):
    """Where a liquidation stands; only LIVE has bytes that may have reached anybody."""

    CHECKING = "checking"
    WEIGHING = "weighing"
    SIGNING = "signing"
    LIVE = "live"
    OVER = "over"


class Awaited(StrEnum):
    """What CHECKING waits for."""

    CLAIM = "claim"
    READ = "read"
    TRIAL = "trial"
    VIEW = "view"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a run allows: `sends` is False in a dry run, `tries` where nothing can be simulated."""

    limits: Limits = field(default_factory=Limits)
    sends: bool = True
    tries: bool = True
    rebroadcast_ms: int = 2_000
    ledger_reads_max: int = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """The whole state of one liquidation."""

    rules: Rules
    position: str
    generation: int
    phase: Phase = Phase.CHECKING
    awaits: frozenset[Awaited] = frozenset()
    claim: Claim | None = None
    read_slot: int = 0
    trial_slot: int = 0
    estimated: bool = False
    heard_slot: int = 0
    objected: Stop | None = None
    failed_trial: Stop | None = None
    denied: Stop | None = None
    attempt: Attempt | None = None
    sent_ms: int = 0
    rebroadcast: bool = True
    confirmed: bool = False
    preflight: Outcome | None = None
    final_slot: int = 0
    ledger_reads: int = 0
    ending: End | None = None


Stepped = tuple[Sending, tuple[Effect, ...]]


def begin(position: str, generation: int, rules: Rules) -> Stepped:
    """Return the state of a new decision: claim, fresh read and trial are asked for at once."""
    asked: list[tuple[Awaited, Effect]] = [(Awaited.READ, ReadFresh())]
    if rules.sends:
        asked.append((Awaited.CLAIM, TakeClaim()))
    if rules.tries:
        asked.append((Awaited.TRIAL, Simulate()))
    state = Sending(
        rules=rules,
        position=position,
        generation=generation,
        awaits=frozenset(awaited for awaited, _ in asked),
    )
    return state, tuple(effect for _, effect in asked)


def resume(claim: Claim, attempt: Attempt, generation: int, rules: Rules) -> Stepped:
    """Return the state of an attempt found on record; one perhaps never sent counts as sent."""
    state = Sending(
        rules=rules,
        position=attempt.position,
        generation=generation,
        phase=Phase.LIVE,
        claim=claim,
        attempt=attempt,
    )
    unsent = attempt.state is AttemptState.SIGNED
    return state, (NoteSent(),) if unsent else ()


def step(state: Sending, event: Event) -> Stepped:
    """Return the state after an event and the effects to perform, in their order."""
    match event:
        case Claimed() | ReadAfresh() | Tried() | Heard():
            return _checked(state, event)
        case Weighed():
            return _weighed(state, event)
        case Recorded():
            return _recorded(state, event)
        case LeaseLost():
            _expect(state, Phase.LIVE)
            stop = Stop(result=Result.REFUSED, cause=Cause.BUSY, reason="held_by_another")
            return replace(state, phase=Phase.OVER), (Report(stop=stop),)
        case LeaseTaken():
            _expect(state, Phase.LIVE)
            # Of our own sends we know more than the row, which a mark may have failed to reach.
            seen = event.attempt.state is AttemptState.SEEN
            attempt = event.attempt if seen else state.attempt
            return replace(state, claim=event.claim, attempt=attempt), ()
        case _:
            return _live(state, event)


def _expect(state: Sending, phase: Phase) -> None:
    invariant(state.phase is phase, f"an event of {phase} came in {state.phase}")


def _checked(state: Sending, event: Claimed | ReadAfresh | Tried | Heard) -> Stepped:
    """Take in one of the answers; the last one decides."""
    _expect(state, Phase.CHECKING)
    match event:
        case Claimed():
            awaited, state = Awaited.CLAIM, replace(state, claim=event.claim)
        case ReadAfresh():
            state = replace(
                state,
                read_slot=event.slot,
                objected=objection(state, event),
                estimated=event.verdict is not None and not event.verdict.exact,
            )
            awaited = Awaited.READ
        case Heard():
            state = replace(state, heard_slot=event.slot, denied=_denied(event))
            awaited = Awaited.VIEW
        case _:
            failed = None if event.outcome is None else _failed_trial(event.outcome, event.text)
            state = replace(state, trial_slot=event.slot, failed_trial=failed)
            awaited = Awaited.TRIAL
    invariant(awaited in state.awaits, f"{awaited} came without being asked for")
    state = replace(state, awaits=state.awaits - {awaited})
    return (state, ()) if state.awaits else _decided(state)


def _decided(state: Sending) -> Stepped:
    """Everything asked for is in: go on, ask again at a later slot, or stop."""
    claim, rules = state.claim, state.rules
    if claim is not None and state.read_slot < claim.read_slot_min:
        # what ended last for this position must be seen before it is judged again
        asked = replace(state, awaits=frozenset({Awaited.READ}))
        return asked, (ReadFresh(min_context_slot=claim.read_slot_min),)
    if state.objected is None and rules.tries and state.trial_slot < state.read_slot:
        asked = replace(state, awaits=frozenset({Awaited.TRIAL}))
        return asked, (Simulate(min_context_slot=state.read_slot),)
    busy = _refused(Cause.BUSY, "held_by_another") if rules.sends and claim is None else None
    stop = state.objected or busy or state.failed_trial
    if stop is None and rules.tries and state.estimated and state.heard_slot < state.read_slot:
        asked = replace(state, awaits=frozenset({Awaited.VIEW}))
        return asked, (Ask(min_context_slot=state.read_slot),)
    stop = stop or state.denied
    if stop is None and not (rules.sends and rules.tries):
        stop = _refused(Cause.GUARD, "dry_run")
    if stop is not None:
        return _stopped(state, stop)
    return replace(state, phase=Phase.WEIGHING), (Weigh(),)


def _weighed(state: Sending, event: Weighed) -> Stepped:
    _expect(state, Phase.WEIGHING)
    claim = present(state.claim, "WEIGHING without a claim")
    limits = state.rules.limits
    if claim.attempts >= limits.attempts_max:
        return _stopped(state, _refused(Cause.GUARD, "attempts_spent"))
    reason = refusal(event.cost_lamports, event.spending, limits)
    if reason is None:
        reason = event.hold or event.unprofitable
    if reason is not None:
        funded = reason != "balance_too_low"
        cause = _cause_of(reason, Cause.GUARD) if funded else Cause.NO_FUNDS
        return _stopped(state, _refused(cause, reason))
    sign = SignAndRecord(cost_lamports=event.cost_lamports, n=claim.attempts + 1)
    return replace(state, phase=Phase.SIGNING), (sign,)


def _recorded(state: Sending, event: Recorded) -> Stepped:
    _expect(state, Phase.SIGNING)
    if event.hold is not None:
        return _stopped(state, _refused(Cause.GUARD, event.hold))
    if event.attempt is None:
        stop = _refused(Cause.BUSY, "claim_lost")
        return replace(state, phase=Phase.OVER), (Report(stop=stop),)
    return replace(state, phase=Phase.LIVE, attempt=event.attempt), (Send(first=True),)


def _stopped(state: Sending, stop: Stop) -> Stepped:
    """End before anything was signed: what the chain says ends the intent, all else may pass."""
    effects: list[Effect] = []
    if state.claim is not None:
        if stop.slot and stop.result in {Result.GONE, Result.RECOVERED}:
            effects.append(EndIntent(state=IntentState.GONE, reason=stop.reason))
        elif stop.reason == "attempts_spent":
            effects.append(EndIntent(state=IntentState.FAILED, reason=stop.reason))
        else:
            effects.append(Release())
    return replace(state, phase=Phase.OVER), (*effects, Report(stop=stop))


def _live(
    state: Sending, event: Answered | Noted | Looked | LedgerRead | Proven | Ended
) -> Stepped:
    """Follow recorded bytes: only finality or the expiry proof ends them."""
    _expect(state, Phase.LIVE)
    attempt = present(state.attempt, "LIVE without an attempt")
    match event:
        case Answered():
            heard = replace(
                state,
                sent_ms=event.now_ms,
                rebroadcast=not event.hopeless,
                preflight=event.preflight or state.preflight,
            )
            return heard, (NoteSent(),)
        case Noted():
            seen = event.state is AttemptState.SEEN
            noted = replace(attempt, state=event.state, seen_slot=event.slot)
            return replace(state, attempt=noted, confirmed=state.confirmed and seen), ()
        case Looked():
            return _looked(state, attempt, event)
        case LedgerRead():
            return _ledger_read(state, event)
        case Proven():
            return _proven(state, attempt, event)
        case Ended():
            return _ended(state)
        case _:
            assert_never(event)


def _looked(state: Sending, attempt: Attempt, look: Looked) -> Stepped:
    """Return what one look calls for; processed and confirmed are shown and never an end."""
    if look.level == "finalized":
        return replace(state, final_slot=look.slot, confirmed=True), (ReadLedger(),)
    if look.level is not None:
        state = replace(state, confirmed=look.level == "confirmed")
        if attempt.state is AttemptState.SEEN and attempt.seen_slot is not None:
            return state, ()
        return state, (NoteSeen(slot=look.slot, level=look.level),)
    if attempt.state is AttemptState.SEEN:
        return replace(state, confirmed=False), (NoteUnseen(),)
    if look.finalized_height > attempt.last_valid_block_height:
        return state, (ProveExpiry(),)
    due = look.now_ms - state.sent_ms >= state.rules.rebroadcast_ms
    return state, (Send(first=False),) if state.rebroadcast and due else ()


def _ledger_read(state: Sending, event: LedgerRead) -> Stepped:
    """End with what the ledger tells; after enough silence with the status alone."""
    reads = state.ledger_reads + 1
    state = replace(state, ledger_reads=reads)
    if not event.told and reads < state.rules.ledger_reads_max:
        return state, ()
    slot = state.final_slot
    if event.outcome is None:
        stop = Stop(result=Result.LANDED, cause=Cause.NONE, reason="landed", slot=slot)
        return _end(state, AttemptState.FINALIZED_OK, IntentState.DONE, stop)
    if event.outcome in LOST:
        return _end(state, AttemptState.FINALIZED_ERR, IntentState.GONE, _lost(event.outcome, slot))
    cause = Cause(event.outcome.value)
    stop = Stop(result=Result.FAILED, cause=cause, reason=f"{cause}:{event.text}", slot=slot)
    held = IntentState.HELD if event.outcome is Outcome.BUG else None
    return _end(state, AttemptState.FINALIZED_ERR, held, stop)


def _proven(state: Sending, attempt: Attempt, event: Proven) -> Stepped:
    """End as expired; where a preflight told that somebody was first, that was the reason."""
    invariant(attempt.state is not AttemptState.SEEN, "a SEEN attempt was called expired")
    unsent = attempt.state is AttemptState.SIGNED
    terminal = AttemptState.VOID if unsent else AttemptState.EXPIRED
    state = replace(state, final_slot=event.slot)
    if state.preflight in LOST:
        return _end(state, terminal, IntentState.GONE, _lost(state.preflight, event.slot))
    cause = Cause.EXPIRED if state.preflight is None else Cause(state.preflight.value)
    reason = "expired" if state.preflight is None else f"expired:{state.preflight}"
    held = IntentState.HELD if state.preflight is Outcome.BUG else None
    return _end(state, terminal, held, Stop(result=Result.FAILED, cause=cause, reason=reason))


def _end(state: Sending, terminal: AttemptState, intent: IntentState | None, stop: Stop) -> Stepped:
    ending = End(state=terminal, intent=intent, stop=stop)
    return replace(state, ending=ending), (ending,)


def _ended(state: Sending) -> Stepped:
    ending = present(state.ending, "an end that nobody asked for")
    return replace(state, phase=Phase.OVER), (Report(stop=ending.stop),)


def objection(state: Sending, read: ReadAfresh) -> Stop | None:
    """Return why the fresh read does not confirm the decision, else None."""
    verdict = read.verdict
    if read.gone or read.generation not in {None, state.generation}:
        reason = "gone" if read.gone else "reopened"
        return Stop(result=Result.GONE, cause=Cause.GONE, reason=reason, slot=read.slot)
    if verdict is None:
        return _refused(Cause.LAYOUT, "layout", read.slot)
    if verdict.liquidatable is False:
        return Stop(result=Result.RECOVERED, cause=Cause.HEALTHY, reason="healthy", slot=read.slot)
    if verdict.liquidatable is None:
        reason = verdict.unknown_reason or "unknown"
        return _refused(_cause_of(reason, Cause.LAYOUT), reason, read.slot)
    blocked = blocker(verdict, state.rules.limits)
    if blocked is None:
        return None
    return _refused(_cause_of(blocked, Cause.GUARD), blocked, read.slot)


def _cause_of(reason: str, otherwise: Cause) -> Cause:
    if reason.startswith("price_") or reason in DOUBTS:
        return Cause.ORACLE
    return Cause.PAUSED if reason.endswith("_paused") else otherwise


def _refused(cause: Cause, reason: str, slot: int = 0) -> Stop:
    return Stop(result=Result.REFUSED, cause=cause, reason=reason, slot=slot)


def _failed_trial(outcome: Outcome, text: str) -> Stop:
    result = {Outcome.HEALTHY: Result.RECOVERED, Outcome.GONE: Result.GONE}.get(
        outcome, Result.FAILED
    )
    return Stop(result=result, cause=Cause(outcome.value), reason=f"{outcome}:{text}")


def _denied(heard: Heard) -> Stop | None:
    """Return why the program's own view keeps an estimate from being acted on, or None."""
    if heard.liquidatable is True:
        return None
    if heard.liquidatable is False:
        return _refused(Cause.HEALTHY, "view_disagrees", heard.slot)
    return _refused(Cause.ORACLE, "view_silent", heard.slot)


def _lost(outcome: Outcome | None, slot: int) -> Stop:
    reason = "" if outcome is None else outcome.value
    return Stop(result=Result.LOST_RACE, cause=Cause.LOST_RACE, reason=reason, slot=slot)
