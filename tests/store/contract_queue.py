"""What every store promises about the queue, orders and exclusions."""

import math
from dataclasses import replace

from liqctl.core.intent import IntentState
from liqctl.core.record import Exclusion, QueueOrder, QueueState
from liqctl.ports import Store
from tests.store.records import queue_row, request
from tests.store.steps import LEASE_MS, claimed


class QueueContract:
    """Subclasses give the fixture `store`."""

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

    def test_a_retry_opens_a_held_intent_of_the_position_and_no_other(self, store: Store) -> None:
        held = {p: claimed(store, position=p) for p in ("a", "b")}
        for claim in held.values():
            store.end_intent(claim, IntentState.HELD, "bug", 1)
        store.put_queue([queue_row("a"), queue_row("b")], [])
        store.set_order("a", QueueOrder.RETRY)
        assert store.claim(request("a"), "me", 2, LEASE_MS) is None

        store.take_orders(3)

        again = store.claim(request("a"), "me", 4, LEASE_MS)
        assert again is not None
        assert again.intent_id == held["a"].intent_id
        assert store.claim(request("b"), "me", 4, LEASE_MS) is None

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

    def test_a_keeper_of_one_venue_sees_and_takes_only_what_is_of_that_venue(
        self, store: Store
    ) -> None:
        theirs = queue_row("b", venue="other")
        store.put_queue([queue_row("a"), theirs, queue_row("c", venue="other")], [])
        store.set_order("a", QueueOrder.RETRY)
        store.set_order("c", QueueOrder.DROP)

        assert store.queue("other") == [
            theirs,
            replace(theirs, position="c", order=QueueOrder.DROP),
        ]
        assert [row.position for row in store.take_orders(9, "reference")] == ["a"]
        assert store.take_orders(9, venue="reference") == store.take_orders(9, "unknown") == []
        assert [(row.position, row.order) for row in store.queue()] == [
            ("a", None),
            ("b", None),
            ("c", QueueOrder.DROP),
        ]
        assert [row.position for row in store.take_orders(9, "other")] == ["c"]
        assert [each.position for each in store.exclusions()] == ["c"]
        assert store.queue("other") == [theirs]
