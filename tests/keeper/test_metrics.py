"""What the keeper measures of itself."""

from liqctl.keeper.metrics import Growth, Observations, Speeds, Vitals, WindowMax

S = 1_000_000_000


def test_an_observation_counts_in_every_bound_that_it_does_not_exceed():
    seen = Observations((10, 20))
    for value in (0, 10, 11, 20, 21, 1_000):
        seen.add(value)

    found = seen.histogram()
    assert (found.bounds, found.counts) == ((10, 20), (2, 4))
    assert (found.count, found.sum) == (6, 1_062)


def test_a_maximum_is_forgotten_after_the_next_window():
    largest = WindowMax()
    largest.add(7, 5 * S)
    largest.add(3, 6 * S)
    assert largest.read(9 * S) == 7
    assert largest.read(19 * S) == 7
    assert largest.read(20 * S) == 0
    largest.add(2, 21 * S)
    assert largest.read(21 * S) == 2
    assert largest.read(500 * S) == 0


def test_growth_is_that_of_the_last_minute():
    errors = Growth()
    assert errors.since_a_minute(0, 0) == 0
    found = [errors.since_a_minute(count, count * S) for count in range(1, 200)]

    assert found[:60] == list(range(1, 61))
    assert set(found[60:]) == {60}
    assert errors.since_a_minute(199, 1_000 * S) == 0


def test_growth_before_the_first_look_counts():
    assert Growth().since_a_minute(5, S) == 5


def test_the_slot_ages_until_a_higher_one_is_seen():
    vitals = Vitals(0)
    vitals.absorbed(1, 0, 1 * S, 10)
    vitals.absorbed(1, 0, 3 * S, 10)
    vitals.absorbed(1, 0, 4 * S, 9)
    assert vitals.slot_age_ms(5 * S) == 4_000
    vitals.absorbed(0, 0, 5 * S, 11)
    assert vitals.slot_age_ms(5 * S) == 0


def test_a_turn_without_anything_to_take_in_is_no_batch():
    vitals = Vitals(0)
    vitals.absorbed(0, 0, 1_000, 1)
    vitals.absorbed(3, 0, 200_000, 1)

    found = vitals.pulse(0)
    assert (found.batch_us.count, found.batch_us.sum, found.mailbox_depth_max) == (1, 200, 3)


def test_a_hold_is_as_old_as_its_reason():
    vitals = Vitals(0)
    assert vitals.held_ms(None, 1 * S) is None
    assert vitals.held_ms("breaker_crowd", 2 * S) == 0
    assert vitals.held_ms("breaker_crowd", 5 * S) == 3_000
    assert vitals.held_ms("kill_switch_row", 6 * S) == 0
    assert vitals.held_ms(None, 7 * S) is None


def test_the_loop_lags_by_what_a_sleep_ended_late_and_never_less_than_nothing():
    vitals = Vitals(0)
    vitals.slept(-5_000_000, S)
    vitals.slept(2_500_000, S)

    assert vitals.pulse(S).loop_lag_us_max == 2_500


def test_a_landing_without_a_notice_counts_in_slots_alone():
    speeds = Speeds()
    speeds.landed(2, None)
    speeds.landed(4, 1_500_000_000)
    speeds.launched(None)
    speeds.launched(700)

    assert (speeds.landing_slots.histogram().count, speeds.landing_slots.histogram().sum) == (2, 6)
    assert (speeds.landing_ms.histogram().count, speeds.landing_ms.histogram().sum) == (1, 1_500)
    assert (speeds.decision_us.histogram().count, speeds.decision_us.histogram().sum) == (1, 700)
