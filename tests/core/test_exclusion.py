from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.events import Dequeued, ExclusionsSeen, Ordered, OutcomeSeen, Queued, Result
from liqctl.core.record import Exclusion, QueueOrder, QueueState
from tests.core.test_engine import engine, of_kind, position, price, seen, taken


def excluded(name: str, until_ms: int | None = None, reason: str = "why") -> ExclusionsSeen:
    held = Exclusion(position=name, reason=reason, since_ms=0, until_ms=until_ms)
    return ExclusionsSeen(exclusions=(held,))


NONE_EXCLUDED = ExclusionsSeen(exclusions=())


def test_an_excluded_position_is_not_given_out_until_it_is_taken_back():
    one = engine(position("a", 90), at=80)

    notices = one.apply(excluded("a"), 0)

    assert notices == [Dequeued(position="a", reason="excluded: why")]
    assert one.apply(excluded("a"), 1) == []
    assert one.next(10**15) is None
    entry = one.queue.get("a")
    assert entry is not None
    assert (entry.state, entry.reason) == (QueueState.QUARANTINED, "excluded: why")
    one.apply(NONE_EXCLUDED, 2)
    assert taken(one.next(2)) == "a"


def test_an_exclusion_counts_before_the_position_is_known():
    one = engine(position("a", 90))
    one.apply(excluded("a"), 0)

    notices = one.apply(seen(2, p=price(80)), 0)

    assert of_kind(notices, Queued) == []
    assert one.next(10**15) is None


def test_an_exclusion_with_a_time_ends_by_itself():
    one = engine(position("a", 90), at=80)
    one.apply(excluded("a", until_ms=500), 0)

    assert one.next(499) is None
    assert taken(one.next(500)) == "a"


def test_an_exclusion_that_is_made_shorter_ends_sooner_and_one_made_longer_later():
    one = engine(position("a", 90), position("b", 90), at=80)
    one.apply(excluded("a"), 0)
    one.apply(excluded("a", until_ms=500), 0)
    taken_b = one.next(0)

    assert taken(taken_b) == "b"
    assert taken(one.next(500)) == "a"


def test_a_position_excluded_in_flight_is_not_tried_again():
    for result in (Result.FAILED, Result.REFUSED):
        one = engine(position("a", 90), at=80)
        assert taken(one.next(0)) == "a"

        one.apply(excluded("a"), 0)
        one.apply(OutcomeSeen(position="a", result=result, reason="rpc"), 0)

        entry = one.queue.get("a")
        assert entry is not None
        assert (entry.state, entry.reason) == (QueueState.QUARANTINED, "excluded: why")
        assert one.next(10**15) is None
        one.apply(NONE_EXCLUDED, 0)
        assert taken(one.next(0)) == "a"


def test_whatever_the_queue_says_an_excluded_position_is_not_given_out():
    one = engine(position("a", 90), position("b", 85), at=80)
    one.apply(excluded("b"), 0)
    one.queue.retry("b")

    assert taken(one.next(0)) == "a"
    assert one.next(10**15) is None


def test_an_exclusion_that_has_run_out_lifts_no_backoff():
    one = engine(position("a", 90), at=80)
    one.apply(excluded("a", until_ms=5), 0)
    assert taken(one.next(5)) == "a"
    one.apply(OutcomeSeen(position="a", result=Result.FAILED, reason="rpc"), 5)

    one.apply(NONE_EXCLUDED, 6)

    assert one.next(6) is None
    assert taken(one.next(10**9)) == "a"


def test_a_retry_ends_an_exclusion_and_an_enqueue_by_scan_does_not():
    one = engine(position("a", 90), at=80)
    one.apply(excluded("a"), 0)

    one.apply(Ordered(position="a", order=QueueOrder.ENQUEUE), 0)
    assert one.next(10**15) is None

    one.apply(Ordered(position="a", order=QueueOrder.RETRY), 0)
    assert taken(one.next(0)) == "a"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("exclude"), st.sampled_from("ab"), st.none() | st.integers(0, 60)),
            st.sampled_from(
                [("include",), ("fail",), ("drop",), ("retry",), ("price", 100), ("price", 70)]
            ),
        ),
        max_size=60,
    )
)
def test_no_history_gives_out_an_excluded_position(commands):
    one = engine(position("a", 90), position("b", 85), at=80)
    held: dict[str, int | None] = {}
    flying: str | None = None
    for now, command in enumerate(commands):
        match command:
            case ("exclude", name, until):
                held[name] = until
            case ("include",):
                held.clear()
            case ("fail",) if flying is not None:
                one.apply(OutcomeSeen(position=flying, result=Result.FAILED, reason="x"), now)
                flying = None
            case ("drop",):
                held["a"] = None
                one.apply(Ordered(position="a", order=QueueOrder.DROP), now)
            case ("retry",):
                held.pop("a", None)
                one.apply(Ordered(position="a", order=QueueOrder.RETRY), now)
            case ("price", value):
                one.apply(seen(now + 10, p=price(value)), now)
            case _:
                pass
        exclusions = [
            Exclusion(position=name, reason="why", since_ms=0, until_ms=until)
            for name, until in held.items()
        ]
        one.apply(ExclusionsSeen(exclusions=tuple(exclusions)), now)
        if flying is None:
            decision = one.next(now)
            flying = None if decision is None else decision.position.address
            if flying in held:
                until = held[flying]
                assert until is not None
                assert until <= now
