"""What every store promises; run against each implementation."""

import json
import math
from dataclasses import replace

import pytest

from liqctl.core.intent import IntentState
from liqctl.core.record import Totals
from liqctl.errors import StoreError
from liqctl.ports import Store
from tests.store.contract_alerts import AlertContract
from tests.store.contract_archive import ArchiveContract
from tests.store.contract_attempts import AttemptContract
from tests.store.contract_claims import ClaimContract
from tests.store.contract_queue import QueueContract
from tests.store.contract_spending import SpendingContract
from tests.store.records import (
    OK,
    attempt,
    failure,
    liquidation,
    queue_row,
    sample,
)
from tests.store.steps import claimed, end, recorded


class StoreContract(
    ClaimContract, AttemptContract, SpendingContract, QueueContract, ArchiveContract, AlertContract
):
    """Subclasses give the fixture `store`."""

    @pytest.mark.parametrize("size", [2**63 - 1, 2**63, 2**64 - 1, 2**128 - 1, 2**128 * 10**9])
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
                f"s{i}",
                liquidator_reward=amount,
                bad_debt=amount,
                bad_debt_uncovered=amount // 2,
                is_full_liquidation=i > 0,
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
            bad_debt_uncovered=sum(amount // 2 for amount in amounts),
            fees_lamports=20_000,
        )

    def test_an_empty_store_has_empty_totals(self, store: Store) -> None:
        assert store.totals() == Totals(
            full=0,
            partial=0,
            failed=0,
            lost_races=0,
            rewards=0,
            bad_debt=0,
            bad_debt_uncovered=0,
            fees_lamports=0,
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

        newest, oldest = store.recent_failures()

        assert [replace(newest, id=None), replace(oldest, id=None)] == [
            failure("b", position_pubkey="other", signature=None, slot=None),
            failure("a"),
        ]
        assert store.recent_failures(position="pos") == [oldest]
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

    def test_a_state_is_taken_by_one_at_a_time(self, store: Store) -> None:
        def take(who: str, now_ms: int) -> bool:
            return store.take_state("lease", f'"{who}"', now_ms, 100)

        assert [take("a", 1_000), take("b", 1_099), take("a", 1_050)] == [True, False, True]
        assert store.state("lease") == ('"a"', 1_050)
        assert [take("b", 1_149), take("b", 1_150), take("a", 1_151)] == [False, True, False]
        assert [take("a", 1_051), take("a", 1_050)] == [False, True]
        assert store.state("lease") == ('"a"', 1_050)

    def test_a_state_is_forgotten_when_it_is_older(self, store: Store) -> None:
        for name in ("old", "older"):
            store.put_state(name, "{}", 10)

        assert [store.forget_state("old", before_ms) for before_ms in (10, 11, 11)] == [
            *(False, True, False)
        ]
        assert [name for name, *_ in store.states("")] == ["older"]
