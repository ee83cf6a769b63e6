"""What every store promises about attempts: recorded before they are sent, one live, ended once."""

import json
from dataclasses import replace
from typing import Any

import pytest

from liqctl.core.intent import Attempt, AttemptState, IntentState
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
    request,
)
from tests.store.steps import LEASE_MS, claimed, end, recorded


class AttemptContract:
    """Subclasses give the fixture `store`."""

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
            "venue": "reference",
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
        store.price_attempt("sig", 7_000, 8_000, told)
        again = replace(told, fee_lamports=9_000, liquidator_reward=3)
        store.price_attempt("sig", 9_000, 10_000, again)

        assert store.unpriced_attempts(10) == []
        assert (store.totals().fees_lamports, store.spent_lamports(0)) == (7_000, 8_000)
        [row] = store.recent_liquidations()
        assert (row.fee_lamports, row.liquidator_reward, row.timestamp) == (7_000, 2, 6)
        assert row.created_at == decided.created_at

    def test_the_same_end_again_only_fills_in_what_was_missing(self, store: Store) -> None:
        recorded(store)
        bare = replace(OK, fee_lamports=None)
        end(store, bare, row=liquidation(fee_lamports=None), intent=IntentState.DONE)
        assert store.totals().fees_lamports == 0

        end(store, OK, row=liquidation(), failed=failure(), intent=IntentState.DONE)

        assert store.totals().fees_lamports == 5_000
        assert [row.fee_lamports for row in store.recent_liquidations()] == [5_000]
        assert len(store.events_since(0, 10)) == 1
        assert store.recent_failures() == []
        end(store, bare)
        assert store.totals().fees_lamports == 5_000

    def test_the_same_end_told_by_the_ledger_replaces_what_was_decided(self, store: Store) -> None:
        recorded(store)
        decided = liquidation(fee_lamports=None, liquidator_reward=1, timestamp=5)
        end(store, replace(OK, fee_lamports=None), row=decided, intent=IntentState.DONE)

        for reward in (2, 3):
            told = liquidation(liquidator_reward=reward, timestamp=6)
            end(store, OK, row=told, intent=IntentState.DONE)

        [row] = store.recent_liquidations()
        assert (row.fee_lamports, row.liquidator_reward, row.timestamp) == (5_000, 2, 6)
        assert len(store.events_since(0, 10)) == 1

    def test_a_liquidation_has_the_name_of_its_attempt(self, store: Store) -> None:
        recorded(store)

        with pytest.raises(InvariantError):
            end(store, OK, row=liquidation("another"))

    def test_live_and_unpriced_attempts_are_read_by_program_whatever_it_was_called(
        self, store: Store
    ) -> None:
        for program in ("prog", "other"):
            claim = claimed(store, position=program, program=program, venue=f"once {program}")
            assert store.record_attempt(claim, attempt(claim, program, position=program), 1)

        def found(attempts: list[Attempt]) -> list[str]:
            return sorted(each.signature for each in attempts)

        assert found(store.live_attempts()) == ["other", "prog"]
        assert found(store.live_attempts("other")) == ["other"]
        assert store.live_attempts("third") == []
        for signature in ("prog", "other"):
            end(store, replace(OK, fee_lamports=None), signature)
        assert found(store.unpriced_attempts(9)) == ["other", "prog"]
        assert found(store.unpriced_attempts(9, "prog")) == ["prog"]
        assert store.unpriced_attempts(9, program="third") == []
