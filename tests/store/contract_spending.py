"""What every store promises about what may be spent."""

from dataclasses import replace

import pytest

from liqctl.core.guards import DAY_MS, HOUR_MS, SpendCaps
from liqctl.core.intent import Ending
from liqctl.errors import SpendCapReached
from liqctl.ports import Store
from tests.store.records import ERR, EXPIRED, OK, VOID, attempt
from tests.store.steps import claimed, end, recorded

COST = 205_000


class SpendingContract:
    """Subclasses give the fixture `store`."""

    @pytest.mark.parametrize("ending", [OK, ERR])
    def test_what_could_be_spent_counts_in_full_until_the_cost_is_told(
        self, store: Store, ending: Ending
    ) -> None:
        recorded(store)
        assert store.spent_lamports(1_000) == COST

        end(store, ending)

        assert ending.fee_lamports == 5_000 == store.totals().fees_lamports
        assert store.spent_lamports(1_000) == COST
        assert store.spent_lamports(1_001) == 0

        end(store, replace(ending, cost_lamports=6_000))

        assert store.spent_lamports(1_000) == 6_000

    @pytest.mark.parametrize("ending", [EXPIRED, VOID])
    def test_what_never_landed_cost_nothing(self, store: Store, ending: Ending) -> None:
        recorded(store)
        end(store, ending)

        assert store.spent_lamports(0) == 0

    @pytest.mark.parametrize(
        ("hour", "day", "reason"),
        [
            (2 * COST - 1, 10 * COST, "cost_over_hour_cap"),
            (10 * COST, 2 * COST - 1, "cost_over_day_cap"),
            (2 * COST, 2 * COST, None),
        ],
    )
    def test_a_cap_is_counted_in_the_commit_that_records(
        self, store: Store, hour: int, day: int, reason: str | None
    ) -> None:
        caps = SpendCaps(hour_lamports=hour, day_lamports=day)
        first, second = claimed(store, position="a"), claimed(store, position="b")
        assert store.record_attempt(first, attempt(first, "1", position="a"), 1, caps=caps)
        next_one = attempt(second, "2", position="b")

        if reason is None:
            assert store.record_attempt(second, next_one, 1, caps=caps)
            return
        with pytest.raises(SpendCapReached) as refused:
            store.record_attempt(second, next_one, 1, caps=caps)
        assert refused.value.reason == reason
        assert [row.signature for row in store.live_attempts()] == ["1"]
        assert store.spent_lamports(0) == COST

    @pytest.mark.parametrize(
        ("age_ms", "caps"),
        [
            (HOUR_MS + 1, SpendCaps(hour_lamports=COST, day_lamports=2 * COST)),
            (DAY_MS + 1, SpendCaps(hour_lamports=COST, day_lamports=COST)),
        ],
    )
    def test_what_was_signed_longer_ago_leaves_room(
        self, store: Store, age_ms: int, caps: SpendCaps
    ) -> None:
        first = claimed(store, position="a")
        assert store.record_attempt(first, attempt(first, "1", position="a"), 1, caps=caps)
        end(store, OK, "1")
        second = claimed(store, now_ms=age_ms, position="b")
        late = attempt(second, "2", position="b")

        assert store.record_attempt(second, late, 1 + age_ms, caps=caps)

    @pytest.mark.parametrize("sent", [False, True])
    def test_what_is_live_counts_however_long_ago_the_clock_says_it_was_signed(
        self, store: Store, sent: bool
    ) -> None:
        recorded(store)
        if sent:
            store.mark_sent("sig", 1_000)
            store.mark_seen("sig", 900, "processed")
        second = claimed(store, now_ms=2 * DAY_MS, position="b")
        caps = SpendCaps(hour_lamports=2 * COST - 1, day_lamports=2 * COST)

        assert store.spent_lamports(DAY_MS) == COST
        with pytest.raises(SpendCapReached, match="cost_over_hour_cap"):
            store.record_attempt(second, attempt(second, "2", position="b"), 2 * DAY_MS, caps=caps)

    def test_the_slot_that_was_judged_is_kept_with_the_intent(self, store: Store) -> None:
        claim = claimed(store)
        store.record_attempt(claim, attempt(claim), 1, decision_slot=4_321)

        found = store.intent_of("sig")

        assert found is not None
        assert found[0].decision_slot == 4_321
