"""The sending of one liquidation under every order of answers, errors and silences."""

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liqctl.core.events import Cause, Result
from liqctl.core.guards import Limits, Spending
from liqctl.core.health import Assessment, Kind
from liqctl.core.instruction import Outcome
from liqctl.core.intent import (
    ATTEMPT_EDGES,
    INTENT_EDGES,
    LIVE,
    Attempt,
    AttemptState,
    Claim,
    IntentState,
)
from liqctl.core.price_policy import Doubt
from liqctl.core.sending import Phase, Rules, Sending, begin, resume, step
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
    TakeClaim,
    Tried,
    Weigh,
    Weighed,
)
from liqctl.errors import InvariantError

CLAIM = Claim(intent_id=1, key="program:position:7:1", owner="me", fence=1, attempts=0)
RICH = Spending(balance_lamports=10**12, in_flight_lamports=0, hour_lamports=0, day_lamports=0)


def verdict(**changes: Any) -> Assessment:
    sound = Assessment(
        position="position",
        symbol="SOL",
        slot=100,
        liquidatable=True,
        health=0.5,
        kind=Kind.FULL,
        reward=10**6,
    )
    return replace(sound, **changes)


def attempt(**changes: Any) -> Attempt:
    values: dict[str, Any] = {
        "signature": "sig",
        "intent_id": 1,
        "n": 1,
        "position": "position",
        "symbol": "SOL",
        "raw": b"signed",
        "blockhash": "hash",
        "last_valid_block_height": 150,
        "min_context_slot": 90,
        "compute_unit_limit": 200_000,
        "compute_unit_price_micro_lamports": 1,
        "max_cost_lamports": 5_001,
    }
    return Attempt(**{**values, **changes})


def confirmed_read(slot: int = 101) -> ReadAfresh:
    return ReadAfresh(slot=slot, generation=7, verdict=verdict())


def checked(rules: Rules | None = None, *answers: Event) -> tuple[Sending, tuple[Effect, ...]]:
    """Answer everything that CHECKING asks for, by default so that it goes on."""
    state, effects = begin("position", 7, rules or Rules())
    given = answers or (Claimed(claim=CLAIM), confirmed_read(), Tried(slot=101))
    for event in given:
        state, effects = step(state, event)
    return state, effects


def live(state: AttemptState = AttemptState.SENT, **changes: Any) -> Sending:
    """An attempt in the air."""
    resumed, _ = resume(CLAIM, attempt(state=state, **changes), 7, Rules())
    return resumed


def looked(state: Sending, level: str | None, *, height: int = 0, now_ms: int = 0) -> Any:
    return step(state, Looked(level=level, slot=120, finalized_height=height, now_ms=now_ms))


def ended(effects: tuple[Effect, ...]) -> End:
    [effect] = effects
    assert isinstance(effect, End)
    return effect


def reported(effects: tuple[Effect, ...]) -> Report:
    [report] = [effect for effect in effects if isinstance(effect, Report)]
    return report


def test_claim_read_and_trial_are_asked_for_at_once_and_then_weighed_signed_and_sent():
    state, effects = begin("position", 7, Rules())
    assert {type(effect) for effect in effects} == {TakeClaim, ReadFresh, Simulate}

    state, effects = checked()
    assert effects == (Weigh(),)
    state, effects = step(state, Weighed(cost_lamports=5_001, spending=RICH))
    assert effects == (SignAndRecord(cost_lamports=5_001, n=1),)
    state, effects = step(state, Recorded(attempt=attempt()))
    assert (state.phase, effects) == (Phase.LIVE, (Send(first=True),))


def test_a_trial_older_than_the_read_is_made_again_at_its_slot():
    state, effects = checked(
        None,
        Claimed(claim=CLAIM),
        Tried(slot=99, outcome=Outcome.HEALTHY, text="x"),
        confirmed_read(101),
    )
    assert effects == (Simulate(min_context_slot=101),)

    _, effects = step(state, Tried(slot=101))
    assert effects == (Weigh(),)


def estimated(slot: int = 101) -> ReadAfresh:
    return ReadAfresh(slot=slot, generation=7, verdict=verdict(exact=False))


