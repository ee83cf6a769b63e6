from hypothesis import given
from hypothesis import strategies as st

from liqctl.core.jump import Trail
from liqctl.core.price import PriceReading

TEN_PERCENT = 1_000


def reading(price: int, at: int, exponent: int = -8) -> PriceReading:
    return PriceReading(
        address="price",
        owner="pyth",
        feed_id="",
        mantissa=price,
        exponent=exponent,
        confidence=1,
        publish_time=at,
        fully_verified=True,
        posted_slot=1,
    )


def trail(*readings: PriceReading) -> Trail:
    found = Trail()
    for each in readings:
        found = found.after(each, TEN_PERCENT)
    return found


def test_the_first_price_is_believed_and_small_moves_are():
    assert trail(reading(100, 1), reading(110, 2), reading(99, 3)).jumped is None


def test_a_jump_is_doubted_until_a_later_publication_agrees():
    doubted = trail(reading(100, 1), reading(89, 2))
    assert doubted.jumped is not None
    assert trail(reading(100, 1), reading(89, 2), reading(89, 2)).jumped is not None
    assert trail(reading(100, 1), reading(89, 2), reading(90, 3)).jumped is None


def test_a_jump_that_goes_back_was_a_glitch():
    back = trail(reading(100, 1), reading(5, 2), reading(101, 3))
    assert back.jumped is None
    assert back.believed is not None
    assert back.believed.publish_time == 3


def test_each_of_two_different_jumps_is_doubted():
    assert trail(reading(100, 1), reading(200, 2), reading(400, 3)).jumped is not None


def test_an_exponent_that_flips_is_a_jump_though_the_mantissa_stays():
    assert trail(reading(100, 1), reading(100, 2, exponent=0)).jumped is not None


def test_what_is_no_price_changes_nothing():
    for odd in (reading(0, 2), reading(-5, 2), reading(1, 2, exponent=-19), reading(1, 2, 2**31)):
        assert trail(reading(100, 1), odd) == trail(reading(100, 1))


@given(
    prices=st.lists(st.integers(1, 10**6), min_size=1, max_size=20),
    step=st.integers(0, TEN_PERCENT),
)
def test_whoever_moves_within_the_bound_is_never_doubted(prices, step):
    price, found = prices[0] * 10**6, Trail()
    for at, _ in enumerate(prices):
        found = found.after(reading(price, at), TEN_PERCENT)
        assert found.jumped is None
        price += price * step // 10_000
