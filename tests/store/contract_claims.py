"""What every store promises about who may work on an intent, and for how long."""

from dataclasses import replace

import pytest

from liqctl.core.intent import AttemptState, Ending, IntentState
from liqctl.errors import StoreError
from liqctl.ports import Store
from tests.store.records import (
    ERR,
    OK,
    attempt,
    liquidation,
    request,
)
from tests.store.steps import LEASE_MS, claimed, end, recorded


class ClaimContract:
    """Subclasses give the fixture `store`."""

    def test_the_first_claim_records_step_one(self, store: Store) -> None:
        claim = claimed(store)

        assert (claim.key, claim.owner, claim.fence, claim.attempts) == ("prog:pos:7:1", "me", 1, 0)

    def test_another_owner_gets_nothing_until_the_lease_has_ended(self, store: Store) -> None:
        first = claimed(store)

        assert store.claim(request(), "other", LEASE_MS - 1, LEASE_MS) is None
        taken = store.claim(request(), "other", LEASE_MS, LEASE_MS)
        assert taken is not None
        assert (taken.intent_id, taken.fence, taken.owner) == (first.intent_id, 2, "other")

    def test_the_same_owner_may_claim_again_and_gets_a_higher_fence(self, store: Store) -> None:
        first, second = claimed(store), claimed(store)

        assert second == replace(first, fence=2)
        assert not store.record_attempt(first, attempt(first), 1)
        assert store.record_attempt(second, attempt(second), 1)

    def test_a_released_intent_is_free_at_once_and_stays_as_it_is(self, store: Store) -> None:
        first = claimed(store)
        store.release(first, 1)

        second = claimed(store, owner="other", now_ms=1)

        assert second.intent_id == first.intent_id
        store.release(first, 2)
        assert store.renew(second, 2, LEASE_MS)

    def test_a_lease_that_has_ended_cannot_be_renewed(self, store: Store) -> None:
        claim = claimed(store)

        assert store.renew(claim, LEASE_MS - 1, LEASE_MS)
        assert store.renew(claim, 2 * LEASE_MS - 2, LEASE_MS)
        assert not store.renew(claim, 3 * LEASE_MS - 2, LEASE_MS)

    def test_an_ended_intent_leads_to_the_next_step_and_another_generation_to_step_one(
        self, store: Store
    ) -> None:
        first = claimed(store)
        assert store.end_intent(first, IntentState.GONE, "healthy", 1)

        assert claimed(store).key == "prog:pos:7:2"
        assert claimed(store, generation=8).key == "prog:pos:8:1"
        assert claimed(store, generation=2**64 - 1).key == f"prog:pos:{2**64 - 1}:1"

    def test_a_new_claim_renews_the_decision_of_an_intent_without_a_live_attempt(
        self, store: Store
    ) -> None:
        claimed(store)
        claim = claimed(store, decision_slot=200, snapshot_json='{"health":0.1}')

        assert store.record_attempt(claim, attempt(claim), 1)
        known = store.intent_of("sig")
        assert known == (
            request(decision_slot=200, snapshot_json='{"health":0.1}'),
            claim.intent_id,
            "OPEN",
        )

    def test_a_position_in_flight_cannot_be_claimed(self, store: Store) -> None:
        claim = recorded(store)

        assert store.claim(request(), "me", 2, LEASE_MS) is None
        assert store.claim(request(), "other", 10 * LEASE_MS, LEASE_MS) is None
        end(store, ERR)
        again = claimed(store, now_ms=3)
        assert (again.intent_id, again.attempts) == (claim.intent_id, 1)

    def test_a_position_in_flight_cannot_be_claimed_under_another_generation(
        self, store: Store
    ) -> None:
        recorded(store)

        assert store.claim(request(generation=8), "other", 2, LEASE_MS) is None
        assert claimed(store, program="elsewhere", generation=8).key == "elsewhere:pos:8:1"
        end(store, ERR)
        assert claimed(store, owner="other", now_ms=3, generation=8).key == "prog:pos:8:1"

    def test_of_two_generations_that_were_claimed_one_has_an_attempt_at_a_time(
        self, store: Store
    ) -> None:
        before, after = claimed(store), claimed(store, owner="other", generation=8)
        assert store.record_attempt(before, attempt(before), 1)

        assert not store.record_attempt(after, attempt(after, "second"), 1)
        end(store, ERR)
        assert store.record_attempt(after, attempt(after, "second"), 2)

    def test_a_live_attempt_is_adopted_after_the_lease_or_by_its_owner(self, store: Store) -> None:
        claim = recorded(store)

        assert store.adopt(claim.intent_id, "other", LEASE_MS - 1, LEASE_MS) is None
        mine = store.adopt(claim.intent_id, "me", 5, LEASE_MS)
        assert mine == replace(claim, fence=2, attempts=1)
        assert store.adopt(claim.intent_id, "other", 10 * LEASE_MS, LEASE_MS) is not None
        assert store.adopt(999, "me", 5, LEASE_MS) is None

    def test_a_claim_says_by_which_slot_everything_earlier_had_ended(self, store: Store) -> None:
        assert claimed(store).read_slot_min == 0
        end_of_first = Ending(state=AttemptState.EXPIRED, final_slot=700, proof_json="{}")
        recorded(store)
        end(store, end_of_first)

        again = claimed(store, now_ms=3)
        assert again.read_slot_min == 700
        assert store.record_attempt(again, attempt(again, "second", n=2), 4)
        assert store.adopt(again.intent_id, "me", 5, LEASE_MS) == replace(
            again, fence=again.fence + 1, attempts=2
        )
        end(store, OK, "second", row=liquidation("second"), intent=IntentState.DONE)

        assert claimed(store, generation=8).read_slot_min == 900
        assert claimed(store, position="another").read_slot_min == 0

    def test_an_attempt_that_ends_frees_the_lease_of_an_intent_that_stays_open(
        self, store: Store
    ) -> None:
        claim = recorded(store)
        end(store, ERR)

        assert not store.renew(claim, 1, LEASE_MS)
        assert store.claim(request(), "other", 2, LEASE_MS) is not None

    def test_a_lease_from_a_clock_that_was_set_back_holds_nobody_up(self, store: Store) -> None:
        hour_ms = 3_600_000
        claim = claimed(store, now_ms=hour_ms)

        assert store.adopt(claim.intent_id, "other", hour_ms - 1, LEASE_MS) is not None
        assert store.adopt(claim.intent_id, "third", hour_ms - 1, LEASE_MS) is None

    def test_an_ended_intent_cannot_be_adopted(self, store: Store) -> None:
        claim = recorded(store)
        end(store, OK, row=liquidation(), intent=IntentState.DONE)

        assert store.adopt(claim.intent_id, "me", 5, LEASE_MS) is None

    def test_a_held_intent_is_nobodys_until_it_is_reopened(self, store: Store) -> None:
        claim = claimed(store)
        assert store.end_intent(claim, IntentState.HELD, "breaker", 1)

        assert store.claim(request(), "me", 10 * LEASE_MS, LEASE_MS) is None
        assert store.adopt(claim.intent_id, "me", 10 * LEASE_MS, LEASE_MS) is None
        assert store.reopen_held(2, position="another") == 0
        assert store.reopen_held(2, position="pos") == 1
        assert claimed(store, now_ms=3).intent_id == claim.intent_id

    def test_a_stale_claim_ends_nothing(self, store: Store) -> None:
        first = claimed(store)
        second = claimed(store)

        assert not store.end_intent(first, IntentState.GONE, "", 1)
        assert store.end_intent(second, IntentState.GONE, "", 1)
        assert not store.end_intent(second, IntentState.FAILED, "", 1)

    def test_an_intent_is_not_done_without_a_success(self, store: Store) -> None:
        claim = claimed(store)

        with pytest.raises(StoreError):
            store.end_intent(claim, IntentState.DONE, "", 1)
        assert store.record_attempt(claim, attempt(claim), 1)