@pytest.mark.parametrize("sends", [True, False])
def test_an_estimate_is_acted_on_only_after_the_program_itself_has_said_yes(sends):
    answers: list[Event] = [estimated(), Tried(slot=101)]
    if sends:
        answers.append(Claimed(claim=CLAIM))
    state, effects = checked(Rules(sends=sends), *answers)
    assert effects == (Ask(min_context_slot=101),)

    # A node that answers from before the read is asked again.
    state, effects = step(state, Heard(slot=100, liquidatable=True))
    assert effects == (Ask(min_context_slot=101),)
    _, effects = step(state, Heard(slot=101, liquidatable=True))
    assert effects == (Weigh(),) if sends else reported(effects).stop.reason == "dry_run"


@pytest.mark.parametrize(
    ("said", "reason", "cause"),
    [(False, "view_disagrees", Cause.HEALTHY), (None, "view_silent", Cause.ORACLE)],
)
def test_an_estimate_that_the_program_does_not_share_is_refused(said, reason, cause):
    state, _ = checked(None, Claimed(claim=CLAIM), estimated(), Tried(slot=101))

    state, effects = step(state, Heard(slot=101, liquidatable=said))

    stop = reported(effects).stop
    assert (stop.result, stop.reason, stop.cause) == (Result.REFUSED, reason, cause)
    assert state.phase is Phase.OVER
    assert Release() in effects


def test_nobody_is_asked_about_an_estimate_that_stops_for_another_reason():
    failed = Tried(slot=101, outcome=Outcome.PAUSED, text="x")
    for answers in (
        (Claimed(claim=CLAIM), failed, estimated()),
        (Claimed(claim=None), Tried(slot=101), estimated()),
    ):
        state, _ = checked(None, *answers)
        assert state.phase is Phase.OVER


def test_what_ended_last_must_be_seen_before_the_position_is_judged_again():
    claim = replace(CLAIM, read_slot_min=150)
    state, effects = checked(None, Claimed(claim=claim), confirmed_read(), Tried(slot=101))
    assert effects == (ReadFresh(min_context_slot=150),)

    state, effects = step(state, ReadAfresh(slot=151, gone=True))
    assert effects == (
        EndIntent(state=IntentState.GONE, reason="gone"),
        Report(stop=reported(effects).stop),
    )


@pytest.mark.parametrize(
    ("read", "result", "cause"),
    [
        (ReadAfresh(slot=101, gone=True), Result.GONE, Cause.GONE),
        (ReadAfresh(slot=101), Result.REFUSED, Cause.LAYOUT),
        (ReadAfresh(slot=101, generation=8, verdict=verdict()), Result.GONE, Cause.GONE),
        (
            ReadAfresh(slot=101, generation=7, verdict=verdict(liquidatable=False)),
            Result.RECOVERED,
            Cause.HEALTHY,
        ),
        (
            ReadAfresh(
                slot=101,
                generation=7,
                verdict=verdict(liquidatable=None, unknown_reason="price_stale"),
            ),
            Result.REFUSED,
            Cause.ORACLE,
        ),
        (
            ReadAfresh(slot=101, generation=7, verdict=verdict(blockers=("market_paused",))),
            Result.REFUSED,
            Cause.PAUSED,
        ),
        (
            ReadAfresh(slot=101, generation=7, verdict=verdict(price_age_s=61)),
            Result.REFUSED,
            Cause.ORACLE,
        ),
        *(
            (
                ReadAfresh(slot=101, generation=7, verdict=verdict(blockers=(doubt,))),
                Result.REFUSED,
                Cause.ORACLE,
            )
            for doubt in Doubt
        ),
    ],
    ids=["gone", "no position", "reopened", "healthy", "stale", "paused", "own limit", *Doubt],
)
def test_a_read_that_does_not_confirm_the_decision_signs_nothing(read, result, cause):
    _, effects = checked(None, Claimed(claim=CLAIM), Tried(slot=101), read)

    stop = reported(effects).stop
    assert (stop.result, stop.cause) == (result, cause)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_a_trial_that_fails_signs_nothing_and_keeps_its_cause(outcome):
    tried = Tried(slot=101, outcome=outcome, text="Name(1)")
    state, effects = checked(None, tried, confirmed_read(), Claimed(claim=CLAIM))

    assert state.phase is Phase.OVER
    assert reported(effects).stop.cause == Cause(outcome.value)
    assert Release() in effects


