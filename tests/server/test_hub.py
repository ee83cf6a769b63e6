"""Who gets which event: nobody waits for another, and nobody misses or repeats one."""

import json

from liqctl.core.record import EventRow
from liqctl.server.hub import RECENT_MAX, Client, Frame, Hub, Wants, message
from tests.server.lines import TestLine, messages

ALL = Wants()


def rows(first: int, last: int, kind: str = "price_update", **body: object) -> list[EventRow]:
    return [
        EventRow(seq=seq, kind=kind, at_ms=seq, body_json=json.dumps({"n": seq, **body}))
        for seq in range(first, last + 1)
    ]


class Listening:
    """A hub at event 10, and clients that have caught up with it."""

    def __init__(self) -> None:
        self.hub = Hub()
        self.hub.begin(10)
        self.slow = 0

    def client(self, wants: Wants = ALL, limit: int = 3, position: int = 10) -> TestLine:
        line = TestLine()
        client = Client(line, wants, limit, self._too_slow)
        client.position = position
        self.hub.join(client)
        return line

    def _too_slow(self) -> None:
        self.slow += 1


def seqs(line: TestLine) -> list[object]:
    return [each["seq"] for each in line.heard]


def test_an_event_is_encoded_as_one_text_frame_whatever_its_length():
    for length in (1, 200, 70_000):
        [row] = rows(1, 1, text="x" * length)

        [shown] = messages(Frame.of(row).wire)

        assert shown == {"n": 1, "text": "x" * length, "type": row.kind, "seq": 1, "at_ms": 1}


def test_each_client_gets_what_it_wants_and_what_belongs_to_no_market():
    here = Listening()
    everything = here.client()
    prices = here.client(Wants(types=frozenset({"price_update"})))
    sol = here.client(Wants(symbols=frozenset({"SOL"})))

    here.hub.publish(rows(11, 11, symbol="SOL") + rows(12, 12, symbol="BTC"))
    here.hub.publish(rows(13, 13, "queue"))

    assert seqs(everything) == [11, 12, 13]
    assert seqs(prices) == [11, 12]
    assert seqs(sol) == [11, 13]


def test_events_that_come_together_are_written_at_once():
    here = Listening()
    line = here.client()

    here.hub.publish(rows(11, 400))

    assert seqs(line) == list(range(11, 401))
    assert line.writes == 1


def test_an_event_that_a_client_read_from_the_store_before_is_not_repeated():
    here = Listening()
    ahead = here.client(position=12)

    here.hub.publish(rows(11, 11))
    here.hub.publish(rows(12, 14))

    assert seqs(ahead) == [13, 14]


def test_who_stops_reading_is_let_go_and_the_others_get_everything():
    here = Listening()
    slow, quick = here.client(limit=3), here.client(limit=3)
    slow.stop()

    for seq in range(11, 20):
        here.hub.publish(rows(seq, seq))

    assert seqs(quick) == list(range(11, 20))
    assert seqs(slow) == []
    assert here.slow == 1
    assert here.hub.counts["too_slow"] == 1
    assert len(here.hub) == 1


def test_who_reads_on_in_time_gets_what_waited_in_order():
    here = Listening()
    line = here.client(limit=3)
    line.stop()
    here.hub.publish(rows(11, 12))
    here.hub.publish(rows(13, 13))

    line.read_on()
    here.hub.publish(rows(14, 14))

    assert seqs(line) == [11, 12, 13, 14]
    assert here.slow == 0


def test_a_burst_costs_nobody_the_connection():
    here = Listening()
    line = here.client(limit=3)
    line.stop()

    here.hub.publish(rows(11, 400))
    line.read_on()

    assert seqs(line) == list(range(11, 401))
    assert here.slow == 0


def test_a_sign_of_life_goes_only_to_who_has_read_everything():
    here = Listening()
    idle, busy = here.client(), here.client()
    ahead = here.client(position=11)
    busy.stop()
    here.hub.failing = "locked"

    here.hub.beat(7)

    expected = {"type": "heartbeat", "seq": 10, "at_ms": 7, "database": "failing"}
    assert idle.heard == [expected]
    assert busy.heard == ahead.heard == []


def test_events_that_begin_anew_are_a_gap_for_everybody():
    here = Listening()
    line = here.client()
    here.hub.publish(rows(11, 11))

    here.hub.restart(3)
    here.hub.publish(rows(4, 4))

    assert line.heard[1] == {"type": "gap", "seq": 3, "since": 11}
    assert seqs(line)[2:] == [4]
    assert here.hub.recent(3) is not None
    assert here.hub.recent(2) is None


def test_events_that_are_gone_are_a_gap_for_whoever_was_not_told_of_them():
    here = Listening()
    behind, ahead = here.client(), here.client(position=14)

    here.hub.skip(13)
    here.hub.publish(rows(14, 15))

    assert behind.heard[0] == {"type": "gap", "seq": 13, "since": 10}
    assert seqs(behind)[1:] == [14, 15]
    assert seqs(ahead) == [15]


def test_memory_knows_the_last_events_and_says_when_it_does_not():
    hub = Hub()
    before = hub.recent(0)
    hub.begin(0)
    hub.publish(rows(1, RECENT_MAX + 10))

    newest = hub.recent(RECENT_MAX + 8)

    assert before is None
    assert newest is not None
    assert [each.seq for each in newest] == [RECENT_MAX + 9, RECENT_MAX + 10]
    assert hub.recent(RECENT_MAX + 10) == []
    assert len(hub.recent(10) or ()) == RECENT_MAX
    assert hub.recent(9) is None
    assert hub.recent(RECENT_MAX + 11) is None


def test_who_has_left_gets_nothing_more():
    here = Listening()
    line = TestLine()
    client = Client(line, ALL, 3, lambda: None)
    here.hub.join(client)

    here.hub.leave(client)
    here.hub.leave(client)
    here.hub.publish(rows(11, 11))

    assert line.heard == []


def test_a_message_is_text_in_one_frame():
    assert list(messages(message("pong", 4, at_ms=1))) == [{"type": "pong", "seq": 4, "at_ms": 1}]
