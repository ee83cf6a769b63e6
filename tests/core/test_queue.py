from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.queue import NEVER_MS, Pacing, Queue
from liqctl.core.record import QueueState


def put(queue: Queue, position: str, health: float, *, size: int = 1, now_ms: int = 0) -> bool:
    return queue.put(position, health=health, size=size, now_ms=now_ms)


def test_the_lowest_health_is_taken_first_and_the_larger_position_among_equals():
    queue = Queue()
    put(queue, "a", 0.9)
    put(queue, "b", -2.0)
    put(queue, "c", 0.5, size=1)
    put(queue, "d", 0.5, size=9)

    taken = [entry.position for _ in range(4) if (entry := queue.take(0))]

    assert taken == ["b", "d", "c", "a"]


def test_a_position_is_queued_once_and_moves_with_its_health():
    queue = Queue()
    put(queue, "a", 0.9)
    put(queue, "b", 0.8)
    put(queue, "a", 0.1)

    assert len(queue) == 2
    assert [entry.position for entry in queue.entries()] == ["a", "b"]


def test_a_position_in_flight_is_not_taken_again():
    queue = Queue()
    put(queue, "a", 0.9)
    assert queue.take(0) is not None

    put(queue, "a", 0.1)

    assert queue.take(0) is None
    entry = queue.get("a")
    assert entry is not None
    assert entry.state is QueueState.IN_FLIGHT


def test_a_position_in_flight_is_not_removed_by_a_recovery():
    queue = Queue()
    put(queue, "a", 0.9)
    queue.take(0)

    assert queue.remove("a") is False
    assert "a" in queue

    queue.settle("a")
    assert "a" not in queue


def test_failures_back_off_and_then_quarantine():
    pacing = Pacing(backoff_ms=100, backoff_ms_max=300, tries_max=4, quarantine_ms=9_000)
    queue = Queue(pacing=pacing)
    put(queue, "a", 0.9)
    delays = []
    now = 0

    for _ in range(4):
        entry = queue.take(now)
        assert entry is not None
        queue.postpone("a", "rpc", now)
        waiting = queue.get("a")
        assert waiting is not None
        delays.append(waiting.next_try_ms - now)
        assert queue.take(waiting.next_try_ms - 1) is None
        now = waiting.next_try_ms

    assert delays == [100, 200, 300, 9_000]
    quarantined = queue.get("a")
    assert quarantined is not None
    assert quarantined.state is QueueState.QUARANTINED
    assert quarantined.reason == "rpc"


def test_quarantine_ends_by_itself_and_by_order():
    queue = Queue(pacing=Pacing(tries_max=1, quarantine_ms=500))
    put(queue, "a", 0.9)
    queue.take(0)
    queue.postpone("a", "bug", 0)

    assert queue.take(499) is None
    assert queue.retry("a") is True
    assert queue.take(0) is not None


def test_an_excluded_position_waits_for_an_order():
    queue = Queue()
    put(queue, "a", 0.9)

    assert queue.exclude("a", "dropped") is True
    put(queue, "a", 0.1)

    assert queue.take(NEVER_MS - 1) is None
    queue.retry("a")
    assert queue.take(0) is not None


def test_an_exclusion_with_a_time_ends_by_itself():
    queue = Queue()
    put(queue, "a", 0.9)

    queue.exclude("a", "excluded", until_ms=500)

    assert queue.take(499) is None
    entry = queue.take(500)
    assert entry is not None
    assert entry.state is QueueState.IN_FLIGHT


def test_only_who_took_a_candidate_can_set_it_aside_in_flight():
    queue = Queue()
    put(queue, "a", 0.9)
    queue.take(0)

    assert queue.exclude("a", "excluded") is False
    assert queue.exclude("a", "excluded", taken=True) is True
    assert queue.take(NEVER_MS - 1) is None


def test_one_that_waits_for_its_time_does_not_hold_up_the_others():
    queue = Queue()
    put(queue, "a", 0.1)
    put(queue, "b", 0.9)
    queue.take(0)
    queue.postpone("a", "rpc", 0)

    entry = queue.take(0)

    assert entry is not None
    assert entry.position == "b"


def test_a_full_queue_keeps_the_most_urgent():
    queue = Queue(capacity=2)
    put(queue, "a", 0.9)
    put(queue, "b", 0.5)

    assert put(queue, "c", 0.95) is False
    assert put(queue, "d", 0.1) is True

    assert [entry.position for entry in queue.entries()] == ["d", "b"]
    assert queue.evicted == 1


def test_a_full_queue_never_evicts_what_is_in_flight():
    queue = Queue(capacity=1)
    put(queue, "a", 0.9)
    queue.take(0)

    assert put(queue, "b", 0.1) is False
    assert "a" in queue