@pytest.mark.parametrize(
    ("weighed", "reason", "cause"),
    [
        ({"hold": "kill_switch"}, "kill_switch", Cause.GUARD),
        ({"unprofitable": "reward_below_cost"}, "reward_below_cost", Cause.GUARD),
        ({"cost_lamports": 10**9}, "cost_over_transaction_cap", Cause.GUARD),
        ({"spending": replace(RICH, balance_lamports=5)}, "balance_too_low", Cause.NO_FUNDS),
        ({"spending": replace(RICH, hour_lamports=10**9)}, "cost_over_hour_cap", Cause.GUARD),
    ],
)
def test_a_guard_refuses_before_anything_is_signed(weighed, reason, cause):
    state, _ = checked()
    values: dict[str, Any] = {"cost_lamports": 5_001, "spending": RICH, **weighed}

    state, effects = step(state, Weighed(**values))

    stop = reported(effects).stop
    assert (state.phase, stop.reason, stop.cause) == (Phase.OVER, reason, cause)
    assert Release() in effects


def test_an_intent_whose_allowance_is_spent_fails():
    claim = replace(CLAIM, attempts=3)
    state, _ = checked(
        Rules(limits=Limits(attempts_max=3)),
        Claimed(claim=claim),
        confirmed_read(),
        Tried(slot=101),
    )
    _, effects = step(state, Weighed(cost_lamports=5_001, spending=RICH))

    assert EndIntent(state=IntentState.FAILED, reason="attempts_spent") in effects


def test_a_claim_lost_before_the_commit_sends_nothing_and_releases_nothing():
    state, _ = checked()
    state, _ = step(state, Weighed(cost_lamports=5_001, spending=RICH))
    state, effects = step(state, Recorded(attempt=None))

    assert state.phase is Phase.OVER
    assert reported(effects).stop.cause is Cause.BUSY
    assert len(effects) == 1


@pytest.mark.parametrize("level", ["processed", "confirmed"])
def test_nothing_below_finalized_ends_an_attempt_and_a_rollback_sends_it_back(level):
    state, effects = looked(live(), level, height=10**6)
    assert effects == (NoteSeen(slot=120, level=level),)
    state, _ = step(state, Noted(state=AttemptState.SEEN, slot=120))

    state, effects = looked(state, None, height=10**6)

    assert effects == (NoteUnseen(),)


def test_absence_past_the_last_valid_height_asks_for_the_proof_and_only_that_ends_it():
    _, effects = looked(live(), None, height=150)
    assert effects == () or effects == (Send(first=False),)
    state, effects = looked(live(), None, height=151)
    assert effects == (ProveExpiry(),)

    state, effects = step(state, Proven(slot=300))
    assert ended(effects).state is AttemptState.EXPIRED
    state, effects = step(state, Ended())
    assert state.phase is Phase.OVER
    assert effects == (Report(stop=reported(effects).stop),)


def test_the_same_bytes_go_out_again_only_when_due_and_not_without_hope():
    state = live()
    _, effects = looked(state, None, now_ms=1_999)
    assert effects == ()
    _, effects = looked(state, None, now_ms=2_000)
    assert effects == (Send(first=False),)

    state, _ = step(state, Answered(now_ms=0, hopeless=True))
    _, effects = looked(state, None, now_ms=60_000)
    assert effects == ()


def test_an_expiry_after_a_lost_preflight_is_a_lost_race_and_after_a_bug_is_held():
    for outcome, result, intent in [
        (Outcome.GONE, Result.LOST_RACE, IntentState.GONE),
        (Outcome.BUG, Result.FAILED, IntentState.HELD),
        (Outcome.ORACLE, Result.FAILED, None),
    ]:
        state, _ = step(live(), Answered(now_ms=0, hopeless=True, preflight=outcome))
        _, effects = step(state, Proven(slot=300))
        assert (ended(effects).stop.result, ended(effects).intent) == (result, intent)


