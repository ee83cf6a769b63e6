"""SQLite and memory, driven by the same random pages, filters and alerts, answer the same."""

import math

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from liqctl.core.alert import AlertState
from liqctl.core.record import PositionQuery, PositionRow
from tests.store.records import alert, delivery, position_row
from tests.store.two_stores import TwoStores

addresses = st.sampled_from([*"abcdefgh"])
healths = st.sampled_from([0.0, -0.0, 0.5, 1.0, math.inf, -math.inf, math.nan]) | st.floats()
words = st.sampled_from(["x", "y"])
maybe = st.none() | words
ids = st.integers(1, 6)


class SameArchive(TwoStores):
    @rule(ms=st.integers(0, 3))
    def time_passes(self, ms):
        self.now_ms += ms

    @rule(address=addresses, health=healths, symbol=words, owner=words, venue=words, gone=addresses)
    def put_position(self, address, health, symbol, owner, venue, gone):
        row = position_row(
            address, health, symbol=symbol, owner=owner, venue=venue, at_ms=self.now_ms
        )
        self.both(lambda s: s.put_positions([row, position_row("last", health)], [gone]))

    @rule(venue=words, age_ms=st.integers(0, 3))
    def forget(self, venue, age_ms):
        self.both(lambda s: s.forget_positions(venue, self.now_ms - age_ms))

    @rule(symbol=maybe, owner=maybe, venue=maybe, limit=st.integers(1, 4))
    def read_to_the_end(self, symbol, owner, venue, limit):
        def page(after: tuple[float, str] | None, size: int) -> list[PositionRow]:
            query = PositionQuery(symbol=symbol, owner=owner, venue=venue, after=after, limit=size)
            self.both(lambda s: [repr(row) for row in s.positions(query)])
            return self.memory.positions(query)

        seen: list[str] = []
        after = None
        while rows := page(after, limit):
            seen += [row.position for row in rows]
            after = rows[-1].health, rows[-1].position
        assert seen == [row.position for row in page(None, 99)]
        assert len(set(seen)) == len(seen)

    @rule(health=healths, address=addresses)
    def read_after_anything(self, health, address):
        query = PositionQuery(after=(health, address))
        self.both(lambda s: [repr(row) for row in s.positions(query)])

    @rule(
        number=st.none() | ids,
        about=words,
        state=st.sampled_from(AlertState),
        ended=st.booleans(),
        messages=st.integers(0, 2),
    )
    def put_alert(self, number, about, state, ended, messages):
        put = alert(
            about,
            id=number,
            state=state,
            raised_ms=self.now_ms,
            resolved_ms=self.now_ms if ended else None,
        )
        self.both(lambda s: s.put_alert(put, [delivery()] * messages, "{}"))

    @rule(number=ids, delivered=st.booleans())
    def tell(self, number, delivered):
        if delivered:
            self.both(lambda s: s.end_delivery(number, self.now_ms))
        else:
            self.both(lambda s: s.delay_delivery(number, "down", self.now_ms + 2))

    @rule(age_ms=st.integers(0, 3))
    def prune(self, age_ms):
        self.both(lambda s: s.prune_alerts(self.now_ms - age_ms))

    @invariant()
    def both_hold_the_same(self):
        self.both(lambda s: s.firing())
        self.both(lambda s: s.alerts())
        self.both(lambda s: s.deliveries())
        self.both(lambda s: s.due_deliveries(self.now_ms, 3))
        self.both(lambda s: [event.at_ms for event in s.events_since(0, 999)])


TestSameArchive = SameArchive.TestCase
TestSameArchive.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