def test_jitter_lengthens_the_delay_by_at_most_half():
    delays = []
    for permille in (0, 500, 999):
        queue = Queue(pacing=Pacing(backoff_ms=1_000))
        put(queue, "a", 0.9)
        queue.take(0)
        queue.postpone("a", "rpc", 0, jitter_permille=permille)
        entry = queue.get("a")
        assert entry is not None
        delays.append(entry.next_try_ms)

    assert delays == [1_000, 1_250, 1_499]


COMMANDS = st.lists(
    st.tuples(
        st.sampled_from(["put", "take", "settle", "postpone", "remove", "retry", "exclude"]),
        st.sampled_from("abcdef"),
        st.integers(-50, 50),
    ),
    max_size=200,
)


@given(COMMANDS)
def test_any_history_keeps_order_uniqueness_and_the_in_flight_exclusion(commands):
    queue = Queue(capacity=5, pacing=Pacing(backoff_ms=3, tries_max=3, quarantine_ms=20))
    flying: set[str] = set()
    for now, (command, position, health) in enumerate(commands):
        match command:
            case "put":
                put(queue, position, health / 10, now_ms=now)
            case "take":
                due = [
                    e
                    for e in queue.entries()
                    if e.state is not QueueState.IN_FLIGHT and e.next_try_ms <= now
                ]
                entry = queue.take(now)
                assert (entry.position if entry else None) == (due[0].position if due else None)
                if entry:
                    assert entry.position not in flying
                    flying.add(entry.position)
            case "settle":
                queue.settle(position)
                flying.discard(position)
            case "postpone" if position in flying:
                queue.postpone(position, "reason", now)
                flying.discard(position)
            case "remove":
                queue.remove(position)
            case "retry":
                queue.retry(position)
            case "exclude":
                queue.exclude(position, "dropped")
            case _:
                pass
        entries = queue.entries()
        assert len(entries) <= 5
        assert len({e.position for e in entries}) == len(entries)
        assert {e.position for e in entries if e.state is QueueState.IN_FLIGHT} == flying


def test_what_is_not_its_own_fault_never_puts_a_position_into_quarantine():
    queue = Queue(pacing=Pacing(backoff_ms=1_000, backoff_ms_max=8_000, tries_max=3))
    put(queue, "a", 0.5)
    waits, now_ms = [], 0
    for _ in range(6):
        assert queue.take(now_ms) is not None
        queue.postpone("a", "rpc", now_ms, counts=False)
        entry = queue.get("a")
        assert entry is not None
        assert (entry.state, entry.tries) == (QueueState.WAITING, 0)
        waits.append(entry.next_try_ms - now_ms)
        now_ms = entry.next_try_ms

    assert waits == [1_000, 2_000, 4_000, 8_000, 8_000, 8_000]


def test_waits_and_tries_are_counted_apart():
    queue = Queue(pacing=Pacing(backoff_ms=1_000, tries_max=3))
    put(queue, "a", 0.5)
    for counts in (False, False, True):
        queue.take(10**6)
        queue.postpone("a", "x", 0, counts=counts)

    entry = queue.get("a")
    assert entry is not None
    assert (entry.tries, entry.waits, entry.next_try_ms) == (1, 2, 1_000)


@given(
    healths=st.lists(st.integers(0, 50), min_size=1, max_size=60),
    capacity=st.integers(1, 8),
    taken=st.integers(0, 3),
)
def test_a_full_queue_keeps_the_most_urgent_of_what_is_not_in_flight(healths, capacity, taken):
    queue, flying = Queue(capacity=capacity), set()
    held: dict[str, int] = {}
    for number, health in enumerate(healths):
        name = f"p{number}"
        if number == taken and (entry := queue.take(0)) is not None:
            flying.add(entry.position)
        idle = {p: h for p, h in held.items() if p not in flying}
        kept = put(queue, name, float(health))
        if len(held) < capacity:
            assert kept
        else:
            worst = max(idle, key=lambda p: (idle[p], -1, p), default=None)
            better = worst is not None and (health, -1, name) < (idle[worst], -1, worst)
            assert kept is better
            if better and worst is not None:
                del held[worst]
        if kept:
            held[name] = health
        assert set(queue.positions()) == set(held)


def test_a_pause_that_was_cut_short_lengthens_no_later_one():
    queue = Queue()
    queue.put("a", health=0.9, size=1, now_ms=0)
    for _ in range(8):
        queue.take(0)
        queue.postpone("a", "price_sources_disagree", 0, counts=False)
        queue.hurry("a", 7)

    queue.take(0)
    queue.postpone("a", "rpc", 0, counts=False)

    assert queue.next_try_ms() == Pacing().backoff_ms