def test_a_finalized_transaction_ends_by_what_the_ledger_tells():
    state, effects = looked(live(), "finalized")
    assert effects == (ReadLedger(),)
    for outcome, terminal, intent, result in [
        (None, AttemptState.FINALIZED_OK, IntentState.DONE, Result.LANDED),
        (Outcome.HEALTHY, AttemptState.FINALIZED_ERR, IntentState.GONE, Result.LOST_RACE),
        (Outcome.ORACLE, AttemptState.FINALIZED_ERR, None, Result.FAILED),
        (Outcome.BUG, AttemptState.FINALIZED_ERR, IntentState.HELD, Result.FAILED),
    ]:
        _, effects = step(state, LedgerRead(told=True, outcome=outcome, text="x"))
        end = ended(effects)
        assert (end.state, end.intent, end.stop.result) == (terminal, intent, result)
        assert end.stop.slot == 120


def test_a_ledger_that_stays_silent_is_asked_a_bounded_number_of_times():
    state = live()
    for _ in range(Rules().ledger_reads_max - 1):
        state, _ = looked(state, "finalized")
        state, effects = step(state, LedgerRead(told=False))
        assert effects == ()
    state, effects = step(state, LedgerRead(told=False))
    assert ended(effects).state is AttemptState.FINALIZED_OK


def test_an_event_out_of_place_is_a_broken_promise():
    with pytest.raises(InvariantError):
        step(live(), Weighed(cost_lamports=1, spending=RICH))
    state, _ = checked()
    with pytest.raises(InvariantError):
        step(state, Answered(now_ms=0))
    with pytest.raises(InvariantError):
        step(live(AttemptState.SEEN), Proven(slot=1))


