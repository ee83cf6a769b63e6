from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.cluster_time import ClusterTime, Reading


def at(slot: int, unix_s: int, at_ms: int) -> Reading:
    return Reading(slot=slot, unix_s=unix_s, at_ms=at_ms)


def seen(*readings: Reading) -> ClusterTime:
    time = ClusterTime()
    for each in readings:
        time = time.after(each)
    return time


def test_the_first_bank_is_believed_and_none_goes_back():
    time = seen(at(100, 1_000, 0), at(99, 2_000, 10), at(101, 900, 20))

    assert (time.slot, time.unix_s) == (101, 1_000)


def test_an_absurd_slot_or_time_is_doubted_and_forgotten():
    for absurd in (at(10**12, 1_001, 400), at(102, 10**10, 400)):
        time = seen(at(100, 1_000, 0), absurd)
        assert (time.slot, time.unix_s) == (100, 1_000)

        time = time.after(at(103, 1_002, 800))
        assert (time.slot, time.unix_s, time.doubted) == (103, 1_002, None)


def test_a_leap_is_believed_when_another_bank_follows_from_it():
    leap = at(100_000, 41_000, 400)
    assert seen(at(100, 1_000, 0), leap).slot == 100
    assert seen(at(100, 1_000, 0), leap, leap).slot == 100
    assert seen(at(100, 1_000, 0), leap, at(100_001, 41_000, 800)).slot == 100_001


def test_an_absurd_first_bank_gives_way_to_two_that_follow_from_each_other():
    for absurd in (at(2**62, 1_000, 0), at(99, 2**40, 0), at(2**62, 2**40, 0)):
        once = seen(absurd, at(100, 1_000, 400))
        assert once.believed == absurd

        time = once.after(at(101, 1_001, 800))
        assert (time.slot, time.unix_s, time.doubted) == (101, 1_001, None)


def test_a_first_bank_that_another_followed_gives_way_to_nothing():
    first, second = at(1_000_000, 500_000, 0), at(1_000_001, 500_000, 400)

    time = seen(first, second, at(100, 1_000, 800), at(101, 1_000, 1_200))

    assert (time.slot, time.unix_s) == (1_000_001, 500_000)


def test_a_slot_is_reached_by_ten_in_a_second_and_some_ahead():
    assert ClusterTime().reaches(2**62, 0)
    time = seen(at(100, 1_000, 0))
    assert time.reaches(100 + 2_000 + 10, 1_000)
    assert not time.reaches(100 + 2_000 + 11, 1_000)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3_000)), max_size=40))
def test_an_ordinary_cluster_is_never_doubted(steps):
    time, slot, unix_s, at_ms = ClusterTime(), 100, 1_000, 0
    for slots, passed_ms in steps:
        slot, at_ms, unix_s = slot + slots, at_ms + passed_ms, unix_s + passed_ms // 1_000
        time = time.after(at(slot, unix_s, at_ms))
        assert (time.slot, time.doubted) == (slot, None)
