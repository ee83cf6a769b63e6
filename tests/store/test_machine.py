"""An engine and memory, driven by the same random calls, answer the same."""

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from liqctl.core.intent import LIVE, AttemptState, Claim, Ending, IntentState
from liqctl.core.record import Exclusion, QueueOrder
from tests.store.records import attempt, failure, liquidation, queue_row, request
from tests.store.two_stores import TwoStores

owners = st.sampled_from(["a", "b"])
positions = st.sampled_from(["p", "q"])
generations = st.sampled_from([1, 2**64 - 1])
indexes = st.integers(0, 30)
LEASE_MS = 10


class SameAnswers(TwoStores):
    def __init__(self) -> None:
        super().__init__()
        self.claims: list[Claim] = []
        self.signatures: list[str] = []

    @rule(ms=st.integers(-3, 12))
    def time_passes(self, ms):
        self.now_ms = max(0, self.now_ms + ms)

    @rule(owner=owners, position=positions, generation=generations, slot=st.integers(0, 9))
    def claim(self, owner, position, generation, slot):
        wanted = request(position, generation, decision_slot=slot)
        claim = self.both(lambda s: s.claim(wanted, owner, self.now_ms, LEASE_MS))
        if claim is not None:
            self.claims.append(claim)

    @rule(owner=owners, intent_id=st.integers(0, 6))
    def adopt(self, owner, intent_id):
        claim = self.both(lambda s: s.adopt(intent_id, owner, self.now_ms, LEASE_MS))
        if claim is not None:
            self.claims.append(claim)

    def some_claim(self, index: int) -> Claim | None:
        return self.claims[-1 - index % len(self.claims)] if self.claims else None

    @rule(index=indexes)
    def renew(self, index):
        if claim := self.some_claim(index):
            self.both(lambda s: s.renew(claim, self.now_ms, LEASE_MS))

    @rule(index=indexes)
    def release(self, index):
        if claim := self.some_claim(index):
            self.both(lambda s: s.release(claim, self.now_ms))

    @rule(index=st.integers(0, 3), state=st.sampled_from(IntentState))
    def end_intent(self, index, state):
        if claim := self.some_claim(index):
            self.both(lambda s: s.end_intent(claim, state, "why", self.now_ms))

    @rule(position=st.sampled_from([None, "p"]))
    def reopen_held(self, position):
        self.both(lambda s: s.reopen_held(self.now_ms, position=position))

    @rule(index=st.integers(0, 2), n=st.integers(1, 3), position=positions)
    def record_attempt(self, index, n, position):
        if claim := self.some_claim(index):
            signature = f"s{len(self.signatures)}"
            signed = attempt(claim, signature, n, position=position)
            if self.both(lambda s: s.record_attempt(claim, signed, self.now_ms)) is True:
                self.signatures.append(signature)

    def some_signature(self, index: int) -> str:
        known = self.signatures or ["unknown"]
        return known[-1 - index % len(known)]

    @rule(index=st.integers(0, 4))
    def mark_sent(self, index):
        self.both(lambda s: s.mark_sent(self.some_signature(index), self.now_ms))

    @rule(index=st.integers(0, 4), slot=st.integers(0, 9))
    def mark_seen(self, index, slot):
        self.both(lambda s: s.mark_seen(self.some_signature(index), slot, "confirmed"))

    @rule(index=st.integers(0, 4))
    def mark_unseen(self, index):
        self.both(lambda s: s.mark_unseen(self.some_signature(index)))

    @rule(
        index=st.integers(0, 4),
        state=st.sampled_from([s for s in AttemptState if s not in LIVE]),
        fee=st.sampled_from([None, 5_000]),
        proof=st.sampled_from([None, "{}"]),
        failed=st.booleans(),
        intent=st.sampled_from([None, *IntentState]),
    )
    def end_attempt(self, index, state, fee, proof, failed, intent):
        signature = self.some_signature(index)
        won = state is AttemptState.FINALIZED_OK
        ending = Ending(state=state, fee_lamports=fee, proof_json=proof)
        self.both(
            lambda s: s.end_attempt(
                signature,
                ending,
                liquidation=liquidation(signature, fee_lamports=fee) if won else None,
                failure=failure(signature=signature) if failed else None,
                intent_state=intent,
                now_ms=self.now_ms,
            )
        )

    @rule(position=positions, health=st.floats(), order=st.sampled_from([None, *QueueOrder]))
    def queue(self, position, health, order):
        row = queue_row(position, health, size=2**63 if health < 0 else 1)
        if order is None:
            self.both(lambda s: s.put_queue([row], ["q"]))
        elif order is QueueOrder.ENQUEUE:
            self.both(lambda s: s.order_queue([row]))
        else:
            self.both(lambda s: s.set_order(position, order))

    @rule()
    def take_orders(self):
        self.both(lambda s: [repr(row) for row in s.take_orders(self.now_ms)])

    @rule(position=positions, lasts_ms=st.none() | st.integers(-1, 20))
    def exclude(self, position, lasts_ms):
        exclusion = Exclusion(
            position=position,
            reason="x",
            since_ms=self.now_ms,
            until_ms=None if lasts_ms is None else self.now_ms + lasts_ms,
        )
        self.both(lambda s: s.exclude(exclusion))

    @rule(position=positions)
    def include(self, position):
        self.both(lambda s: s.include(position))

    @rule(keep=st.integers(0, 3))
    def prune_events(self, keep):
        self.both(lambda s: s.prune_events(keep))

    @invariant()
    def both_hold_the_same(self):
        live = self.both(lambda s: s.live_attempts())
        assert len({row.intent_id for row in live}) == len(live)
        self.both(lambda s: [s.intent_of(signature) for signature in self.signatures[-5:]])
        self.both(lambda s: s.spent_lamports(self.now_ms - 5))
        self.both(lambda s: s.totals())
        self.both(lambda s: [replace(row, id=None) for row in s.recent_liquidations()])
        self.both(lambda s: s.recent_failures())
        self.both(lambda s: s.attempts())
        self.both(lambda s: s.attempts(state="SIGNED", before_ms=self.now_ms))
        self.both(lambda s: s.attempt_counts())
        self.both(lambda s: s.failure_classes())
        self.both(lambda s: s.daily(0))
        self.both(lambda s: s.events_since(0, 100))
        self.both(lambda s: s.last_seq())
        self.both(lambda s: [repr(row) for row in s.queue()])
        self.both(lambda s: s.exclusions())


TestSameAnswers = SameAnswers.TestCase
TestSameAnswers.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
