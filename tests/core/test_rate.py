from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.rate import SECOND_NS, Rate


def test_the_first_uses_may_come_at_once_and_the_next_when_the_oldest_is_a_second_ago():
    rate = Rate(per_second=2)
    for now_ns in (100, 100):
        assert rate.wait_ns(now_ns) == 0
        rate = rate.used(now_ns)

    assert rate.wait_ns(100) == SECOND_NS
    assert rate.wait_ns(100 + SECOND_NS - 1) == 1
    assert rate.wait_ns(100 + SECOND_NS) == 0


def test_it_remembers_no_more_than_it_needs():
    rate = Rate(per_second=3)
    for now_ns in range(50):
        rate = rate.used(now_ns)

    assert rate.used_ns == (47, 48, 49)


@given(
    st.integers(1, 25),
    st.lists(st.integers(0, SECOND_NS // 3), min_size=1, max_size=120),
)
def test_no_second_has_more_uses_than_allowed_and_none_waits_longer_than_it_must(
    per_second, pauses_ns
):
    rate, now_ns = Rate(per_second=per_second), 0
    uses: list[int] = []
    for pause_ns in pauses_ns:
        now_ns += pause_ns
        wait_ns = rate.wait_ns(now_ns)
        if wait_ns:
            full = [used for used in uses if used > now_ns + wait_ns - 1 - SECOND_NS]
            assert len(full) >= per_second
        now_ns += wait_ns
        rate = rate.used(now_ns)
        uses.append(now_ns)

    for start in uses:
        assert sum(start <= used < start + SECOND_NS for used in uses) <= per_second