class Driver:
    """Performs effects as a hostile world would: any answer, any order, or none at all."""

    def __init__(self, dice: random.Random, rules: Rules) -> None:
        self.dice = dice
        self.sends_allowed = rules.sends
        self.recorded: Attempt | None = None
        self.finalized = self.proven = self.confirmed = self.exact = False
        self.signatures = 0
        self.reports: list[Report] = []
        self.intent = IntentState.NEW
        self.state, effects = begin("position", 7, rules)
        self.waiting: list[Effect] = list(effects)

    def run(self) -> None:
        for _ in range(200):
            if self.state.phase is Phase.OVER and not self.waiting:
                return
            event = self.next_event()
            if event is None:
                continue
            self.state, effects = step(self.state, event)
            self.check(effects)
            self.waiting.extend(effects)

    def next_event(self) -> Event | None:
        live_now = self.state.phase is Phase.LIVE
        if live_now and self.dice.random() < 0.02:
            self.waiting.clear()
            return LeaseLost()
        if not self.waiting:
            return self.look() if live_now else None
        effect = self.waiting.pop(self.dice.randrange(len(self.waiting)) if not live_now else 0)
        lost = live_now and self.dice.random() < 0.3
        return None if lost else self.answer(effect)

    def look(self) -> Looked:
        level = self.dice.choice([None, None, "processed", "confirmed", "finalized"])
        if level == "finalized":
            self.finalized = True
        return Looked(
            level=level,
            slot=120,
            finalized_height=self.dice.choice([100, 150, 151, 400]),
            now_ms=self.dice.randrange(100_000),
        )

    def answer(self, effect: Effect) -> Event | None:
        answers: dict[type, Callable[[Any], Event | None]] = {
            TakeClaim: lambda _: self.claimed(),
            ReadFresh: self.read,
            Simulate: lambda each: Tried(slot=self.slot(each), outcome=self.outcome()),
            Ask: self.heard,
            Weigh: lambda _: self.weighed(),
            SignAndRecord: lambda _: self.signed(),
            Send: lambda _: self.sent(),
            NoteSent: lambda _: self.noted_sent(),
            NoteSeen: lambda each: self.noted(AttemptState.SEEN, each.slot),
            NoteUnseen: lambda _: self.noted(AttemptState.SENT),
            ReadLedger: lambda _: self.ledger(),
            ProveExpiry: lambda _: self.proof(),
            End: lambda _: Ended(),
        }
        return answers.get(type(effect), lambda _: None)(effect)

    def outcome(self) -> Outcome | None:
        found: Outcome | None = self.dice.choice([None, None, *Outcome])
        return found

    def heard(self, effect: Ask) -> Heard:
        said = self.dice.choice([True, True, False, None])
        self.confirmed = said is True
        return Heard(slot=self.slot(effect), liquidatable=said)

    def slot(self, effect: ReadFresh | Simulate | Ask) -> int:
        return max(effect.min_context_slot, self.dice.randrange(95, 105))

    def claimed(self) -> Claimed:
        claim = replace(CLAIM, read_slot_min=self.dice.choice([0, 0, 150]))
        return Claimed(claim=self.dice.choice([claim, claim, None]))

    def read(self, effect: ReadFresh) -> ReadAfresh:
        self.exact = self.dice.random() < 0.5
        good = ReadAfresh(slot=self.slot(effect), generation=7, verdict=verdict(exact=self.exact))
        return self.dice.choice([good, good, good, ReadAfresh(slot=good.slot, gone=True)])

    def weighed(self) -> Weighed:
        hold = self.dice.choice([None, None, "kill_switch"])
        return Weighed(cost_lamports=5_001, spending=RICH, hold=hold)

    def signed(self) -> Recorded:
        self.signatures += 1
        self.recorded = self.dice.choice([attempt(), attempt(), None])
        return Recorded(attempt=self.recorded)

    def sent(self) -> Answered:
        assert self.recorded is not None
        return Answered(
            now_ms=self.dice.randrange(100_000),
            hopeless=self.dice.random() < 0.2,
            preflight=self.outcome(),
        )

    def noted_sent(self) -> Noted | None:
        assert self.state.attempt is not None
        unsent = self.state.attempt.state is AttemptState.SIGNED
        return Noted(state=AttemptState.SENT) if unsent else None

    def noted(self, state: AttemptState, slot: int | None = None) -> Noted:
        assert self.state.attempt is not None
        edge = (self.state.attempt.state, state)
        assert edge in ATTEMPT_EDGES or edge[0] is edge[1]
        return Noted(state=state, slot=slot)

    def ledger(self) -> LedgerRead:
        told = self.dice.random() < 0.6
        return LedgerRead(told=told, outcome=self.outcome() if told else None)

    def proof(self) -> Proven | None:
        self.proven = self.dice.random() < 0.5
        return Proven(slot=300) if self.proven else None

    def check(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case SignAndRecord():
                    assert self.sends_allowed
                    assert self.exact or self.confirmed
                case TakeClaim() | Send():
                    assert self.sends_allowed
                case End():
                    assert self.state.attempt is not None
                    assert (self.state.attempt.state, effect.state) in ATTEMPT_EDGES
                    expired = effect.state in {AttemptState.EXPIRED, AttemptState.VOID}
                    assert self.proven if expired else self.finalized
                    if effect.intent is not None:
                        assert (IntentState.OPEN, effect.intent) in INTENT_EDGES
                case Report():
                    self.reports.append(effect)
                case _:
                    pass


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32), dry=st.booleans())
def test_under_any_answers_bytes_leave_only_once_recorded_and_end_only_by_fact(seed, dry):
    driver = Driver(random.Random(seed), Rules(sends=not dry))
    driver.run()

    assert driver.signatures <= 1
    assert len(driver.reports) == (driver.state.phase is Phase.OVER)
    if driver.state.phase is Phase.OVER and driver.recorded is None:
        assert driver.reports[0].stop.result is not Result.LANDED
    if driver.state.attempt is not None:
        assert driver.state.attempt.state in LIVE


def orders(events: list[Event]) -> Iterator[list[Event]]:
    if not events:
        yield []
    for i, event in enumerate(events):
        for rest in orders(events[:i] + events[i + 1 :]):
            yield [event, *rest]


def test_the_order_of_the_three_answers_does_not_matter():
    given: list[Event] = [Claimed(claim=CLAIM), confirmed_read(), Tried(slot=101)]
    assert {checked(None, *each)[1] for each in orders(given)} == {(Weigh(),)}


def test_what_holds_when_a_slow_signature_comes_back_keeps_it_from_being_recorded():
    state, _ = checked()
    state, _ = step(state, Weighed(cost_lamports=5_001, spending=RICH))

    state, effects = step(state, Recorded(attempt=None, hold="kill_switch_row"))

    assert reported(effects).stop.reason == "kill_switch_row"
    assert Release() in effects


def test_an_answer_that_comes_after_it_was_seen_does_not_unsee_it():
    state = live(AttemptState.SEEN)

    state, effects = step(state, Answered(now_ms=1))

    assert effects == (NoteSent(),)
    assert state.attempt is not None
    assert state.attempt.state is AttemptState.SEEN
