"""What every store promises; run against each implementation."""

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from liqctl.core.intent import AttemptState, Claim, Ending, IntentState
from liqctl.core.record import Exclusion, FailureRow, Liquidation, QueueOrder, QueueState, Totals
from liqctl.errors import InvariantError, StoreError
from liqctl.ports import Store
from tests.store.records import (
    ERR,
    EXPIRED,
    OK,
    VOID,
    attempt,
    failure,
    liquidation,
    queue_row,
    request,
    sample,
)

LEASE_MS = 20_000


def claimed(store: Store, owner: str = "me", now_ms: int = 0, **changes: Any) -> Claim:
    claim = store.claim(request(**changes), owner, now_ms, LEASE_MS)
    assert claim is not None
    return claim


def recorded(store: Store, signature: str = "sig") -> Claim:
    claim = claimed(store)
    assert store.record_attempt(claim, attempt(claim, signature), 1_000)
    return claim


def end(
    store: Store,
    ending: Ending,
    signature: str = "sig",
    row: Liquidation | None = None,
    failed: FailureRow | None = None,
    intent: IntentState | None = None,
) -> None:
    store.end_attempt(
        signature, ending, liquidation=row, failure=failed, intent_state=intent, now_ms=2_000
    )


class StoreContract:
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

    def test_a_recorded_attempt_comes_back_whole(self, store: Store) -> None:
        claim = recorded(store)

        assert store.live_attempts() == [replace(attempt(claim), signed_ms=1_000)]
        assert store.intent_of("sig") == (request(), claim.intent_id, "OPEN")
        assert store.intent_of("unknown") is None

    @pytest.mark.parametrize("change", [{"owner": "other"}, {"fence": 2}, {"fence": 0}])
    def test_a_claim_that_is_not_ours_records_nothing(
        self, store: Store, change: dict[str, Any]
    ) -> None:
        claim = replace(claimed(store), **change)

        assert not store.record_attempt(claim, attempt(claim), 1)
        assert store.live_attempts() == []

    def test_nothing_is_recorded_after_the_lease(self, store: Store) -> None:
        claim = claimed(store)

        assert not store.record_attempt(claim, attempt(claim), LEASE_MS)
        assert store.record_attempt(claim, attempt(claim), LEASE_MS - 1)

    def test_nothing_is_recorded_for_another_position(self, store: Store) -> None:
        claim = claimed(store)

        assert not store.record_attempt(claim, attempt(claim, position="another"), 1)
        with pytest.raises(InvariantError):
            store.record_attempt(claim, replace(attempt(claim), intent_id=99), 1)

    def test_a_second_live_attempt_is_refused(self, store: Store) -> None:
        claim = recorded(store)

        with pytest.raises(StoreError):
            store.record_attempt(claim, attempt(claim, "sig2", 2), 1_001)
        assert [a.signature for a in store.live_attempts()] == ["sig"]

    def test_after_a_failure_on_chain_the_next_attempt_may_follow(self, store: Store) -> None:
        recorded(store)
        end(store, ERR, failed=failure())
        claim = claimed(store)

        assert store.record_attempt(claim, attempt(claim, "sig2", 2), 1_001)

    def test_after_a_success_no_attempt_of_the_same_intent_may_follow(self, store: Store) -> None:
        claim = recorded(store)
        end(store, OK, row=liquidation())

        assert not store.record_attempt(claim, attempt(claim, "sig2", 2), 1_001)

    def test_a_signature_or_number_is_recorded_once(self, store: Store) -> None:
        recorded(store)
        end(store, ERR)
        claim = claimed(store)

        with pytest.raises(StoreError):
            store.record_attempt(claim, attempt(claim, "sig", 2), 1_001)
        with pytest.raises(StoreError):
            store.record_attempt(claim, attempt(claim, "sig2", 1), 1_001)

    def test_an_attempt_is_recorded_only_as_signed(self, store: Store) -> None:
        claim = claimed(store)

        with pytest.raises(StoreError):
            store.record_attempt(claim, attempt(claim, state=AttemptState.SENT), 1)

    def test_sends_are_counted_and_the_first_one_makes_it_sent(self, store: Store) -> None:
        recorded(store)
        store.mark_sent("sig", 5)
        store.mark_sent("sig", 6)

        (found,) = store.live_attempts()
        assert (found.state, found.sends) == (AttemptState.SENT, 2)

    def test_a_seen_attempt_falls_back_to_sent_when_the_node_forgets_it(self, store: Store) -> None:
        recorded(store)
        store.mark_seen("sig", 77, "processed")
        store.mark_sent("sig", 6)
        (seen,) = store.live_attempts()
        store.mark_unseen("sig")
        (unseen,) = store.live_attempts()

        assert (seen.state, seen.seen_slot) == (AttemptState.SEEN, 77)
        assert (unseen.state, unseen.seen_slot) == (AttemptState.SENT, None)

    def test_news_that_come_after_the_end_change_nothing(self, store: Store) -> None:
        recorded(store)
        end(store, OK, row=liquidation(), intent=IntentState.DONE)

        store.mark_sent("sig", 5)
        store.mark_seen("sig", 5, "confirmed")
        store.mark_unseen("sig")
        assert store.live_attempts() == []

    def test_an_unknown_signature_is_an_error(self, store: Store) -> None:
        for call in (
            lambda: store.mark_sent("no", 1),
            lambda: store.mark_seen("no", 1, "processed"),
            lambda: store.mark_unseen("no"),
            lambda: end(store, OK),
        ):
            with pytest.raises(StoreError, match="knows no attempt"):
                call()

    def test_what_was_seen_does_not_expire(self, store: Store) -> None:
        recorded(store)
        store.mark_seen("sig", 77, "processed")

        with pytest.raises(StoreError):
            end(store, EXPIRED)
        assert len(store.live_attempts()) == 1

    def test_expiry_needs_its_proof(self, store: Store) -> None:
        recorded(store)

        for ending in (EXPIRED, VOID):
            with pytest.raises(StoreError):
                end(store, replace(ending, proof_json=None))
        end(store, VOID)

    def test_what_was_sent_is_not_void(self, store: Store) -> None:
        recorded(store)
        store.mark_sent("sig", 2)

        with pytest.raises(StoreError):
            end(store, VOID)
        end(store, EXPIRED)

    def test_an_end_is_final(self, store: Store) -> None:
        recorded(store)
        end(store, ERR)

        with pytest.raises(StoreError):
            end(store, OK, row=liquidation())
        assert store.recent_liquidations() == []
        assert store.events_since(0, 10) == []

    def test_a_success_writes_row_event_and_intent(self, store: Store) -> None:
        claim = recorded(store)
        end(store, OK, row=liquidation(), intent=IntentState.DONE)

        assert store.recent_liquidations() == [replace(liquidation(), id=1)]
        (event,) = store.events_since(0, 10)
        assert (event.seq, event.kind, event.at_ms) == (1, "liquidation", 1_700_000_000_123)
        assert json.loads(event.body_json) == {
            "type": "liquidation",
            "position_id": "pos",
            "symbol": "SOL-PERP",
            "amount": 1_500_000_000,
            "price": 142_000_000,
            "reward": 2_130_000,
            "bad_debt": 40,
            "is_full": True,
            "health_before": 0.75,
            "signature": "sig",
            "slot": 900,
            "timestamp": 1_700_000_000,
        }
        assert store.intent_of("sig") == (request(), claim.intent_id, "DONE")
        assert claimed(store, owner="other").key == "prog:pos:7:2"

    def test_if_one_part_is_refused_none_is_written(self, store: Store) -> None:
        recorded(store)

        with pytest.raises(StoreError):
            end(store, ERR, failed=failure(), intent=IntentState.DONE)
        assert len(store.live_attempts()) == 1
        assert store.recent_failures() == []
        assert store.spent_lamports(0) == 205_000

    def test_a_failure_may_leave_the_intent_open_or_end_it(self, store: Store) -> None:
        claim = recorded(store)
        end(store, ERR, failed=failure())
        assert store.intent_of("sig") == (request(), claim.intent_id, "OPEN")

        claim = claimed(store)
        assert store.record_attempt(claim, attempt(claim, "sig2", 2), 1_001)
        end(store, ERR, signature="sig2", failed=failure("bug"), intent=IntentState.FAILED)

        assert store.intent_of("sig2") == (request(), claim.intent_id, "FAILED")
        assert [row.failure_class for row in store.recent_failures()] == ["bug", "oracle"]

    def test_what_the_ledger_told_later_is_filled_in_once(self, store: Store) -> None:
        recorded(store)
        decided = liquidation(fee_lamports=None, liquidator_reward=1, timestamp=5)
        end(store, replace(OK, fee_lamports=None), row=decided, intent=IntentState.DONE)
        [unpriced] = store.unpriced_attempts(10)
        assert (unpriced.signature, unpriced.final_slot) == ("sig", 900)
        assert store.unpriced_attempts(0) == []

        told = liquidation(fee_lamports=7_000, liquidator_reward=2, timestamp=6)
        store.price_attempt("sig", 7_000, told)
        store.price_attempt("sig", 9_000, replace(told, fee_lamports=9_000, liquidator_reward=3))

        assert store.unpriced_attempts(10) == []
        assert store.spent_lamports(0) == 7_000
        [row] = store.recent_liquidations()
        assert (row.fee_lamports, row.liquidator_reward, row.timestamp) == (7_000, 2, 6)
        assert row.created_at == decided.created_at

    def test_the_same_end_again_only_fills_in_what_was_missing(self, store: Store) -> None:
        recorded(store)
        bare = replace(OK, fee_lamports=None)
        end(store, bare, row=liquidation(fee_lamports=None), intent=IntentState.DONE)
        assert store.spent_lamports(0) == 205_000

        end(store, OK, row=liquidation(), failed=failure(), intent=IntentState.DONE)

        assert store.spent_lamports(0) == 5_000
        assert [row.fee_lamports for row in store.recent_liquidations()] == [5_000]
        assert len(store.events_since(0, 10)) == 1
        assert store.recent_failures() == []
        end(store, bare)
        assert store.spent_lamports(0) == 5_000

    def test_a_liquidation_has_the_name_of_its_attempt(self, store: Store) -> None:
        recorded(store)

        with pytest.raises(InvariantError):
            end(store, OK, row=liquidation("another"))

    def test_spent_counts_live_ones_in_full_and_final_ones_by_their_fee(self, store: Store) -> None:
        recorded(store)
        assert store.spent_lamports(1_000) == 205_000
        assert store.spent_lamports(1_001) == 0

        end(store, ERR)
        assert store.spent_lamports(0) == 5_000

    def test_what_expired_cost_nothing(self, store: Store) -> None:
        recorded(store)
        end(store, EXPIRED)

        assert store.spent_lamports(0) == 0

    @pytest.mark.parametrize("size", [2**63 - 1, 2**63, 2**64 - 1, 2**128 - 1])
    def test_amounts_beyond_63_bits_come_back_exactly(self, store: Store, size: int) -> None:
        recorded(store)
        row = liquidation(liquidated_size=size, liquidator_reward=size, fund_delta=-size)
        end(store, OK, row=row, intent=IntentState.DONE)
        store.put_queue([queue_row(size=size)], [])
        store.record_insurance(sample(balance=size))

        assert store.recent_liquidations() == [replace(row, id=1)]
        assert store.totals().rewards == size
        assert store.queue()[0].size == size
        assert store.insurance_history(1)[0].balance == size
        assert json.loads(store.events_since(0, 1)[0].body_json)["amount"] == str(size)

    def test_totals_add_up_beyond_63_bits(self, store: Store) -> None:
        amounts = [2**63 - 1, 2**63 - 1, 2**64, 1]
        for i, amount in enumerate(amounts):
            claim = claimed(store, generation=i)
            assert store.record_attempt(claim, attempt(claim, f"s{i}"), 1)
            row = liquidation(
                f"s{i}", liquidator_reward=amount, bad_debt=amount, is_full_liquidation=i > 0
            )
            end(store, OK, signature=f"s{i}", row=row, intent=IntentState.DONE)
        store.record_failure(failure())
        store.record_failure(failure("lost_race"))

        assert store.totals() == Totals(
            full=3,
            partial=1,
            failed=1,
            lost_races=1,
            rewards=sum(amounts),
            bad_debt=sum(amounts),
            fees_lamports=20_000,
        )

    def test_an_empty_store_has_empty_totals(self, store: Store) -> None:
        assert store.totals() == Totals(
            full=0, partial=0, failed=0, lost_races=0, rewards=0, bad_debt=0, fees_lamports=0
        )

    @pytest.mark.parametrize("health", [math.inf, -math.inf, math.nan])
    def test_a_health_that_is_no_number_leaves_json_valid(
        self, store: Store, health: float
    ) -> None:
        recorded(store)
        end(store, OK, row=liquidation(health_factor_before=health), intent=IntentState.DONE)

        (row,) = store.recent_liquidations()
        assert not math.isinf(row.health_factor_before)
        assert math.isnan(row.health_factor_before) == math.isnan(health)
        assert json.loads(store.events_since(0, 1)[0].body_json)["health_before"] is None

    def test_liquidations_come_newest_first_filtered_and_bounded(self, store: Store) -> None:
        for i, symbol in enumerate(["SOL-PERP", "BTC-PERP", "SOL-PERP"]):
            claim = claimed(store, position=f"p{i}")
            assert store.record_attempt(claim, attempt(claim, f"s{i}", position=f"p{i}"), i)
            row = liquidation(f"s{i}", symbol=symbol, position_pubkey=f"p{i}")
            end(store, OK, signature=f"s{i}", row=row, intent=IntentState.DONE)

        def found(**query):
            return [row.signature for row in store.recent_liquidations(**query)]

        assert found() == ["s2", "s1", "s0"]
        assert found(symbol="SOL-PERP") == ["s2", "s0"]
        assert found(position="p1") == ["s1"]
        assert found(symbol="SOL-PERP", position="p1") == []
        assert found(limit=1) == ["s2"]
        assert found(limit=0) == found(limit=-1) == []

    def test_failures_come_newest_first_filtered_and_bounded(self, store: Store) -> None:
        store.record_failure(failure("a"))
        store.record_failure(failure("b", position_pubkey="other", signature=None, slot=None))

        assert store.recent_failures() == [
            failure("b", position_pubkey="other", signature=None, slot=None),
            failure("a"),
        ]
        assert store.recent_failures(position="pos") == [failure("a")]
        assert store.recent_failures(limit=-1) == []

    def test_events_have_a_growing_number_and_are_read_from_any_of_them(self, store: Store) -> None:
        assert store.last_seq() == 0
        assert [store.append_event("queue", f'{{"n":{i}}}', i) for i in range(4)] == [1, 2, 3, 4]

        assert [row.seq for row in store.events_since(1, 2)] == [2, 3]
        assert store.events_since(4, 10) == []
        assert store.events_since(0, -1) == []
        assert store.last_seq() == 4

    def test_pruning_keeps_the_newest_and_never_uses_a_number_again(self, store: Store) -> None:
        for i in range(5):
            store.append_event("queue", "{}", i)

        assert store.prune_events(5) == store.prune_events(6) == 0
        assert store.prune_events(2) == 3
        assert [row.seq for row in store.events_since(0, 10)] == [4, 5]
        assert store.prune_events(0) == 2
        assert store.prune_events(0) == 0
        assert store.last_seq() == 5
        assert store.append_event("queue", "{}", 9) == 6

    @pytest.mark.parametrize("text", ["", "{", '{"x":NaN}', "Infinity"])
    def test_what_is_not_json_is_refused(self, store: Store, text: str) -> None:
        with pytest.raises(StoreError):
            store.append_event("queue", text, 1)
        with pytest.raises(StoreError):
            store.put_state("keeper", text, 1)

    def test_insurance_history_is_bounded_and_oldest_first(self, store: Store) -> None:
        for at_ms in range(5):
            store.record_insurance(sample(at_ms))

        assert store.insurance_history(3) == [sample(2), sample(3), sample(4)]
        assert store.insurance_history(0) == store.insurance_history(-1) == []
        assert len(store.insurance_history(99)) == 5

    def test_state_is_overwritten_by_name(self, store: Store) -> None:
        store.put_state("keeper", "{}", 1)
        store.put_state("keeper", '{"a":1}', 2)

        assert store.state("keeper") == ('{"a":1}', 2)
        assert store.state("other") is None

    def test_the_queue_is_read_by_health_and_unknown_health_comes_last(self, store: Store) -> None:
        healths = {"a": 0.9, "b": math.nan, "c": -math.inf, "d": 0.1, "e": math.inf, "f": 0.1}
        store.put_queue([queue_row(p, h) for p, h in healths.items()], [])

        assert [row.position for row in store.queue()] == ["c", "d", "f", "a", "e", "b"]

    def test_a_row_is_replaced_and_removed_by_position(self, store: Store) -> None:
        store.put_queue([queue_row("a"), queue_row("b")], [])
        moved = queue_row("a", 0.1, state=QueueState.QUARANTINED, reason="bug", tries=3)
        store.put_queue([moved], ["b", "unknown"])

        assert store.queue() == [moved]

    def test_the_keeper_does_not_overwrite_an_order_that_waits(self, store: Store) -> None:
        store.put_queue([queue_row("a"), queue_row("b")], [])
        assert store.set_order("a", QueueOrder.RETRY)
        assert store.set_order("b", QueueOrder.DROP)
        assert not store.set_order("unknown", QueueOrder.DROP)

        store.put_queue([queue_row("a", tries=9)], ["b"])

        assert store.queue() == [
            queue_row("a", order=QueueOrder.RETRY),
            queue_row("b", order=QueueOrder.DROP),
        ]

    def test_orders_are_taken_once_and_dropped_rows_go(self, store: Store) -> None:
        store.put_queue([queue_row("a"), queue_row("b"), queue_row("c")], [])
        store.set_order("a", QueueOrder.RETRY)
        store.set_order("b", QueueOrder.DROP)

        assert [(r.position, r.order) for r in store.take_orders(9)] == [
            ("a", QueueOrder.RETRY),
            ("b", QueueOrder.DROP),
        ]
        assert store.take_orders(9) == []
        assert store.queue() == [queue_row("a"), queue_row("c")]

    def test_an_ordered_row_is_news_about_the_position_not_about_the_keepers_tries(
        self, store: Store
    ) -> None:
        store.put_queue([queue_row("a", 0.9, tries=3, reason="oracle", since_ms=1)], [])

        assert store.order_queue([queue_row("a", 0.2, size=11), queue_row("b", 0.3)]) == 2

        assert store.take_orders(9) == [
            queue_row(
                "a",
                0.2,
                size=11,
                tries=3,
                reason="oracle",
                since_ms=1,
                order=QueueOrder.ENQUEUE,
            ),
            queue_row("b", 0.3, order=QueueOrder.ENQUEUE),
        ]

    def test_a_dropped_row_leaves_an_exclusion_and_a_retry_ends_it(self, store: Store) -> None:
        store.put_queue([queue_row("a"), queue_row("b")], [])
        store.set_order("a", QueueOrder.DROP)
        store.take_orders(9)

        dropped = Exclusion(position="a", reason="dropped", since_ms=9)
        assert store.exclusions() == [dropped]

        store.put_queue([queue_row("a")], [])
        store.set_order("a", QueueOrder.RETRY)
        store.take_orders(10)
        assert store.exclusions() == []

    def test_an_exclusion_replaces_an_earlier_one_and_sweeps_those_that_ran_out(
        self, store: Store
    ) -> None:
        old = Exclusion(position="old", reason="x", since_ms=1, until_ms=5)
        first = Exclusion(position="a", reason="text; 'quoted'", since_ms=2, until_ms=9)
        store.exclude(old)
        store.exclude(first)
        assert store.exclusions() == [first, old]

        second = replace(first, reason="other", since_ms=5, until_ms=None)
        store.exclude(second)

        assert store.exclusions() == [second]

    def test_an_inclusion_ends_an_exclusion_once(self, store: Store) -> None:
        store.exclude(Exclusion(position="a", reason="x", since_ms=1))

        assert not store.include("b")
        assert store.include("a")
        assert not store.include("a")
        assert store.exclusions() == []

    def test_the_latest_word_about_a_position_counts(self, store: Store) -> None:
        store.put_queue([queue_row("a"), queue_row("b")], [])
        store.set_order("a", QueueOrder.RETRY)
        store.exclude(Exclusion(position="a", reason="x", since_ms=1))
        store.set_order("b", QueueOrder.DROP)
        assert store.include("b")

        assert store.take_orders(9) == []

        assert [each.position for each in store.exclusions()] == ["a"]
        assert [row.position for row in store.queue()] == ["a", "b"]

    def test_exclusions_are_no_business_of_other_state(self, store: Store) -> None:
        store.put_state("excluded", "1", 1)
        store.put_state("excluder", "1", 1)
        store.exclude(Exclusion(position="a", reason="x", since_ms=1))

        assert [each.position for each in store.exclusions()] == ["a"]
        assert store.state("excluded") == ("1", 1)
