"""What every store promises about alerts and their outbox."""

from dataclasses import replace

import pytest

from liqctl.core.alert import GIVEN_UP_MS, Alert, AlertState, Severity
from liqctl.errors import StoreError
from liqctl.ports import Store
from tests.store.records import alert, delivery


def resolved(kept: Alert, at_ms: int = 5_000) -> Alert:
    return replace(kept, state=AlertState.RESOLVED, resolved_ms=at_ms)


def written(store: Store) -> tuple[object, ...]:
    return store.alerts(), store.deliveries(), store.events_since(0, 99)


class AlertContract:
    """Subclasses give the fixture `store`."""

    def test_an_alert_is_written_with_its_messages_and_its_event(self, store: Store) -> None:
        store.append_event("queue", "{}", 1)
        number = store.put_alert(
            alert(notified_ms=1_500), [delivery("slack"), delivery("mail")], '{"a":1}'
        )

        kept = alert(id=number, notified_ms=1_500)
        assert store.firing() == store.alerts() == [kept]
        assert [(each.channel, each.alert_id) for each in store.deliveries()] == [
            ("mail", number),
            ("slack", number),
        ]
        _, event = store.events_since(0, 9)
        assert (event.kind, event.at_ms, event.body_json) == ("alert", 1_500, '{"a":1}')
        assert event.seq == store.last_seq()

    def test_a_second_firing_alert_is_refused_and_nothing_is_written(self, store: Store) -> None:
        store.put_alert(alert(), [], "{}")
        before = written(store)

        with pytest.raises(StoreError):
            store.put_alert(alert(raised_ms=9), [delivery()], "{}")

        assert written(store) == before
        store.put_alert(alert(subject="other"), [], "{}")
        store.put_alert(alert("oracle_silent"), [], "{}")
        assert len(store.firing()) == 3

    def test_an_alert_ends_and_may_come_again(self, store: Store) -> None:
        number = store.put_alert(alert(), [], "{}")
        ended = resolved(alert(id=number))
        assert store.put_alert(ended, [delivery(resolves=True)], "{}") == number

        assert store.firing() == []
        again = store.put_alert(alert(raised_ms=9_000), [], "{}")

        assert again > number
        assert store.alerts() == [alert(id=again, raised_ms=9_000), ended]
        assert [event.at_ms for event in store.events_since(0, 9)] == [1_000, 5_000, 9_000]
        with pytest.raises(StoreError):
            store.put_alert(alert(id=number), [], "{}")
        assert store.alerts()[1] == ended

    def test_an_alert_ends_once(self, store: Store) -> None:
        ended = resolved(alert(id=store.put_alert(alert(), [], "{}")))
        store.put_alert(ended, [], "{}")
        before = written(store)

        for late in (replace(ended, resolved_ms=9_000), alert(id=ended.id)):
            with pytest.raises(StoreError):
                store.put_alert(late, [delivery(resolves=True)], "{}")

        assert written(store) == before

    def test_what_an_alert_is_about_never_changes(self, store: Store) -> None:
        number = store.put_alert(alert(), [], "{}")
        store.put_alert(
            alert(
                "other",
                id=number,
                subject="x",
                raised_ms=7,
                severity=Severity.INFO,
                title="new",
                body="text",
                notified_ms=8,
            ),
            [],
            "{}",
        )

        assert store.alerts() == [
            alert(id=number, severity=Severity.INFO, title="new", body="text", notified_ms=8)
        ]

    @pytest.mark.parametrize(
        "refused",
        [
            alert(id=77),
            alert(state=AlertState.RESOLVED),
            alert(resolved_ms=5),
        ],
    )
    def test_an_alert_that_makes_no_sense_is_refused(self, store: Store, refused: Alert) -> None:
        with pytest.raises(StoreError):
            store.put_alert(refused, [delivery()], "{}")

        assert written(store) == ([], [], [])

    def test_an_event_that_is_not_json_keeps_the_alert_out(self, store: Store) -> None:
        with pytest.raises(StoreError):
            store.put_alert(alert(), [delivery()], "{")

        assert written(store) == ([], [], [])

    def test_firing_alerts_come_oldest_first_and_all_newest_first_by_page(
        self, store: Store
    ) -> None:
        late = store.put_alert(alert("a", raised_ms=9), [], "{}")
        early = store.put_alert(alert("b", raised_ms=1), [], "{}")
        third = store.put_alert(resolved(alert("c")), [], "{}")

        assert [each.id for each in store.firing()] == [early, late]
        assert [each.id for each in store.alerts(limit=2)] == [third, early]
        assert [each.id for each in store.alerts(before_id=early)] == [late]
        assert store.alerts(before_id=late) == store.alerts(limit=-1) == []

    def test_a_message_is_due_until_a_channel_took_it(self, store: Store) -> None:
        first = store.put_delivery(delivery("slack", next_try_ms=10))
        second = store.put_delivery(delivery("mail"))
        third = store.put_delivery(delivery("later", next_try_ms=11))

        def due(now_ms: int, limit: int = 9) -> list[int | None]:
            return [each.id for each in store.due_deliveries(now_ms, limit)]

        assert due(9) == [second]
        assert due(10) == [first, second]
        assert due(10, limit=1) == [first, second]
        assert due(10, limit=-1) == []
        store.delay_delivery(first, "refused: 429", 20)
        store.end_delivery(second, 12)
        assert due(19) == [third]
        assert store.deliveries()[1:] == [
            delivery("mail", id=second, delivered_ms=12),
            delivery("slack", id=first, tries=1, next_try_ms=20, error="refused: 429"),
        ]

    def test_what_waits_for_one_channel_hides_nothing_that_waits_for_another(
        self, store: Store
    ) -> None:
        first, second, _ = (store.put_delivery(delivery("dead")) for _ in range(3))
        other = store.put_delivery(delivery("mail"))

        due = store.due_deliveries(9, 2)

        assert [each.id for each in due] == [first, second, other]

    def test_what_was_delivered_stays_delivered(self, store: Store) -> None:
        number = store.put_delivery(delivery())
        store.end_delivery(number, 12)
        store.end_delivery(number, 13)
        store.delay_delivery(number, "late news", 14)
        store.end_delivery(999, 1)

        assert store.deliveries() == [delivery(id=number, delivered_ms=12)]
        assert store.deliveries(limit=0) == store.deliveries(limit=-1) == []

    def test_old_alerts_go_when_all_their_messages_are_gone(self, store: Store) -> None:
        waiting = store.put_alert(alert("a"), [delivery("slack")], "{}")
        over = store.put_alert(alert("b"), [delivery("mail")], "{}")
        store.put_alert(alert("c"), [], "{}")
        for number, rule in ((waiting, "a"), (over, "b")):
            store.put_alert(resolved(alert(rule, id=number)), [], "{}")
        mail, _ = store.deliveries()
        assert mail.id is not None
        store.end_delivery(mail.id, 5_000)
        store.put_alert(resolved(alert("silent")), [], "{}")

        assert store.prune_alerts(5_000) == 0
        assert store.prune_alerts(5_001) == 3

        assert [each.rule for each in store.alerts()] == ["c", "a"]
        assert [each.channel for each in store.deliveries()] == ["slack"]
        assert store.put_alert(alert("d"), [], "{}") > over

    def test_a_message_that_was_given_up_is_pruned_by_its_age(self, store: Store) -> None:
        for created_ms in (4_000, 5_000):
            number = store.put_delivery(delivery("slack", created_ms=created_ms))
            store.delay_delivery(number, "given up", GIVEN_UP_MS)
        store.put_delivery(delivery("mail", created_ms=1))

        assert store.prune_alerts(5_000) == 1
        assert [(each.channel, each.created_ms) for each in store.deliveries()] == [
            ("mail", 1),
            ("slack", 5_000),
        ]
