import pytest

from tests.ageing import Aged, grow_old


@pytest.mark.parametrize(
    ("last_kib", "ended", "violations"),
    [
        (110_000, 0, []),
        (110_001, 0, ["GREW from 100000 to 110001 KiB"]),
        (100_000, -9, ["ENDED with -9"]),
    ],
)
def test_a_day_may_take_a_tenth_more_memory_than_its_first_hour(last_kib, ended, violations):
    aged = Aged(first_kib=100_000, last_kib=last_kib, slots=1, ended=ended)

    assert aged.violations == violations


def test_the_memory_is_that_of_a_keeper_at_work():
    aged = grow_old(6.0, positions=8)

    assert aged.ended == 0
    assert aged.slots > 1_000
    assert aged.last_kib > 50_000
