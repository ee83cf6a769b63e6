from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.breaker import FOREVER_MS, Breaker, BreakerRules

RULES = BreakerRules(
    failures_max=3, pause_ms=100, pause_ms_max=350, share_permille_max=500, crowd_min=10
)


def failing(breaker: Breaker, times: int, now_ms: int) -> Breaker:
    for _ in range(times):
        breaker = breaker.failed(now_ms)
    return breaker


def test_failures_in_a_row_open_it_and_the_pause_doubles_up_to_its_limit():
    breaker = failing(Breaker(rules=RULES), 2, 0)
    assert breaker.holds(0) is None

    pauses = []
    now = 0
    for _ in range(4):
        breaker = failing(breaker, 3, now)
        pauses.append(breaker.open_until_ms - now)
        now = breaker.open_until_ms

    assert pauses[0] == 100
    assert pauses[1:] == [200, 350, 350]
    assert breaker.holds(now) is None
    assert breaker.holds(now - 1) == "breaker_failures"


def test_a_success_between_failures_starts_the_count_afresh():
    breaker = failing(Breaker(rules=RULES), 2, 0).landed()

    assert failing(breaker, 2, 0).holds(0) is None


def test_a_success_of_an_earlier_attempt_does_not_close_it():
    breaker = failing(Breaker(rules=RULES), 3, 0).landed()

    assert breaker.holds(50) == "breaker_failures"


def test_an_unknown_error_holds_until_somebody_resumes():
    breaker = Breaker(rules=RULES).met_bug()

    assert breaker.holds(FOREVER_MS - 1) == "breaker_unknown_error"
    assert failing(breaker, 3, 0).holds(10**15) == "breaker_unknown_error"
    assert breaker.resumed().holds(0) is None


def test_successes_at_a_loss_in_a_row_open_it_for_a_while():
    breaker = Breaker(rules=RULES)
    for _ in range(2):
        breaker = breaker.lost_money(0)
    assert breaker.holds(0) is None
    assert breaker.landed().lost_money(0).lost_money(0).holds(0) is None

    breaker = breaker.lost_money(0)

    assert breaker.holds(99) == "breaker_unprofitable"
    assert breaker.holds(100) is None
    assert breaker.lost_money(100).lost_money(100).holds(100) is None


def test_a_success_at_a_loss_is_no_failure():
    breaker = failing(Breaker(rules=RULES), 2, 0).lost_money(0)

    assert failing(breaker, 2, 0).holds(0) is None


def test_a_paused_program_opens_it_for_a_while_and_a_changed_one_for_good():
    breaker = Breaker(rules=RULES)

    assert breaker.program_paused(0).holds(99) == "breaker_paused"
    assert breaker.program_paused(0).program_paused(100).open_until_ms == 300
    changed = breaker.program_changed()
    assert changed.holds(10**15) == "breaker_program_changed"
    assert changed.program_paused(0).holds(10**15) == "breaker_program_changed"


def test_a_tick_that_would_take_half_of_all_positions_opens_it():
    breaker = Breaker(rules=RULES)

    assert breaker.crowd(50, 100, 0).holds(0) is None
    assert breaker.crowd(51, 100, 0).holds(99) == "breaker_crowd"
    assert breaker.crowd(9, 9, 0).holds(0) is None


@given(
    st.lists(
        st.sampled_from(["fail", "land", "loss", "bug", "change", "pause", "crowd"]), max_size=60
    )
)
def test_it_never_closes_earlier_than_it_said(commands):
    breaker = Breaker(rules=RULES)
    for now, command in enumerate(commands):
        until = breaker.open_until_ms
        match command:
            case "fail":
                breaker = breaker.failed(now)
            case "land":
                breaker = breaker.landed()
            case "loss":
                breaker = breaker.lost_money(now)
            case "change":
                breaker = breaker.program_changed()
            case "pause":
                breaker = breaker.program_paused(now)
            case "bug":
                breaker = breaker.met_bug()
            case _:
                breaker = breaker.crowd(60, 100, now)
        assert breaker.open_until_ms >= until
        assert (breaker.holds(now) is None) == (breaker.open_until_ms <= now)
